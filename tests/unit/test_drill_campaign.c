/* Drills in virtual time: clusters as `drover cluster export` writes them, what many schedules say of them, and what is
 * no cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "node/drill/campaign.h"
#include "node/drill/cluster.h"

static struct cluster cluster;
static struct campaign campaign;
static struct err err;

/* Text with ' for ". */
static int take(const char *text)
{
    char *json = strdup(text);
    for (char *at = json; (at = strchr(at, '\''));)
        *at = '"';
    int rc = cluster_read(&cluster, "c.json", json, strlen(json), &err);
    free(json);
    return rc;
}

static void run(const char *text, enum campaign_kind kind, const char *node, uint64_t schedules, uint64_t seed)
{
    if (take(text))
        fail_msg("%s", err.text);
    struct campaign_plan plan = {.kind = kind, .node = CAMPAIGN_NO_NODE, .schedules = schedules, .seed = seed};
    if (node)
        plan.node = cluster_find_node(&cluster, node);
    if (campaign_run(&campaign, &cluster, &plan, &err))
        fail_msg("%s", err.text);
    if (campaign.wrong_count)
        fail_msg("seed %llu: %s", (unsigned long long)campaign.wrongs[0].seed, campaign.wrongs[0].text);
}

static int teardown(void **state)
{
    (void)state;
    campaign_fini(&campaign);
    cluster_fini(&cluster);
    return 0;
}

/* What the campaign says of a guest if a node is lost; "": nothing. */
static const char *stays(const char *node, const char *guest)
{
    for (unsigned i = 0; i < campaign.stay_count; i++) {
        const struct campaign_stay *s = &campaign.stays[i];
        if (!strcmp(cluster.nodes[s->node].name, node) && !strcmp(cluster.guests[s->guest].name, guest))
            return s->reason;
    }
    return "";
}

static bool is_borne(const char *node)
{
    int n = cluster_find_node(&cluster, node);
    assert_true(campaign.lost & UINT64_C(1) << n);
    return !(campaign.unbearable & UINT64_C(1) << n);
}

#define NODES                                                                                                          \
    "'nodes': [{'name': 'n1', 'memory': '16G'}, {'name': 'n2', 'memory': '16G'}, {'name': 'n3', 'memory': '16G'}]"
#define GUEST(name, node, memory, more)                                                                                \
    "{'name': '" name "', 'node': '" node "', 'memory': '" memory "', 'ha': true" more "}"

static const char with_room[] = "{" NODES ", 'guests': [" GUEST("a", "n1", "4G", "") ", " GUEST(
    "b", "n2", "4G", "") ", " GUEST("c", "n3", "4G", "") ", {'name': 'd', 'node': 'n1', 'memory': '2G'}]}";

static void test_room_enough(void **state)
{
    (void)state;
    run(with_room, CAMPAIGN_ANY, NULL, 240, 1);
    assert_int_equal(cluster.guest_count, 3);
    assert_int_equal(cluster.all_guests, 4);
    assert_int_equal(campaign.stay_count, 0);
    assert_int_equal(campaign.lost, 7);
    for (unsigned k = 0; k < CAMPAIGN_KINDS; k++)
        assert_int_equal(campaign.figures[k].schedules, 30);
    const struct campaign_spread *rto = &campaign.figures[CAMPAIGN_POWER_LOSS].rto;
    assert_int_equal(rto->count, 30); /* one guest a node */
    assert_int_equal(campaign.figures[CAMPAIGN_POWER_LOSS].takeovers, 30);
    assert_int_equal(rto->ms[29], rto->worst_ms);
    assert_true(rto->ms[0] >= 5000 && rto->worst_ms < 10000); /* virtual ones: no machine is too slow for that */
    assert_int_equal(campaign.figures[CAMPAIGN_CALM].takeovers, 0);
    assert_int_equal(campaign.figures[CAMPAIGN_STORE_LOSS].stood, 0);
}

static void test_one_loss_is_too_much(void **state)
{
    (void)state;
    /* the big one has nowhere to go; what the others have does */
    run("{" NODES ", 'guests': [" GUEST("big", "n2", "12G", "") ", " GUEST("a", "n1", "4G",
                                                                           "") ", " GUEST("c", "n3", "4G", "") "]}",
        CAMPAIGN_POWER_LOSS, NULL, 30, 1);
    assert_false(is_borne("n2"));
    assert_true(is_borne("n1"));
    assert_true(is_borne("n3"));
    assert_int_equal(campaign.stay_count, 1);
    assert_non_null(strstr(stays("n2", "big"), "memory"));
    assert_int_equal(campaign.stays[0].schedules, 10);
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    campaign_print(out, &campaign);
    fclose(out);
    assert_non_null(strstr(text, "cannot bear: n2\n"));
    assert_non_null(strstr(text, "no rule was broken"));
    free(text);
}

static char *report(uint64_t seed)
{
    run(with_room, CAMPAIGN_ANY, NULL, 80, seed);
    json_t *json = campaign_json(&campaign);
    char *text = json_dumps(json, 0);
    json_decref(json);
    teardown(NULL);
    return text;
}

static void test_same_seed_same_bytes(void **state)
{
    (void)state;
    char *first = report(7), *again = report(7), *other = report(8);
    assert_string_equal(first, again);
    assert_string_not_equal(first, other);
    free(first);
    free(again);
    free(other);
}

/* One schedule of many is that schedule alone. */
static void test_a_seed_repeats(void **state)
{
    (void)state;
    run(with_room, CAMPAIGN_PARTITION, NULL, 30, 1);
    const struct campaign_spread all = campaign.figures[CAMPAIGN_PARTITION].rto;
    const char *node = cluster.nodes[all.worst_node].name;
    char name[16];
    snprintf(name, sizeof name, "%s", node);
    teardown(NULL);
    run(with_room, CAMPAIGN_PARTITION, name, 1, all.worst_seed);
    assert_int_equal(campaign.figures[CAMPAIGN_PARTITION].rto.worst_ms, all.worst_ms);
}

static void test_rules_of_placement(void **state)
{
    (void)state;
    run("{" NODES ", 'guests': [" GUEST("a", "n1", "1G", "") ", " GUEST("b", "n2", "1G", "") ", " GUEST(
            "c", "n3", "1G",
            "") ", " GUEST("pinned", "n1", "1G",
                           ", 'pinned': ['n1']") ", " GUEST("avoids", "n2", "1G",
                                                            ", 'avoid': ['n1']") ", " GUEST("soft", "n1", "1G",
                                                                                            "") "],"
                                                                                                "'groups': [{'name': "
                                                                                                "'apart', 'keep': "
                                                                                                "'apart', 'hard': "
                                                                                                "true, 'guests': ['a', "
                                                                                                "'b', 'c']},"
                                                                                                "{'name': 'soft', "
                                                                                                "'keep': 'apart', "
                                                                                                "'hard': false, "
                                                                                                "'guests': ['a', 'b', "
                                                                                                "'soft', 'c']}]}",
        CAMPAIGN_POWER_LOSS, NULL, 6, 1);
    assert_non_null(strstr(stays("n1", "a"), "placement rules"));
    assert_non_null(strstr(stays("n3", "c"), "placement rules"));
    assert_non_null(strstr(stays("n1", "pinned"), "placement rules"));
    assert_string_equal(stays("n1", "soft"), "");
    assert_string_equal(stays("n2", "avoids"), "");
    assert_int_equal(campaign.stay_count, 4);
}

/* A volume that cannot lose a member stands with it, wherever its guest is. */
static void test_volumes(void **state)
{
    (void)state;
    run("{" NODES
        ", 'guests': [" GUEST("a", "n1", "1G", ", 'volumes': [{'members': ['n2', 'n3'], 'spare': 0}]") ", " GUEST(
            "b", "n2", "1G", ", 'volumes': [{'members': ['n1', 'n2'], 'spare': 1, 'witness': 'n3'}]") "]}",
        CAMPAIGN_POWER_LOSS, NULL, 6, 1);
    assert_string_equal(stays("n1", "a"), "");
    assert_non_null(strstr(stays("n2", "a"), "members"));
    assert_non_null(strstr(stays("n3", "a"), "members"));
    assert_int_equal(campaign.stay_count, 2);
    teardown(NULL);
    /* of a node that is cut off from the store alone, the members still answer */
    run("{" NODES ", 'guests': [" GUEST("a", "n1", "1G", ", 'volumes': [{'members': ['n2', 'n3'], 'spare': 0}]") "]}",
        CAMPAIGN_COORDINATOR_LOSS, NULL, 6, 1);
    assert_int_equal(campaign.stay_count, 0);
}

static void test_order_of_starts(void **state)
{
    (void)state;
    run("{" NODES ", 'guests': [" GUEST("db", "n1", "1G", "") ", " GUEST(
            "web", "n1", "1G", ", 'ha_after': ['db'], 'ha_delay': 60000") ", " GUEST("late", "n2", "1G",
                                                                                     ", 'ha_after': ['db', 'gone'], "
                                                                                     "'ha_delay': 60000") "]}",
        CAMPAIGN_POWER_LOSS, NULL, 6, 1);
    const struct campaign_spread *rto = &campaign.figures[CAMPAIGN_POWER_LOSS].rto;
    assert_int_equal(campaign.stay_count, 0);
    assert_int_equal(rto->count, 6);
    assert_string_equal(cluster.guests[rto->worst_guest].name, "web");
    assert_true(rto->worst_ms > 60000); /* after the one that it needs ran, and its delay */
    assert_true(rto->ms[3] < 10000);    /* what that guest of another node needs had run all the time */
}

static void test_a_node_is_away(void **state)
{
    (void)state;
    run("{'left_out': [{'who': 'guest g', 'why': 'it has no memory', 'node': 'n1'}],"
        "'nodes': [{'name': 'n1', 'memory': '16G'}, {'name': 'n2', 'memory': '16G', 'state': 'draining'},"
        "{'name': 'n3', 'state': 'offline'}], 'guests': [" GUEST("a", "n1", "1G", "") ", " GUEST(
            "b", "n2", "1G", "") ", " GUEST("c", "n3", "1G", "") "]}",
        CAMPAIGN_ANY, NULL, 48, 1);
    assert_int_equal(cluster.guest_count, 2);
    assert_int_equal(json_array_size(cluster.left_out), 2);
    assert_string_equal(json_string_value(json_array_get(cluster.left_out, 0)),
                        "guest g is left out: it has no memory");
    assert_non_null(strstr(stays("n1", "a"), "takes guests")); /* one drains, the other is away */
    assert_string_equal(stays("n2", "b"), "");
    const struct campaign_plan plan = {.kind = CAMPAIGN_PARTITION, .node = 2, .schedules = 1};
    struct campaign other;
    assert_int_equal(campaign_run(&other, &cluster, &plan, &err), -EINVAL);
    assert_non_null(strstr(err.text, "n3: it is away"));
    campaign_fini(&other);
}

static void test_nobody_is_protected(void **state)
{
    (void)state;
    run("{" NODES ", 'guests': [{'name': 'a', 'node': 'n1', 'memory': 1073741824}]}", CAMPAIGN_ANY, NULL, 16, 1);
    assert_int_equal(cluster.guest_count, 0);
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    campaign_print(out, &campaign);
    fclose(out);
    assert_non_null(strstr(text, "no guest is protected"));
    assert_null(strstr(text, "ran again"));
    free(text);
}

/* A broken rule is said with how to see it again. */
static void test_broken_rules_are_said(void **state)
{
    (void)state;
    run(with_room, CAMPAIGN_PARTITION, NULL, 1, 1);
    campaign.wrong_count = 1;
    campaign.wrongs[0] = (struct campaign_wrong){.kind = CAMPAIGN_PARTITION, .node = 1, .seed = 99, .text = "guest a"};
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    campaign_print(out, &campaign);
    fclose(out);
    assert_non_null(strstr(text, "--kind partition --node n2 --schedules 1 --seed 99"));
    assert_null(strstr(text, "no rule was broken"));
    free(text);
    json_t *json = campaign_json(&campaign);
    assert_int_equal(json_integer_value(json_object_get(json, "violation_count")), 1);
    assert_int_equal(json_array_size(json_object_get(json, "violations")), 1);
    json_decref(json);
}

static void refuses(const char *text, const char *reason)
{
    assert_int_not_equal(take(text), 0);
    cluster_fini(&cluster);
    if (!strstr(err.text, reason) || !strstr(err.text, "c.json"))
        fail_msg("'%s' instead of '%s'", err.text, reason);
}

static void test_what_is_no_cluster(void **state)
{
    (void)state;
    refuses("nothing", "no JSON");
    refuses("[]", "no cluster");
    refuses("{'nodes': 7}", "no cluster");
    refuses("{'nodes': [], 'guests': []}", "nodes: there are 0");
    refuses("{'nodes': [{}]}", "node 1, name");
    refuses("{'nodes': [{'name': 'n1', 'memory': '4G'}, {'name': 'n1', 'memory': '4G'}]}",
            "node n1, name: there are two");
    refuses("{'nodes': [{'name': 'n1'}]}", "node n1, memory");
    refuses("{'nodes': [{'name': 'n1', 'memory': 'much'}]}", "node n1, memory");
    refuses("{'nodes': [{'name': 'n1', 'memory': -1}]}", "node n1, memory");
    refuses("{'nodes': [{'name': 'n1', 'memory': 1, 'state': 'tired'}]}", "'tired'");
    refuses("{'nodes': [{'name': 'n1', 'state': 'offline'}]}", "all of them are offline");
    refuses("{" NODES "}", "guests: a list is needed");
    refuses("{" NODES ", 'guests': [{'name': 'a', 'node': 'n9', 'memory': 1}]}",
            "guest a, node: there is no node 'n9'");
    refuses("{" NODES ", 'guests': [{'name': 'a', 'node': 'n1'}]}", "guest a, memory");
    refuses("{" NODES ", 'guests': [" GUEST("a", "n1", "1G", ", 'pinned': ['x']") "]}", "no node 'x'");
    refuses("{" NODES ", 'guests': [" GUEST("a", "n1", "1G", ", 'ha_priority': 101") "]}", "ha_priority");
    refuses("{" NODES ", 'guests': [" GUEST("a", "n1", "1G", ", 'ha_delay': 'x'") "]}", "ha_delay");
    refuses("{" NODES ", 'guests': [" GUEST("a", "n1", "1G", ", 'volumes': 3") "]}", "volumes: a list");
    refuses("{" NODES ", 'guests': [" GUEST("a", "n1", "1G", "") "], 'groups': [{'guests': ['b']}]}", "no guest 'b'");
    refuses("{" NODES ", 'guests': [], 'groups': [{'scope': 'town', 'guests': []}]}", "'town'");
    enum campaign_kind kind;
    assert_int_equal(campaign_kind_find("earthquake", &kind, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'earthquake'"));
    assert_int_equal(campaign_kind_find("slow-disk", &kind, &err), -EINVAL);
    assert_non_null(strstr(err.text, "drover drill run slow-disk"));
    assert_int_equal(take(with_room), 0);
    struct campaign_plan plan = {.kind = CAMPAIGN_ANY, .node = CAMPAIGN_NO_NODE};
    assert_int_equal(campaign_run(&campaign, &cluster, &plan, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--schedules"));
    plan = (struct campaign_plan){.kind = CAMPAIGN_STORE_LOSS, .node = 1, .schedules = 1};
    assert_int_equal(campaign_run(&campaign, &cluster, &plan, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--node"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_room_enough, teardown),
        cmocka_unit_test_teardown(test_one_loss_is_too_much, teardown),
        cmocka_unit_test_teardown(test_same_seed_same_bytes, teardown),
        cmocka_unit_test_teardown(test_a_seed_repeats, teardown),
        cmocka_unit_test_teardown(test_rules_of_placement, teardown),
        cmocka_unit_test_teardown(test_volumes, teardown),
        cmocka_unit_test_teardown(test_order_of_starts, teardown),
        cmocka_unit_test_teardown(test_a_node_is_away, teardown),
        cmocka_unit_test_teardown(test_nobody_is_protected, teardown),
        cmocka_unit_test_teardown(test_broken_rules_are_said, teardown),
        cmocka_unit_test_teardown(test_what_is_no_cluster, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
