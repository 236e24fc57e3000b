/* Migrations that people, or drains, have begun count against what may run at a time: no wave begins beside as many as
 * there may be, and why is said. One at a time, and one at a node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "balancer/conductor_job.h"
#include "balancer/plan_record.h"
#include "balancer/policy.h"
#include "balancer/snapshot.h"
#include "balancer/traffic.h"
#include "tests/unit/balancer_world.h"

/* Somebody moves a fifth guest. */
static void begin_other(struct world *w, const char *from, const char *to)
{
    put(w, "/drover/migration/X",
        "{'kind':'migration','id':'X','name':'x','spec':{'guest':'g5','guest_id':'G5','from':'%s','to':'%s',"
        "'began':'2026-11-26T11:59:59.000Z'}}",
        from, to);
    put_guest(w, 5, from[1] - '0', ",'migration':'X'");
}

static void end_other(struct world *w)
{
    drop(w, "/drover/guest/G5");
    drop(w, "/drover/state/guest/G5");
    drop(w, "/drover/migration/X");
}

static const char *reason(const json_t *plan)
{
    return snapshot_text(json_object_get(plan, "spec"), "reason");
}

static void test_a_plan_waits(void **state)
{
    struct world *w = *state;
    begin_other(w, "n2", "n3");
    look(w);
    assert_null(plan_in(w, "active"));
    assert_non_null(plan_in(w, "proposed"));
    assert_non_null(strstr(status_text(w, "summary"), "waits for other migrations (1): "));
    apply(w);
    look(w);
    assert_null(plan_in(w, "active")); /* a person waits, too */
    assert_string_equal(reason(plan_in(w, "proposed")), "waits for other migrations (1)");
    assert_int_equal(look(w), 0); /* it is said once */
    end_other(w);
    look(w);
    assert_non_null(plan_in(w, "active"));
    assert_string_equal(reason(plan_in(w, "active")), "");
}

static void test_a_wave_waits(void **state)
{
    struct world *w = *state;
    look(w);
    json_t *plan = plan_in(w, "active");
    assert_true(plan_record_waves(plan) >= 2);
    json_t *move = json_array_get(plan_record_moves(plan, 0), 0);
    put(w, "/drover/migration/M0",
        "{'kind':'migration','id':'M0','name':'m0','spec':{'guest':'%s','guest_id':'%s','from':'n1','to':'%s',"
        "'plan':'%s','move':0,'began':'2026-11-26T11:59:59.000Z'}}",
        snapshot_text(move, "guest"), snapshot_text(move, "guest_id"), snapshot_text(move, "to"),
        snapshot_text(plan, "id"));
    put(w, "/drover/state/migration/M0", "{'phase':'done','ended':'%s'}", wall);
    put_guest(w, snapshot_text(move, "guest_id")[1] - '0', snapshot_text(move, "to")[1] - '0', "");
    begin_other(w, "n2", "n3");
    assert_int_equal(look(w), 1);
    plan = plan_in(w, "active");
    assert_int_equal(plan_record_wave(plan), 0);
    assert_string_equal(reason(plan), "waits for other migrations (1)");
    assert_int_equal(look(w), 0);
    end_other(w);
    look(w);
    assert_int_equal(plan_record_wave(plan_in(w, "active")), 1);
    assert_string_equal(reason(plan_in(w, "active")), "");
}

/* What takes longer is planned around. */
static void test_it_is_given_up(void **state)
{
    struct world *w = *state;
    begin_other(w, "n2", "n3");
    look(w);
    apply(w);
    look(w);
    w->now.clock_s += CONDUCTOR_TRAFFIC_S;
    assert_int_equal(look(w), 0);
    w->now.clock_s += 1;
    assert_int_equal(look(w), 1);
    assert_non_null(strstr(reason(plan_in(w, "void")), "given up after 120 s: it waits for other migrations (1)"));
    /* the next one waits as long again */
    look(w);
    apply(w);
    look(w);
    w->now.clock_s += CONDUCTOR_TRAFFIC_S;
    assert_int_equal(look(w), 0);
    assert_non_null(plan_in(w, "proposed"));
}

/* A first wave that fits beside them: two at a time, and one at a node. */
static void test_beside_others(void **state)
{
    struct world *w = *state;
    put_policy(
        w, "automatic",
        "{\"cost\": {\"move\": 1}, \"moves\": {\"parallel\": 2, \"per_node\": 2}, \"patience\": {\"cool_down\": 0}}");
    begin_other(w, "n2", "n3");
    look(w);
    const json_t *plan = plan_in(w, "active");
    assert_non_null(plan);
    assert_int_equal(json_array_size(plan_record_moves(plan, 0)), 1);
    assert_true(json_array_size(plan_record_moves(plan, 1)) >= 1);
}

static struct conductor_job *handed_over;

/* Whether a wave fits was asked before it had to wait: it is asked again. */
static void test_an_old_check_counts_no_more(void **state)
{
    struct world *w = *state;
    put_policy(w, "advise", eager);
    look(w);
    apply(w);
    w->conductor.hand_over = keep;
    w->conductor.stop_data = &handed_over;
    look(w);
    assert_non_null(handed_over);
    conductor_job_run(handed_over);
    conductor_job_done(&w->conductor);
    handed_over = NULL;
    begin_other(w, "n2", "n3");
    look(w);
    end_other(w);
    look(w);
    assert_null(plan_in(w, "active"));
    assert_non_null(handed_over);
    conductor_job_run(handed_over);
    conductor_job_done(&w->conductor);
    look(w);
    assert_non_null(plan_in(w, "active"));
}

/* At nodes that it does not use it may go on, if there may be as many in the cluster; its own moves are no others. */
static void test_at_a_node(void **state)
{
    struct world *w = *state;
    struct policy policy = policy_default();
    char why[120];
    json_t *record = json_pack("{s:s, s:{s:[[{s:s, s:s}]]}}", "id", "P", "spec", "waves", "from", "n1", "to", "n3");
    policy.per_node = 1;
    policy.parallel = 8;
    assert_false(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    begin_other(w, "n2", "n3");
    assert_true(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    assert_string_equal(why, "waits for other migrations at n3 (1)");
    policy.per_node = 2;
    assert_false(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    policy.per_node = 1;
    begin_other(w, "n2", "n4");
    assert_false(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    begin_other(w, "n2", "n3");
    put(w, "/drover/migration/X",
        "{'kind':'migration','id':'X','name':'x','spec':{'guest_id':'G5','from':'n2','to':'n3','plan':'P'}}");
    assert_false(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    json_decref(record);
}

static void put_racks(struct world *w)
{
    put_node(w, 1, ",'labels':{'rack':'a'}");
    put_node(w, 2, ",'labels':{'rack':'a'}");
    put_node(w, 3, ",'labels':{'rack':'b'}");
    put_node(w, 4, ",'labels':{'rack':'b'}");
    put_node(w, 5, "");
}

/* One at a time out of or into a rack. */
static void test_over_a_link(void **state)
{
    struct world *w = *state;
    struct policy policy = policy_default();
    char why[120];
    json_t *record = json_pack("{s:s, s:{s:[[{s:s, s:s}]]}}", "id", "P", "spec", "waves", "from", "n1", "to", "n3");
    put_racks(w);
    policy.parallel = policy.per_node = 8;
    policy.per_link = 1;
    begin_other(w, "n2", "n4");
    assert_true(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    assert_string_equal(why, "waits for other migrations out of or into rack a (1)");
    policy.per_link = 0; /* any number */
    assert_false(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    policy.per_link = 2;
    assert_false(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    policy.per_link = 1;
    begin_other(w, "n4", "n5"); /* which is in no rack: the link of the other is crossed */
    assert_true(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    assert_string_equal(why, "waits for other migrations out of or into rack b (1)");
    begin_other(w, "n3", "n4"); /* within it */
    assert_false(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    char label[100] = "", more[160];
    for (int i = 0; i < 59; i++)
        label[i] = 'r';
    strcpy(label + 59, "\u00e4\u00e4"); /* is not cut within a character */
    snprintf(more, sizeof more, ",'labels':{'rack':'%s'}", label);
    put_node(w, 1, more);
    begin_other(w, "n1", "n5");
    assert_true(traffic_forbids(w->objects, record, 0, &policy, why, sizeof why));
    label[59] = 0;
    snprintf(more, sizeof more, "waits for other migrations out of or into rack %s (1)", label);
    assert_string_equal(why, more);
    json_decref(record);
}

/* A plan's first wave leaves the link to them, and the next uses it. */
static void test_a_plan_beside_a_link(void **state)
{
    struct world *w = *state;
    put_racks(w);
    put_policy(w, "automatic",
               "{\"cost\": {\"move\": 1}, \"moves\": {\"parallel\": 8, \"per_node\": 8, \"per_link\": 1}, "
               "\"patience\": {\"cool_down\": 0}}");
    begin_other(w, "n2", "n4");
    look(w);
    const json_t *plan = plan_in(w, "active");
    assert_non_null(plan);
    size_t i;
    json_t *move;
    json_array_foreach (plan_record_moves(plan, 0), i, move)
        assert_string_equal(snapshot_text(move, "to"), "n2");
    assert_true(json_array_size(plan_record_moves(plan, 1)) >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_plan_waits, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_wave_waits, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_it_is_given_up, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_beside_others, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_an_old_check_counts_no_more, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_at_a_node, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_over_a_link, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_a_plan_beside_a_link, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
