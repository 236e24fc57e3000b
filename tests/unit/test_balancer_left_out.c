/* What is unusable, in a file or in the store: it is named and left out, what hangs on it stays where it is, and the
 * rest of the cluster is balanced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "balancer/cluster_json.h"
#include "balancer/conductor.h"
#include "balancer/follow.h"
#include "balancer/model.h"
#include "balancer/plan_record.h"
#include "balancer/rules.h"
#include "node/base/err.h"
#include "tests/unit/balancer_world.h"

/* ---- files ---- */

static void read_quoted(const char *quoted, struct cluster_json *cluster, bool strict, int wanted)
{
    char text[4096];
    struct policy policy = policy_default();
    struct err err = {0};
    snprintf(text, sizeof text, "%s", quoted);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    int rc = strict ? cluster_json_read_strict(cluster, "c", text, strlen(text), &policy, &err)
                    : cluster_json_read(cluster, "c", text, strlen(text), &policy, &err);
    if (rc != wanted)
        fail_msg("%d: %s", rc, err.text);
    assert_int_equal(rc == 0, cluster->model != NULL);
    assert_true(rc == 0 || err.text[0]);
}

static int guest(const struct model *m, const char *name)
{
    return names_find(&m->guest_names, name, strlen(name));
}

static int node(const struct model *m, const char *name)
{
    return names_find(&m->node_names, name, strlen(name));
}

static void says(const struct cluster_json *cluster, const char *sentence)
{
    if (!strstr(cluster->warnings, sentence))
        fail_msg("'%s' is not in '%s'", sentence, cluster->warnings);
}

#define THREE_NODES                                                                                                    \
    "'nodes': [{'name': 'a', 'cpus': 4, 'memory': '8G', 'age': 1}, {'name': 'b', 'cpus': 4, 'memory': '8G', 'age': "   \
    "1}, {'name': 'c', 'cpus': 4, 'memory': '8G', 'age': 1}]"

/* What a guest takes that is left out nobody knows: its node is not touched, the others are. */
static void test_a_guest(void **state)
{
    (void)state;
    static const char *const bad[] = {"'memory': -1",        "'memory': 0",        "'memory': '1G', 'colour': 1",
                                      "'load': {'cpu': -1}", "'pinned': ['gone']", "'memory': '1G', 'came_from': 'z'",
                                      "'balance': 'maybe'",  "'cpu_models': 'v3'"};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[1024];
        struct cluster_json c;
        snprintf(
            text, sizeof text,
            "{" THREE_NODES ",\n'guests': [{'name': 'x', 'node': 'a', %s},"
            "{'name': 'y', 'node': 'b', 'memory': '1G', 'age': 1}, {'name': 'z', 'node': 'a', 'memory': '1G', 'age': "
            "1}]}",
            bad[i]);
        read_quoted(text, &c, false, 0);
        assert_int_equal(c.model->guest_count, 2);
        assert_int_equal(guest(c.model, "x"), -1);
        assert_true(c.model->nodes[0].stale && !c.model->nodes[1].stale && !c.model->nodes[2].stale);
        assert_int_equal(rules_movable(c.model, guest(c.model, "y")), RULE_NONE);
        assert_int_equal(rules_movable(c.model, guest(c.model, "z")), RULE_NODE_STALE);
        says(&c, "c:2: guests.x.");
        says(&c, "; it is left out, and nothing is moved to or from node a\n");
        model_free(c.model);
        read_quoted(text, &c, true, -EINVAL);
    }
}

/* Its guests go with it; who is pinned to it as well as elsewhere, or came from it, does not. */
static void test_a_node(void **state)
{
    (void)state;
    struct cluster_json c;
    struct policy policy = policy_default();
    static const char text[] =
        "{'nodes': [{'name': 'a', 'cpus': 4, 'memory': '8G', 'age': 1}, {'name': 'b', 'cpus': 4, 'memory': '8G', "
        "'age': 1}, {'name': 'odd', 'cpus': 4, 'memory': '8G', 'age': 1, 'rack': 7}],\n"
        "'guests': [{'name': 'x', 'node': 'odd', 'memory': '1G', 'age': 1},\n"
        "{'name': 'y', 'node': 'a', 'memory': '1G', 'age': 1, 'pinned': ['a', 'odd'], 'came_from': 'odd'},\n"
        "{'name': 'z', 'node': 'a', 'memory': '1G', 'age': 1, 'pinned': ['odd']},\n"
        "{'name': 'v', 'node': 'a', 'memory': '1G', 'age': 1, 'avoid': ['odd'], 'storage': {'odd': 5, 'b': 7}}]}";
    read_quoted(text, &c, false, 0);
    assert_int_equal(c.model->node_count, 2);
    assert_int_equal(c.model->guest_count, 3);
    assert_int_equal(guest(c.model, "x"), -1);
    assert_false(c.model->nodes[0].stale || c.model->nodes[1].stale);
    assert_int_equal(rules_check(c.model, &policy, guest(c.model, "y"), 1, -1), RULE_PIN);
    assert_int_equal(c.model->guests[guest(c.model, "y")].came_from, -1);
    assert_int_equal(rules_check(c.model, &policy, guest(c.model, "z"), 1, -1), RULE_PIN);
    assert_int_equal(rules_check(c.model, &policy, guest(c.model, "v"), 1, -1), RULE_NONE);
    assert_int_equal(c.model->guests[guest(c.model, "v")].storage_count, 1);
    says(&c, "c:1: nodes.odd.rack: a text of 1 to 255 characters is needed; it is left out\n");
    says(&c, "c:2: guests.x.node: node 'odd' is left out; it is left out\n");
    model_free(c.model);
    read_quoted(text, &c, true, -EINVAL);
}

/* Of two with one name nobody knows which it is, whether the first can be read or not. */
static void test_names_twice(void **state)
{
    (void)state;
    struct cluster_json c;
    read_quoted(
        "{'nodes': [{'name': 'a', 'cpus': 4, 'memory': '8G', 'age': 1}, {'name': 'b', 'cpus': 4, 'memory': '8G', "
        "'age': 1}, {'name': 'a', 'cpus': 8, 'memory': '8G', 'age': 1}, {'name': 'n', 'cpus': -1}, {'name': 'n', "
        "'cpus': 4, 'memory': '8G', 'age': 1}],"
        "'guests': [{'name': 'x', 'node': 'b', 'memory': '1G', 'age': 1}, {'name': 'x', 'memory': '1G', 'age': 1},"
        "{'name': 'y', 'node': 'b', 'memory': '1G', 'steal': 'some'}, {'name': 'y', 'node': 'b', 'memory': '1G', "
        "'age': 1}, {'name': 'y', 'node': 'b', 'memory': '1G', 'age': 1}]}",
        &c, false, 0);
    assert_int_equal(c.model->node_count, 2);
    assert_true(c.model->nodes[node(c.model, "a")].stale && c.model->nodes[0].vcpus == 4);
    assert_int_equal(c.model->guest_count, 1);
    assert_false(c.model->guests[0].movable);
    says(&c, "node 'a' is there twice");
    says(&c, "node 'n' is there twice");
    says(&c, "guest 'x' is there twice");
    says(&c, "guest 'y' is there twice");
    model_free(c.model);
}

/* A rule holds for the members that are known; guests of a rule that cannot be read stay. */
static void test_a_group(void **state)
{
    (void)state;
    struct cluster_json c;
    struct policy policy = policy_default();
    static const char text[] =
        "{" THREE_NODES ", 'guests': [{'name': 'x', 'node': 'a', 'memory': '1G', 'age': 1},\n"
        "{'name': 'y', 'node': 'b', 'memory': '1G', 'age': 1}, {'name': 'z', 'node': 'b', 'memory': '1G', 'age': 1},"
        "{'name': 'w', 'node': 'b', 'memory': '1G', 'age': 1}],\n"
        "'groups': [{'name': 'db', 'guests': ['x', 'gone', 5, 'y']}, {'name': 'odd', 'scope': 'moon', 'guests': ['z', "
        "6]}, {'guests': ['z']}, {'name': 'none', 'guests': 'z'}]}";
    read_quoted(text, &c, false, 0);
    assert_int_equal(c.model->group_count, 1);
    assert_int_equal(c.model->groups[0].count, 2);
    assert_int_equal(rules_check(c.model, &policy, guest(c.model, "y"), 0, -1), RULE_APART);
    assert_int_equal(rules_movable(c.model, guest(c.model, "z")), RULE_FIXED);
    assert_int_equal(rules_movable(c.model, guest(c.model, "w")), RULE_NONE);
    says(&c, "groups.db.guests: there is no guest 'gone'; the group holds for the others");
    says(&c, "groups.odd.scope: 'moon'");
    says(&c, "groups.2.name: every group needs one");
    says(&c, "groups.none.guests: a list of guests is needed");
    model_free(c.model);
    read_quoted(text, &c, true, -EINVAL);
}

/* In which rack the one is that was left out, nobody knows. */
static void test_a_wide_group(void **state)
{
    (void)state;
    struct cluster_json c;
    static const char text[] =
        "{" THREE_NODES ", 'guests': [{'name': 'x', 'node': 'a', 'memory': '1G', 'age': 1},\n"
        "{'name': 'y', 'node': 'b', 'memory': '1G', 'age': 1}, {'name': 'z', 'node': 'b', 'memory': '1G', 'age': 1},"
        "{'name': 'bad', 'node': 'c', 'memory': '-1G', 'age': 1}],\n"
        "'groups': [{'name': 'db', 'scope': 'rack', 'guests': ['x', 'bad']}, {'name': 'soft', 'scope': 'rack', 'hard': "
        "false, 'guests': ['y', 'bad']}, {'name': 'near', 'guests': ['z', 'bad']}]}";
    read_quoted(text, &c, false, 0);
    assert_int_equal(rules_movable(c.model, guest(c.model, "x")), RULE_FIXED);
    assert_int_equal(rules_movable(c.model, guest(c.model, "y")), RULE_NONE);
    assert_int_equal(rules_movable(c.model, guest(c.model, "z")), RULE_NONE);
    says(&c, "group 'db': one of its guests is left out, and the others are not moved");
    model_free(c.model);
}

static void test_a_migration(void **state)
{
    (void)state;
    struct cluster_json c;
    read_quoted("{'migrations': [{'bytes': 100, 'seconds': 'soon'}, {'bytes': 300, 'seconds': 3}, {'bits': 1}, []]}",
                &c, false, 0);
    assert_true(c.link_learned == 100);
    struct policy learns = policy_default(), knows = policy_default();
    static const char said[] = "{\"cost\": {\"link\": \"10M\"}}";
    assert_int_equal(policy_read(&knows, "p", said, sizeof said - 1, NULL), 0);
    policy_learn_link(&learns, c.link_learned);
    policy_learn_link(&learns, 0);
    policy_learn_link(&knows, c.link_learned);
    assert_true(learns.link_bytes_per_s == 100 && knows.link_bytes_per_s == 10 << 20);
    says(&c, "migrations.0.seconds: a duration is needed");
    says(&c, "migrations.2.bits: no such field");
    says(&c, "migrations: entry 3 is not an object");
    model_free(c.model);
}

/* What is no cluster at all is still refused. */
static void test_what_is_refused(void **state)
{
    (void)state;
    static const char *const none[] = {"[]",
                                       "{'nodes': [}",
                                       "{'nodes': {}}",
                                       "{'guests': 3}",
                                       "{'groups': 'db'}",
                                       "{'migrations': {}}",
                                       "{'left_out': {}}",
                                       "{'wishes': []}"};
    struct cluster_json c;
    for (unsigned i = 0; i < sizeof none / sizeof *none; i++)
        read_quoted(none[i], &c, false, -EINVAL);
}

/* The first are said, the others counted; who cannot be used comes before who is not measured. */
static void test_many(void **state)
{
    (void)state;
    struct cluster_json c;
    struct policy policy = policy_default();
    struct err err;
    json_t *nodes = json_array();
    for (int i = 0; i < 500; i++)
        json_array_append_new(nodes, json_pack("{s:o, s:i, s:i}", "name", json_sprintf("n%d", i), "cpus", i % 2 ? 4 : 0,
                                               "memory", 1 << 30));
    json_t *root = json_pack("{s:o}", "nodes", nodes);
    assert_int_equal(cluster_json_take(&c, "the cluster", root, &policy, &err), 0);
    int lines = 0;
    for (const char *t = c.warnings; *t; t++)
        lines += *t == '\n';
    assert_int_equal(lines + c.unsaid, 500);
    assert_true(lines > 40);
    assert_int_equal(strncmp(c.warnings, "the cluster: nodes.n0.cpus: 0 is not between", 44), 0);
    says(&c, "node n1: its measurements are missing");
    model_free(c.model);
    json_decref(root);
}

/* ---- the store ---- */

static bool take(struct world *w, const char *key, const char *text)
{
    return follow_take(w->objects, key, text, strlen(text), ++w->revision, w->now.clock_s);
}

/* The nth of those that `status` has; "" if there are fewer. */
static const char *left_out(struct world *w, size_t n)
{
    const json_t *status = json_object_get(json_object_get(json_object_get(w->objects, "balancer"), "status"), "state");
    const char *text = json_string_value(json_array_get(json_object_get(status, "left_out"), n));
    return text ? text : "";
}

static void look_anew(struct world *w)
{
    json_object_clear(json_object_get(w->objects, "plan"));
    w->now.clock_s += CONDUCTOR_PLAN_EVERY_S;
    for (int n = 1; n <= 3; n++) {
        json_t *load = json_object_get(json_object_get(w->objects, "load"), (const char *[]){"N1", "N2", "N3"}[n - 1]);
        json_object_set_new(load, "seen", json_real(w->now.clock_s));
    }
    look(w);
}

/* Does the plan that is there go to this node, or from it? */
static bool touches(struct world *w, const char *name)
{
    const json_t *plan = plan_in(w, "active");
    assert_non_null(plan);
    for (int wave = 0; wave < plan_record_waves(plan); wave++) {
        json_t *move;
        size_t i;
        json_array_foreach (plan_record_moves(plan, wave), i, move)
            if (!strcmp(snapshot_text(move, "to"), name) || !strcmp(snapshot_text(move, "from"), name))
                return true;
    }
    return false;
}

static void test_objects(void **state)
{
    struct world *w = *state;
    look_anew(w);
    assert_true(touches(w, "n3") && touches(w, "n2"));
    assert_string_equal(left_out(w, 0), "");
    put(w, "/drover/node/N4", "{'kind':'node','id':'N4','spec':{}}");
    put_guest(w, 5, 9, "");
    put(w, "/drover/guest/G6", "{'id':'G6','name':'g6','spec':{'node':'n3','running':true,'memory':'1G'}}");
    assert_true(take(w, "/drover/guest/G7", "{\"id\": "));
    put(w, "/drover/state/guest/G8", "{'phase':'running','node':'n1'}"); /* one that is gone, all but its state */
    put(w, "/drover/guest/G9", "{'id':'G9','spec':{'memory':1}}");
    look_anew(w);
    assert_true(touches(w, "n2"));
    assert_false(touches(w, "n3"));
    assert_string_equal(left_out(w, 0), "the cluster: node N4: it has no name; it is left out");
    assert_string_equal(left_out(w, 1), "the cluster: guest g5: there is no node 'n9'; it is left out");
    assert_string_equal(left_out(w, 2),
                        "the cluster: guest g6: it has no memory; it is left out, and nothing is moved to "
                        "or from node n3");
    assert_string_equal(left_out(w, 3),
                        "the cluster: guest G7: what the store has of it cannot be read; it is left out");
    assert_string_equal(left_out(w, 4), "the cluster: guest G9: it has no name; it is left out");
    drop(w, "/drover/guest/G6");
    look_anew(w);
    assert_true(touches(w, "n3"));
}

/* An entry that was good and is no more holds no longer; what holds nobody knows. */
static void test_it_becomes_unreadable(void **state)
{
    struct world *w = *state;
    put_guest(w, 5, 2, "");
    assert_true(take(w, "/drover/guest/G5", "[1]"));
    assert_true(take(w, "/drover/guest/G5", "no"));
    look_anew(w);
    assert_false(touches(w, "n2")); /* its agent says that it is there */
    assert_string_equal(left_out(w, 0),
                        "the cluster: guest G5: what the store has of it cannot be read; it is left out, "
                        "and nothing is moved to or from node n2");
    assert_false(follow_take(w->objects, "/drover/guest/G5", "{}", 2, 1, 0)); /* older */
    put_guest(w, 5, 2, "");
    look_anew(w);
    assert_int_equal(strncmp(left_out(w, 0), "guest g5: its measurements are missing", 38), 0);
    drop(w, "/drover/guest/G5");
    assert_true(take(w, "/drover/node/N3", "{"));
    look_anew(w);
    assert_true(touches(w, "n2"));
    assert_false(touches(w, "n3"));
    assert_string_equal(left_out(w, 0),
                        "the cluster: node N3: what the store has of it cannot be read; it is left out");
    assert_true(take(w, "/drover/state/load/N2", "\"none\""));
    put_node(w, 3, "");
    look_anew(w);
    assert_false(touches(w, "n2"));
    assert_non_null(strstr(left_out(w, 0), "node n2: its measurements are missing"));
    assert_true(take(w, "/drover/policy/balance", "off"));
    look_anew(w);
    assert_null(plan_in(w, "active"));
    assert_string_equal(status_text(w, "trouble"), "what the store has of the policy cannot be read");
    drop(w, "/drover/state/load/N2");
    assert_null(json_object_get(json_object_get(w->objects, "load"), "N2"));
}

/* One label of one node, and all the others are balanced. */
static void test_one_of_many(void **state)
{
    struct world *w = *state;
    char label[400];
    snprintf(label, sizeof label, ",'labels':{'rack':'%0300d'}", 7);
    put_node(w, 3, label);
    put_guest(w, 5, 3, "");
    look_anew(w);
    assert_true(touches(w, "n2"));
    assert_false(touches(w, "n3"));
    assert_string_equal(status_text(w, "trouble"), "");
    assert_non_null(strstr(left_out(w, 0), "nodes.n3.rack: a text of 1 to 255 characters is needed"));
    assert_non_null(strstr(left_out(w, 1), "guests.g5.node: node 'n3' is left out"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_guest),
        cmocka_unit_test(test_a_node),
        cmocka_unit_test(test_names_twice),
        cmocka_unit_test(test_a_group),
        cmocka_unit_test(test_a_wide_group),
        cmocka_unit_test(test_a_migration),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_many),
        cmocka_unit_test_setup_teardown(test_objects, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_it_becomes_unreadable, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_one_of_many, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
