/* The balancer's half that works on the cluster's objects: what it decides, and how it goes on after it
 * was killed, deposed, or the cluster has changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/cluster_json.h"
#include "balancer/conductor.h"
#include "balancer/conductor_job.h"
#include "balancer/follow.h"
#include "balancer/model.h"
#include "balancer/plan_record.h"
#include "balancer/rules.h"
#include "node/base/err.h"
#include "tests/unit/balancer_world.h"

/* The nodes begin the moves of the wave. */
static void begin_moves(struct world *w, const json_t *plan)
{
    json_t *move;
    size_t i;
    json_array_foreach (plan_record_moves(plan, plan_record_wave(plan)), i, move) {
        char key[64];
        int number = (int)json_integer_value(json_object_get(move, "move"));
        snprintf(key, sizeof key, "/drover/migration/M%d", number);
        put(w, key,
            "{'kind':'migration','id':'M%d','name':'m%d','spec':{'guest':'%s','guest_id':'%s','from':'%s','to':'%s',"
            "'plan':'%s','move':%d,'began':'2026-11-26T11:59:59.000Z'}}",
            number, number, snapshot_text(move, "guest"), snapshot_text(move, "guest_id"), snapshot_text(move, "from"),
            snapshot_text(move, "to"), snapshot_text(plan, "id"), number);
    }
}

/* They have ended. */
static void end_moves(struct world *w, const json_t *plan, const char *phase)
{
    json_t *move;
    size_t i;
    json_array_foreach (plan_record_moves(plan, plan_record_wave(plan)), i, move) {
        char key[64];
        bool done = !strcmp(phase, "done");
        snprintf(key, sizeof key, "/drover/state/migration/M%d",
                 (int)json_integer_value(json_object_get(move, "move")));
        put(w, key, "{'phase':'%s','reason':'%s','ended':'%s','done_bytes':1000,'total_ms':10}", phase,
            done ? "" : "the link broke", wall);
        if (done)
            put_guest(w, snapshot_text(move, "guest_id")[1] - '0', snapshot_text(move, "to")[1] - '0', "");
    }
}

static void drop_plans(struct world *w)
{
    json_object_clear(json_object_get(w->objects, "plan"));
}

/* Idle processors, and one node's network carries all: the plan is for the network, and says so. */
static void test_a_move_says_what_for(void **state)
{
    struct world *w = *state;
    put_load(w, 1,
             "'G1':{'cpu':[9,9,9],'network':[99999,99999,99999],'dirty':0},"
             "'G2':{'cpu':[9,9,9],'network':[99999,99999,99999],'dirty':0},"
             "'G3':{'cpu':[9,9,9]},'G4':{'cpu':[9,9,9]}");
    json_object_set_new(json_object_get(json_object_get(json_object_get(w->objects, "load"), "N1"), "state"), "unit",
                        json_integer(4096));
    assert_true(look(w) >= 1);
    json_t *plan = plan_in(w, "active");
    json_t *move = json_array_get(plan_record_moves(plan, 0), 0);
    assert_string_equal(snapshot_text(move, "for"), "network");
    assert_non_null(
        strstr(snapshot_text(json_object_get(json_object_get(plan, "spec"), "reasons"), snapshot_text(move, "guest")),
               "for the networks"));
    json_t *status = json_object_get(json_object_get(json_object_get(w->objects, "balancer"), "status"), "state");
    assert_true(number_in(status, "spreads", "network") > number_in(status, "spreads", "cpu"));
    assert_true(number_in(status, "spreads", "disk") == 0);
}

/* What guests say of where they may be comes into the model, and the plan obeys it. */
static void test_rules_of_guests(void **state)
{
    struct world *w = *state;
    put(w, "/drover/state/node/N1", "{'alive':true,'cpus':4,'memory_bytes':17179869184,'cpu_models':['v2','host-A']}");
    put(w, "/drover/state/node/N2", "{'alive':true,'cpus':4,'memory_bytes':17179869184,'cpu_models':['v2','host-B']}");
    put(w, "/drover/state/node/N3", "{'alive':true,'cpus':4,'memory_bytes':17179869184,'cpu_models':['v2','host-A']}");
    put_rules(w, 1, 1, ",'cpu':'host','anti_affinity':['db:rack:soft']");
    put_rules(w, 2, 1, ",'cpu':'v2','anti_affinity':['db'],'pin':['n1','n2','gone'],'avoid':['n2']");
    put_rules(w, 3, 1, ",'affinity':['app','nonsense:'],'avoid':['n3','gone']");
    put_rules(w, 4, 1, ",'pin':['gone']");
    struct cluster_json read;
    struct err err;
    struct policy policy = policy_default();
    assert_int_equal(conductor_model(w->objects, &policy, &w->now, &read, &err), 0);
    struct model *m = read.model;
    assert_int_equal(m->group_count, 2);
    assert_true(!m->groups[0].together && m->groups[0].hard && m->groups[0].scope == SCOPE_RACK);
    assert_int_equal(m->groups[0].count, 2);
    assert_true(m->groups[1].together && m->groups[1].count == 1);
    assert_int_equal(rules_check(m, &policy, 0, 1, -1), RULE_CPU_MODEL);
    assert_int_equal(rules_check(m, &policy, 0, 2, -1), RULE_NONE);
    assert_int_equal(rules_check(m, &policy, 1, 1, -1), RULE_PIN);
    assert_int_equal(rules_check(m, &policy, 2, 2, -1), RULE_PIN);
    assert_int_equal(rules_check(m, &policy, 2, 1, -1), RULE_NONE);
    assert_false(m->guests[3].movable);
    model_free(m);
    assert_true(look(w) >= 1);
    json_t *plan = plan_in(w, "active");
    assert_non_null(plan);
    for (int wave = 0; wave < plan_record_waves(plan); wave++) {
        size_t i;
        json_t *move;
        json_array_foreach (plan_record_moves(plan, wave), i, move) {
            const char *guest = snapshot_text(move, "guest"), *to = snapshot_text(move, "to");
            assert_true((!strcmp(guest, "g1") && !strcmp(to, "n3")) || (!strcmp(guest, "g3") && !strcmp(to, "n2")));
        }
    }
}

/* Nobody is moved where nothing holds what he boots from: neither a copy, nor an image with the same bytes. */
static void test_images(void **state)
{
    struct world *w = *state;
    struct cluster_json read;
    struct err err;
    struct policy policy = policy_default();
    put(w, "/drover/image/K", "{'kind':'image','id':'K','name':'k','spec':{}}");
    put(w, "/drover/state/image/K", "{'node':'n1','phase':'ready','content_sha256':'aa'}");
    put_rules(w, 1, 1, ",'boot':{'kernel':'k'}");
    put_rules(w, 2, 1, ",'boot':{'kernel':'k'},'pin':['n1','n3']");
    for (int i = 0; i < 4; i++) {
        if (i == 1)
            put(w, "/drover/state/node/N3",
                "{'alive':true,'cpus':4,'memory_bytes':17179869184,'boot_images':{'aa':{'phase':'copying'}}}");
        if (i == 2)
            put(w, "/drover/state/node/N3",
                "{'alive':true,'cpus':4,'memory_bytes':17179869184,'boot_images':{'aa':{'phase':'ready'}}}");
        if (i == 3) {
            put(w, "/drover/image/L", "{'kind':'image','id':'L','name':'l','spec':{}}");
            put(w, "/drover/state/image/L", "{'node':'n2','phase':'ready','content_sha256':'aa'}");
        }
        assert_int_equal(conductor_model(w->objects, &policy, &w->now, &read, &err), 0);
        assert_int_equal(rules_check(read.model, &policy, 0, 1, -1), i < 3 ? RULE_PIN : RULE_NONE);
        assert_int_equal(rules_check(read.model, &policy, 0, 2, -1), i < 2 ? RULE_PIN : RULE_NONE);
        assert_int_equal(rules_check(read.model, &policy, 1, 2, -1), i < 2 ? RULE_PIN : RULE_NONE);
        assert_int_equal(rules_check(read.model, &policy, 1, 1, -1), RULE_PIN);
        model_free(read.model);
    }
}

/* A guest that is where its pins do not want it has a reason to go, however well the loads are spread. */
static void test_a_pin_is_a_reason(void **state)
{
    struct world *w = *state;
    for (int g = 1; g <= 3; g++)
        put_rules(w, g, g, "");
    put_rules(w, 4, 3, ",'pin':['n2']");
    for (int n = 1; n <= 3; n++) {
        char load[96];
        snprintf(load, sizeof load, "'G%d':{'cpu':[10,10,10]}%s", n, n == 3 ? ",'G4':{'cpu':[0,0,0],'dirty':0}" : "");
        put_load(w, n, load);
    }
    assert_true(look(w) >= 1);
    json_t *plan = plan_in(w, "active"), *move = json_array_get(plan_record_moves(plan, 0), 0);
    assert_non_null(plan);
    assert_string_equal(snapshot_text(move, "guest"), "g4");
    assert_string_equal(snapshot_text(move, "to"), "n2");
    assert_string_equal(snapshot_text(move, "for"), "groups");
}

/* In automatic mode a plan is only proposed until its first wave's guests were looked at; not for ever. */
static void test_waits_for_what_they_write(void **state)
{
    struct world *w = *state;
    put_load(w, 1, "'G1':{'cpu':[90,90,90]},'G2':{'cpu':[90,90,90]},'G3':{'cpu':[90,90,90]},'G4':{'cpu':[90,90,90]}");
    for (int round = 0; round < 2; round++) {
        look(w);
        assert_null(plan_in(w, "active"));
        assert_non_null(plan_in(w, "proposed"));
        assert_non_null(strstr(status_text(w, "summary"), "what 1 of its guests write is looked at first"));
        w->now.clock_s += CONDUCTOR_PLAN_EVERY_S;
    }
    const json_t *move = json_array_get(plan_record_moves(plan_in(w, "proposed"), 0), 0);
    int first = snapshot_text(move, "guest_id")[1] - '0';
    char load[400] = "";
    for (int g = 1; g <= 4; g++)
        snprintf(load + strlen(load), sizeof load - strlen(load), "%s'G%d':{'cpu':[90,90,90]%s}", g > 1 ? "," : "", g,
                 g == first ? ",'dirty':0" : "");
    put_load(w, 1, load);
    look(w);
    assert_non_null(plan_in(w, "active"));
    assert_null(plan_in(w, "proposed"));
}

/* What waited, and was carried out because a person wanted it, is no reason to begin the next one unseen. */
static void test_waits_anew(void **state)
{
    struct world *w = *state;
    put_load(w, 1, "'G1':{'cpu':[90,90,90]},'G2':{'cpu':[90,90,90]},'G3':{'cpu':[90,90,90]},'G4':{'cpu':[90,90,90]}");
    look(w);
    apply(w);
    look(w);
    json_t *plan = plan_in(w, "active");
    assert_non_null(plan);
    drop(w, "/drover/guest/G1");
    drop(w, "/drover/guest/G2");
    look(w);
    assert_null(plan_in(w, "active"));
    w->now.clock_s += 10 * CONDUCTOR_SEEN_S;
    put_load(w, 1, "'G3':{'cpu':[90,90,90]},'G4':{'cpu':[90,90,90]}");
    put_load(w, 2, "");
    put_load(w, 3, "");
    look(w);
    assert_null(plan_in(w, "active"));
    assert_non_null(plan_in(w, "proposed"));
}

static bool at_once(void *data)
{
    (void)data;
    return true;
}

/* Without any time to search, what was proposed is found again. */
static void test_begins_at_the_proposal(void **state)
{
    struct world *w = *state;
    put_policy(w, "advise", eager);
    look(w);
    assert_non_null(plan_in(w, "proposed"));
    w->conductor.stop = at_once;
    w->now.clock_s += CONDUCTOR_KEEP_S + CONDUCTOR_PLAN_EVERY_S;
    look(w);
    assert_non_null(plan_in(w, "proposed"));
    drop_plans(w);
    w->now.clock_s += CONDUCTOR_PLAN_EVERY_S;
    look(w);
    assert_null(plan_in(w, "proposed"));
}

/* A node looks empty while who runs there has not been measured: nothing goes there. */
static void test_nothing_goes_where_nobody_has_looked(void **state)
{
    struct world *w = *state;
    put_guest(w, 5, 2, ""); /* it has just come: its window is empty */
    put_load(w, 2, "'G5':{'cpu':[]}");
    put_load(w, 3, "'G6':{'cpu':[20,20,20]}");
    put_guest(w, 6, 3, "");
    put_guest(w, 7, 3, ""); /* it is wanted running, and does not run: it uses nothing */
    put(w, "/drover/state/guest/G7", "{'phase':'failed','node':'n3'}");
    look(w);
    json_t *plan = plan_in(w, "active"), *wave, *move;
    size_t i, k;
    assert_non_null(plan);
    assert_string_equal(snapshot_text(json_array_get(plan_record_moves(plan, 0), 0), "to"), "n3");
    json_array_foreach (json_object_get(json_object_get(plan, "spec"), "waves"), i, wave)
        json_array_foreach (wave, k, move)
            assert_string_not_equal(snapshot_text(move, "to"), "n2");
    put_load(w, 2, "'G5':{'cpu':[10,10,10],'dirty':0}");
    json_object_clear(json_object_get(w->objects, "plan"));
    w->now.clock_s += CONDUCTOR_PLAN_EVERY_S;
    look(w);
    assert_string_equal(snapshot_text(json_array_get(plan_record_moves(plan_in(w, "active"), 0), 0), "to"), "n2");
}

static bool is_drained(struct world *w, const char *id)
{
    return json_is_true(snapshot_spec(json_object_get(json_object_get(w->objects, "node"), id), "drained"));
}

/* A plan that empties n1, and has n3 sleep, which is empty; applied. */
static void apply_sleep(struct world *w)
{
    for (int g = 2; g <= 4; g++) {
        char key[64];
        snprintf(key, sizeof key, "/drover/guest/G%d", g);
        drop(w, key);
    }
    put_policy(w, "advise", eager);
    put(w, "/drover/plan/S",
        "{'kind':'plan','id':'S','name':'1','apply':{'by':'op','at':'%s'},'spec':{'phase':'proposed','wave':0,"
        "'sleep':['n1','n3',7],'waves':[[{'move':0,'guest':'g1','guest_id':'G1','from':'n1','to':'n2'}]]}}",
        wall);
    look(w);
    assert_non_null(plan_in(w, "active"));
}

/* Nodes are drained as they become empty, and the plan is done when all are. */
static void test_nodes_go_to_sleep(void **state)
{
    struct world *w = *state;
    apply_sleep(w);
    look(w);
    assert_true(is_drained(w, "N3") && !is_drained(w, "N1") && !is_drained(w, "N2"));
    begin_moves(w, plan_in(w, "active"));
    look(w);
    assert_false(is_drained(w, "N1"));
    end_moves(w, plan_in(w, "active"), "done");
    look(w);
    assert_true(is_drained(w, "N1") && !is_drained(w, "N2"));
    assert_non_null(plan_in(w, "active"));
    look(w);
    assert_string_equal(snapshot_text(json_object_get(plan_in(w, "done"), "spec"), "reason"), "");
}

/* One that has got a guest meanwhile stays on. */
static void test_who_comes_keeps_a_node_on(void **state)
{
    struct world *w = *state;
    put_guest(w, 5, 3, "");
    apply_sleep(w);
    begin_moves(w, plan_in(w, "active"));
    end_moves(w, plan_in(w, "active"), "done");
    look(w);
    look(w);
    assert_true(is_drained(w, "N1") && !is_drained(w, "N3"));
    assert_string_equal(snapshot_text(json_object_get(plan_in(w, "done"), "spec"), "reason"),
                        "node n3 is not empty and stays on");
}

/* It is drained once: who opens it again, or labels it, wants it open; one that is away has not been emptied. */
static void test_nodes_that_are_to_stay_on(void **state)
{
    struct world *w = *state;
    apply_sleep(w);
    look(w);
    assert_true(is_drained(w, "N3"));
    put_node(w, 3, "");
    put_node(w, 1, ",'labels':{'sleep':'never'}");
    begin_moves(w, plan_in(w, "active"));
    end_moves(w, plan_in(w, "active"), "done");
    for (int i = 0; i < 3; i++)
        look(w);
    assert_true(!is_drained(w, "N3") && !is_drained(w, "N1"));
    assert_non_null(plan_in(w, "done"));
}

/* Where one is of which nothing can be read nobody knows: no node is empty. */
static void test_nobody_sleeps_in_the_dark(void **state)
{
    struct world *w = *state;
    static const char nonsense[] = "nonsense";
    apply_sleep(w);
    assert_true(follow_take(w->objects, "/drover/guest/G9", nonsense, sizeof nonsense - 1, ++w->revision, 0));
    look(w);
    assert_false(is_drained(w, "N3"));
    drop(w, "/drover/guest/G9");
    look(w);
    assert_true(is_drained(w, "N3"));
}

/* Quiet hours begin in the middle of a plan: what a person applied goes on, what was begun by itself does not. */
static void test_quiet_hours_begin(void **state)
{
    struct world *w = *state;
    char policy[200];
    snprintf(policy, sizeof policy,
             "{\"cost\": {\"move\": 1}, \"moves\": {\"parallel\": 1, \"quiet\": \"13:00-14:00\"}}");
    for (int wanted = 0; wanted < 2; wanted++) {
        w->now.wall_s = WALL_S;
        put_policy(w, wanted ? "advise" : "automatic", policy);
        look(w);
        if (wanted) {
            apply(w);
            look(w);
        }
        json_t *plan = plan_in(w, "active");
        assert_non_null(plan);
        assert_true(plan_record_waves(plan) > 1);
        begin_moves(w, plan);
        end_moves(w, plan, "done");
        w->now.wall_s += 3600;
        look(w);
        plan = plan_in(w, wanted ? "active" : "void");
        assert_non_null(plan);
        if (wanted)
            assert_int_equal(plan_record_wave(plan), 1);
        else
            assert_non_null(strstr(snapshot_text(json_object_get(plan, "spec"), "reason"), "quiet hours"));
        json_object_clear(json_object_get(w->objects, "plan"));
        json_object_clear(json_object_get(w->objects, "migration"));
        for (int g = 1; g <= 4; g++)
            put_guest(w, g, 1, "");
        w->now.clock_s += 100 + CONDUCTOR_PLAN_EVERY_S;
        put_load(
            w, 1,
            "'G1':{'cpu':[90,90,90],'dirty':0},'G2':{'cpu':[90,90,90],'dirty':0},'G3':{'cpu':[90,90,90],'dirty':0},"
            "'G4':{'cpu':[90,90,90],'dirty':0}");
        put_load(w, 2, "");
        put_load(w, 3, "");
    }
}

/* The load has gone while the first wave moved: the rest is not worth its price any more, unless a person wants it. */
static void test_gain_is_looked_at_again(void **state)
{
    for (int applied = 0; applied < 2; applied++) {
        struct world *w = *state;
        if (applied) {
            world_teardown(state);
            world_setup(state);
            w = *state;
            put_policy(w, "advise", eager);
            look(w);
            apply(w);
        }
        look(w);
        assert_int_equal(plan_record_waves(plan_in(w, "active")) > 1, 1);
        begin_moves(w, plan_in(w, "active"));
        end_moves(w, plan_in(w, "active"), "done");
        put_load(w, 1, "'G1':{'cpu':[1,1,1]},'G2':{'cpu':[1,1,1]},'G3':{'cpu':[1,1,1]},'G4':{'cpu':[1,1,1]}");
        look(w);
        if (applied) {
            assert_int_equal(plan_record_wave(plan_in(w, "active")), 1);
            continue;
        }
        json_t *ended = plan_in(w, "void");
        assert_non_null(ended);
        assert_non_null(
            strstr(snapshot_text(json_object_get(ended, "spec"), "reason"), "what is left of it would bring"));
    }
}

/* Before a wave begins, the room for a lost node that is there now must be there after it, too. */
static void test_room_is_looked_at_again(void **state)
{
    (void)state;
    static const char three[] = "{\"nodes\": [{\"name\": \"a\", \"cpus\": 64, \"memory\": \"10G\", \"age\": 1},"
                                " {\"name\": \"b\", \"cpus\": 64, \"memory\": \"10G\", \"age\": 1},"
                                " {\"name\": \"c\", \"cpus\": 64, \"memory\": \"10G\", \"age\": 1}],"
                                " \"guests\": [{\"name\": \"a1\", \"node\": \"a\", \"memory\": \"7.6G\", \"age\": 1},"
                                " {\"name\": \"a2\", \"node\": \"a\", \"memory\": \"1G\", \"age\": 1},"
                                " {\"name\": \"a3\", \"node\": \"a\", \"memory\": \"0.5G\", \"age\": 1},"
                                " {\"name\": \"b1\", \"node\": \"b\", \"memory\": \"7.5G\", \"age\": 1},"
                                " {\"name\": \"c1\", \"node\": \"c\", \"memory\": \"2.39G\", \"age\": 1},"
                                /* whom nobody could take over anyway */
                                " {\"name\": \"bound\", \"node\": \"c\", \"pinned\": [\"c\"], \"age\": 1,"
                                " \"memory\": \"0.01G\"}]}";
    struct policy policy = policy_default();
    struct cluster_json cluster;
    struct err err = {0};
    policy.lose = 0;
    assert_int_equal(cluster_json_read(&cluster, "c", three, strlen(three), &policy, &err), 0);
    json_t *record = json_pack("{s:{s:[[{s:i, s:s, s:s, s:s}]]}}", "spec", "waves", "move", 0, "guest", "a2", "from",
                               "a", "to", "b");
    json_t *begun = json_object();
    assert_int_equal(plan_record_check(record, 0, begun, cluster.model, &policy, &err), 0);
    policy.lose = 1;
    assert_int_equal(plan_record_check(record, 0, begun, cluster.model, &policy, &err), -ESTALE);
    assert_string_equal(err.text, "after its wave 1 the room for 1 lost nodes would be gone");
    json_object_set_new(begun, "0", json_object()); /* its node has begun it: that is not undone */
    assert_int_equal(plan_record_check(record, 0, begun, cluster.model, &policy, &err), 0);
    json_array_insert_new(json_object_get(json_object_get(record, "spec"), "waves"), 0,
                          json_pack("[{s:i}]", "move", 7));
    json_object_set_new(begun, "7", json_object()); /* a wave before it is through */
    json_object_del(begun, "0");
    assert_int_equal(plan_record_check(record, 1, begun, cluster.model, &policy, &err), -ESTALE);
    assert_string_equal(err.text, "after its wave 2 the room for 1 lost nodes would be gone");
    json_decref(begun);
    json_decref(record);
    model_free(cluster.model);
}

static void test_waits_no_longer(void **state)
{
    struct world *w = *state;
    put_load(w, 1, "'G1':{'cpu':[90,90,90]},'G2':{'cpu':[90,90,90]},'G3':{'cpu':[90,90,90]},'G4':{'cpu':[90,90,90]}");
    look(w);
    assert_null(plan_in(w, "active"));
    w->now.clock_s += CONDUCTOR_SEEN_S;
    look(w);
    assert_non_null(plan_in(w, "active"));
}

static void test_waves_one_by_one(void **state)
{
    struct world *w = *state;
    assert_true(look(w) >= 1);
    json_t *plan = plan_in(w, "active");
    assert_non_null(plan);
    int waves = plan_record_waves(plan);
    assert_true(waves >= 2);
    for (int wave = 0; wave < waves; wave++) {
        plan = plan_in(w, "active");
        assert_int_equal(plan_record_wave(plan), wave);
        assert_int_equal(look(w), 0); /* the nodes have not begun yet */
        begin_moves(w, plan);
        assert_int_equal(look(w), 0);
        end_moves(w, plan, "done");
        if (wave == 0) { /* killed: another one, which remembers nothing, goes on */
            conductor_fini(&w->conductor);
            w->conductor = (struct conductor){.node = "n2"};
        }
        assert_int_equal(look(w), 1);
    }
    assert_null(plan_in(w, "active"));
    assert_non_null(plan_in(w, "done"));
    w->now.clock_s += 11;
    put_load(w, 1,
             "'G1':{'cpu':[90,90,90],'dirty':0},'G2':{'cpu':[90,90,90],'dirty':0},'G3':{'cpu':[90,90,90],'dirty':0},"
             "'G4':{'cpu':[90,90,90],'dirty':0}");
    put_load(w, 2,
             "'G1':{'cpu':[90,90,90],'dirty':0},'G2':{'cpu':[90,90,90],'dirty':0},'G3':{'cpu':[90,90,90],'dirty':0},"
             "'G4':{'cpu':[90,90,90],'dirty':0}");
    put_load(w, 3,
             "'G1':{'cpu':[90,90,90],'dirty':0},'G2':{'cpu':[90,90,90],'dirty':0},'G3':{'cpu':[90,90,90],'dirty':0},"
             "'G4':{'cpu':[90,90,90],'dirty':0}");
    look(w);
    assert_null(plan_in(w, "active")); /* it is at rest now */
}

static void test_void_when_a_move_fails(void **state)
{
    struct world *w = *state;
    look(w);
    begin_moves(w, plan_in(w, "active"));
    end_moves(w, plan_in(w, "active"), "failed");
    assert_int_equal(look(w), 1);
    json_t *ended = plan_in(w, "void");
    assert_non_null(strstr(snapshot_text(json_object_get(ended, "spec"), "reason"), "the link broke"));
    assert_null(plan_in(w, "active"));
}

static const char *void_reason(struct world *w)
{
    assert_int_equal(look(w), 1);
    return snapshot_text(json_object_get(plan_in(w, "void"), "spec"), "reason");
}

static void test_void_when_the_cluster_has_changed(void **state)
{
    struct world *w = *state;
    look(w);
    json_t *move = json_array_get(plan_record_moves(plan_in(w, "active"), 0), 0);
    int guest = snapshot_text(move, "guest_id")[1] - '0', to = snapshot_text(move, "to")[1] - '0';
    put_guest(w, guest, 1, ",'deleting':true");
    assert_non_null(strstr(void_reason(w), "cannot be moved now"));
    w->conductor.has_planned = false;
    put_guest(w, guest, 1, "");
    json_object_clear(json_object_get(w->objects, "plan"));
    look(w);
    assert_non_null(plan_in(w, "active"));
    for (int n = 2; n <= 3; n++) { /* wherever it was to go */
        char key[64];
        snprintf(key, sizeof key, "/drover/state/node/N%d", n);
        drop(w, key);
    }
    assert_non_null(strstr(void_reason(w), "takes no guests"));
    (void)to;
}

static void test_void_when_nobody_begins(void **state)
{
    struct world *w = *state;
    look(w);
    assert_int_equal(look(w), 0);
    w->now.clock_s += CONDUCTOR_BEGIN_S + 1;
    assert_non_null(strstr(void_reason(w), "not begun its move in time"));
}

static void test_void_when_the_mode_changes(void **state)
{
    struct world *w = *state;
    look(w);
    put_policy(w, "advise", eager);
    assert_non_null(strstr(void_reason(w), "mode"));
}

static void test_advise(void **state)
{
    struct world *w = *state;
    put_policy(w, "advise", eager);
    look(w);
    assert_null(plan_in(w, "active"));
    json_t *plan = json_incref(plan_in(w, "proposed"));
    w->now.clock_s += 11;
    look(w);
    assert_string_equal(snapshot_text(plan_in(w, "proposed"), "id"), snapshot_text(plan, "id")); /* it stays */
    json_decref(plan);
    put_guest(w, 5, 1, ""); /* much more is to be gained now */
    put_guest(w, 6, 1, "");
    put_load(w, 1,
             "'G1':{'cpu':[200,200,200]},'G2':{'cpu':[200,200,200]},'G3':{'cpu':[200,200,200]},"
             "'G4':{'cpu':[200,200,200]},'G5':{'cpu':[200,200,200]},'G6':{'cpu':[200,200,200]}");
    plan = json_incref(plan_in(w, "proposed"));
    w->now.clock_s += 11;
    look(w);
    assert_string_not_equal(snapshot_text(plan_in(w, "proposed"), "id"), snapshot_text(plan, "id"));
    json_decref(plan);
    apply(w);
    assert_int_equal(look(w), 1);
    assert_non_null(plan_in(w, "active"));
    put_policy(w, "off", eager);
    assert_non_null(strstr(void_reason(w), "mode"));
}

/* Planning is handed over: nothing comes of it before it was run, nor if the election or the mode changed meanwhile. */
static void test_planned_elsewhere(void **state)
{
    struct world *w = *state;
    struct conductor_job *job = NULL;
    w->conductor.stop_data = &job;
    w->conductor.hand_over = keep;
    put_policy(w, "advise", eager);
    assert_int_equal(look(w), 0);
    assert_non_null(job);
    assert_int_equal(look(w), 0);
    conductor_job_run(job);
    conductor_job_done(&w->conductor);
    assert_int_equal(look(w), 2); /* a proposal and a status */
    assert_non_null(plan_in(w, "proposed"));
    for (int how = 0; how < 2; how++) {
        w->now.clock_s += CONDUCTOR_PLAN_EVERY_S;
        job = NULL;
        assert_int_equal(look(w), 0);
        assert_non_null(job);
        conductor_job_run(job);
        conductor_job_done(&w->conductor);
        if (how)
            conductor_forget(&w->conductor);
        else
            put_policy(w, "automatic", eager);
        assert_int_equal(look(w), 0); /* what was planned does not count */
        job = NULL;
        assert_int_equal(look(w), 0); /* and it is planned anew at once */
        assert_non_null(job);
        conductor_job_run(job);
        conductor_job_done(&w->conductor);
        assert_true(look(w) >= 1);
        if (!how) {
            json_t *plan = plan_in(w, "active");
            assert_non_null(plan);
            json_object_set_new(json_object_get(plan, "spec"), "phase", json_string("done"));
        }
    }
    w->now.clock_s += CONDUCTOR_PLAN_EVERY_S;
    look(w); /* one is under way when everything ends: it is freed */
}

static void test_applied_too_late(void **state)
{
    struct world *w = *state;
    put_policy(w, "advise", eager);
    look(w);
    apply(w);
    for (int g = 1; g <= 4; g++)
        put_guest(w, g, 3, ""); /* all have gone elsewhere */
    assert_int_equal(look(w), 1);
    assert_non_null(strstr(snapshot_text(json_object_get(plan_in(w, "void"), "spec"), "reason"), "not there any more"));
}

static void test_limits(void **state)
{
    struct world *w = *state;
    put_policy(w, "automatic", "{\"cost\": {\"move\": 1}, \"moves\": {\"quiet\": \"11:00-13:00\"}}");
    look(w);
    assert_null(plan_in(w, "active")); /* it is noon */
    assert_non_null(plan_in(w, "proposed"));
    assert_non_null(strstr(status_text(w, "summary"), "quiet hours"));
    put_policy(w, "automatic", "{\"cost\": {\"move\": 1}, \"moves\": {\"per_hour\": 1}}");
    w->now.clock_s += 11;
    look(w);
    assert_int_equal(json_array_size(plan_record_moves(plan_in(w, "active"), 0)), 1);
    begin_moves(w, plan_in(w, "active"));
    end_moves(w, plan_in(w, "active"), "done");
    look(w);
    w->now.clock_s += 11;
    look(w);
    assert_null(plan_in(w, "active"));
    assert_non_null(strstr(status_text(w, "summary"), "which is the limit"));
    w->now.wall_s += 3601;
    w->now.clock_s += 11;
    put_load(w, 1,
             "'G1':{'cpu':[90,90,90],'dirty':0},'G2':{'cpu':[90,90,90],'dirty':0},'G3':{'cpu':[90,90,90],'dirty':0},"
             "'G4':{'cpu':[90,90,90],'dirty':0}");
    put_load(w, 2, "");
    put_load(w, 3, "");
    look(w);
    assert_non_null(plan_in(w, "active"));
}

static void test_nothing_on_old_measurements(void **state)
{
    struct world *w = *state;
    w->now.clock_s += 601;
    look(w);
    assert_null(plan_in(w, "active"));
    json_t *left_out = json_object_get(
        json_object_get(json_object_get(json_object_get(w->objects, "balancer"), "status"), "state"), "left_out");
    assert_int_equal(json_array_size(left_out), 7); /* three nodes, four guests */
    assert_non_null(strstr(json_string_value(json_array_get(left_out, 0)), "too old"));
}

static void test_a_policy_that_is_none(void **state)
{
    struct world *w = *state;
    put_policy(w, "automatic", "{\n\"limits\": {\"lose\": -1}}");
    look(w);
    assert_null(plan_in(w, "active"));
    assert_non_null(strstr(status_text(w, "trouble"), "policy:2: limits.lose"));
}

static void test_quiet_hours(void **state)
{
    struct policy p = policy_default();
    (void)state;
    assert_false(policy_is_quiet(&p, WALL_S));
    p.quiet_from = 22 * 60;
    p.quiet_to = 6 * 60;
    assert_false(policy_is_quiet(&p, WALL_S));            /* 12:00 */
    assert_true(policy_is_quiet(&p, WALL_S + 10 * 3600)); /* 22:00 */
    assert_true(policy_is_quiet(&p, WALL_S + 18 * 3600 - 60));
    assert_false(policy_is_quiet(&p, WALL_S + 18 * 3600));
}

static void test_history_is_bounded(void **state)
{
    struct world *w = *state;
    put_policy(w, "off", "{}");
    for (int i = 0; i < CONDUCTOR_HISTORY + 3; i++) {
        char key[64];
        snprintf(key, sizeof key, "/drover/plan/P%03d", i);
        put(w, key, "{'kind':'plan','id':'P%03d','name':'p%03d','spec':{'phase':'done','waves':[]}}", i, i);
    }
    for (int i = 0; i < 6; i++) {
        w->now.clock_s += 11;
        look(w);
    }
    json_t *plans = json_object_get(w->objects, "plan");
    assert_int_equal(json_object_size(plans), CONDUCTOR_HISTORY);
    assert_null(json_object_get(plans, "P000"));
    assert_non_null(json_object_get(plans, "P003"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_move_says_what_for, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_rules_of_guests, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_images, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_pin_is_a_reason, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_waits_for_what_they_write, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_waits_no_longer, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_waits_anew, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_goes_where_nobody_has_looked, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_nodes_go_to_sleep, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_who_comes_keeps_a_node_on, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_nodes_that_are_to_stay_on, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_nobody_sleeps_in_the_dark, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_quiet_hours_begin, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_gain_is_looked_at_again, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_room_is_looked_at_again, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_begins_at_the_proposal, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_waves_one_by_one, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_void_when_a_move_fails, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_void_when_the_cluster_has_changed, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_void_when_nobody_begins, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_void_when_the_mode_changes, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_advise, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_planned_elsewhere, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_applied_too_late, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_limits, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_nothing_on_old_measurements, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_policy_that_is_none, world_setup, world_teardown),
        cmocka_unit_test(test_quiet_hours),
        cmocka_unit_test_setup_teardown(test_history_is_bounded, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
