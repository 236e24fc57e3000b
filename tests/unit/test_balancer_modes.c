/* What the balancer may do by itself, group by group; and what it asks of another thread while a plan is carried out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "balancer/capacity.h"
#include "balancer/cluster_json.h"
#include "balancer/conductor_job.h"
#include "balancer/model.h"
#include "balancer/plan_record.h"
#include "balancer/rules.h"
#include "node/base/err.h"
#include "tests/unit/balancer_world.h"

/* groups: members of an object, with ' for ". */
static void put_modes(struct world *w, const char *mode, const char *groups)
{
    char text[256];
    put_policy(w, mode, eager);
    snprintf(text, sizeof text, "{%s}", groups);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *policy = json_object_get(json_object_get(json_object_get(w->objects, "policy"), "balance"), "value");
    json_object_set_new(json_object_get(policy, "spec"), "groups", json_loads(text, 0, NULL));
}

/* Whose moves a list of them has: "g1 g3 ", in the order of their names. */
static const char *movers(const json_t *plan, char text[64])
{
    text[0] = 0;
    for (int g = 1; g <= 6; g++) {
        char name[] = {'g', (char)('0' + g), 0};
        for (int wave = 0; wave < plan_record_waves(plan); wave++) {
            size_t i;
            json_t *move;
            json_array_foreach (plan_record_moves(plan, wave), i, move)
                if (!strcmp(snapshot_text(move, "guest"), name))
                    snprintf(text + strlen(text), 64 - strlen(text), "%s ", name);
        }
    }
    return text;
}

/* A guest whose group is off stays; one that is only advised is in what people may do, never in what is done. */
static void test_modes_of_groups(void **state)
{
    struct world *w = *state;
    char text[64];
    put_rules(w, 1, 1, ",'anti_affinity':['db:rack:soft','web:soft']");
    put_rules(w, 2, 1, ",'affinity':['web:soft']");
    put_guest(w, 5, 1, "");
    put_load(w, 1,
             "'G1':{'cpu':[90,90,90],'dirty':0},'G2':{'cpu':[90,90,90],'dirty':0},'G3':{'cpu':[90,90,90],'dirty':0},"
             "'G4':{'cpu':[90,90,90],'dirty':0},"
             "'G5':{'cpu':[90,90,90],'dirty':0}");
    put_modes(w, "automatic", "'db':'off','web':'automatic','guest/g2':'advise','guest/g5':'advise'");
    json_t *cluster = snapshot_make(w->objects, &w->now), *guests = json_object_get(cluster, "guests");
    assert_string_equal(snapshot_text(named(guests, "g1"), "balance"), "off"); /* the strictest of its groups */
    assert_string_equal(snapshot_text(named(guests, "g2"), "balance"), "advise");
    assert_string_equal(snapshot_text(named(guests, "g3"), "balance"), "");
    json_decref(cluster);
    assert_true(look(w) >= 1);
    json_t *plan = plan_in(w, "active"), *advice = json_object_get(json_object_get(plan, "spec"), "advice");
    assert_string_equal(movers(plan, text), "g3 g4 ");
    assert_int_equal(json_array_size(json_object_get(advice, "moves")), 1);
    const char *advised = snapshot_text(json_array_get(json_object_get(advice, "moves"), 0), "guest");
    assert_true(!strcmp(advised, "g2") || !strcmp(advised, "g5"));
    assert_non_null(
        strstr(snapshot_text(json_object_get(json_object_get(plan, "spec"), "reasons"), "g1"), "balancing is off"));
    /* its guest is taken from it while it waits: it is void, and what is left is planned */
    put_modes(w, "automatic",
              "'db':'off','guest/g2':'advise','guest/g3':'advise','guest/g4':'advise','guest/g5':'advise'");
    assert_int_equal(look(w), 1);
    assert_non_null(strstr(snapshot_text(json_object_get(plan_in(w, "void"), "spec"), "reason"), "only advised"));
    w->now.clock_s += 11;
    look(w);
    assert_null(plan_in(w, "active"));
    plan = plan_in(w, "proposed");
    assert_non_null(plan);
    assert_null(strstr(movers(plan, text), "g1"));
    assert_non_null(strstr(status_text(w, "summary"), "advised"));
    w->now.clock_s += 11;
    look(w);
    assert_ptr_equal(plan_in(w, "proposed"), plan); /* nobody begins it */
    apply(w);                                       /* but a person */
    look(w);
    assert_non_null(plan_in(w, "active"));
    look(w);
    assert_non_null(plan_in(w, "active"));
    put_modes(w, "automatic", "'guest/g2':'off','guest/g3':'off','guest/g4':'off','guest/g5':'off'");
    look(w);
    assert_null(plan_in(w, "active"));
}

/* In a cluster that is only advised one group moves by itself; when it does not any more its plan is void. */
static void test_one_group_alone(void **state)
{
    struct world *w = *state;
    char text[64];
    put_modes(w, "advise", "'guest/g2':'automatic'");
    look(w);
    assert_string_equal(movers(plan_in(w, "active"), text), "g2 ");
    put_modes(w, "advise", "");
    look(w);
    assert_null(plan_in(w, "active"));
    assert_string_equal(snapshot_text(json_object_get(plan_in(w, "void"), "spec"), "reason"), "the mode was changed");
    put_modes(w, "off", "'guest/g2':'automatic'"); /* off is off for all */
    w->now.clock_s += 11;
    look(w);
    assert_null(plan_in(w, "active"));
    assert_null(plan_in(w, "proposed"));
}

/* Nothing leaves a node that is off and nothing comes there; for losses it is a node like others. */
static void test_modes_of_nodes(void **state)
{
    struct world *w = *state;
    struct cluster_json read;
    struct policy policy = policy_default();
    struct err err;
    put_node(w, 2, ",'labels':{'rack':'r2'}");
    put_modes(w, "automatic", "'rack/r2':'off','node/n9':'off'");
    look(w);
    json_t *plan = plan_in(w, "active"), *move;
    assert_non_null(plan);
    for (int wave = 0; wave < plan_record_waves(plan); wave++) {
        size_t i;
        json_array_foreach (plan_record_moves(plan, wave), i, move)
            assert_string_equal(snapshot_text(move, "to"), "n3");
    }
    put_modes(w, "automatic", "'rack/r2':'off','node/n3':'advise'"); /* and now it may not go there by itself */
    look(w);
    assert_null(plan_in(w, "active"));
    assert_int_equal(conductor_model(w->objects, &policy, &w->now, &read, &err), 0);
    assert_int_equal(rules_check(read.model, &policy, 0, 1, -1), RULE_HELD);
    assert_int_equal(capacity_tolerates(read.model, &policy, 2), 2);
    model_free(read.model);
    put_modes(w, "automatic", "'node/n1':'off'");
    w->now.clock_s += 11;
    look(w);
    assert_null(plan_in(w, "active"));
    assert_null(plan_in(w, "proposed"));
}

/* So is the check of a plan: it sees the cluster as it was when it was asked, one at a time and not all the time. */
static void test_checked_elsewhere(void **state)
{
    struct world *w = *state;
    struct conductor_job *job = NULL;
    w->conductor.stop_data = &job;
    w->conductor.hand_over = keep;
    look(w);
    conductor_job_run(job);
    conductor_job_done(&w->conductor);
    look(w);
    assert_non_null(plan_in(w, "active"));
    job = NULL;
    assert_int_equal(look(w), 0);
    assert_true(job && job->question == CONDUCTOR_CHECK);
    for (int g = 1; g <= 4; g++)
        put_guest(w, g, 3, ""); /* all have gone elsewhere meanwhile: what was handed over does not change */
    assert_int_equal(look(w), 0);
    conductor_job_run(job);
    assert_int_equal(job->rc, 0);
    conductor_job_done(&w->conductor);
    job = NULL;
    assert_int_equal(look(w), 0); /* it fits */
    assert_int_equal(look(w), 0);
    assert_null(job); /* not again within the second */
    w->now.clock_s += CONDUCTOR_CHECK_EVERY_S;
    assert_int_equal(look(w), 0);
    assert_non_null(job);
    conductor_job_run(job);
    conductor_forget(&w->conductor); /* elected anew: the answer does not count */
    conductor_job_done(&w->conductor);
    job = NULL;
    assert_int_equal(look(w), 0);
    assert_null(job);
    w->now.clock_s += CONDUCTOR_CHECK_EVERY_S;
    look(w);
    conductor_job_run(job);
    conductor_job_done(&w->conductor);
    assert_int_equal(look(w), 1);
    assert_non_null(strstr(snapshot_text(json_object_get(plan_in(w, "void"), "spec"), "reason"), "not there any more"));
}

/* Another policy is only looked at: what it would have done is in the status and kept with the plan. */
static void test_shadow(void **state)
{
    struct world *w = *state;
    json_t *spec = json_object_get(
        json_object_get(json_object_get(json_object_get(w->objects, "policy"), "balance"), "value"), "spec");
    json_object_set_new(spec, "shadow", json_string("{\"moves\": {\"max\": 1}, \"cost\": {\"move\": 1}}"));
    assert_true(look(w) >= 1);
    json_t *plan = plan_in(w, "active"), *shadow = json_object_get(json_object_get(plan, "spec"), "shadow");
    assert_true(json_integer_value(json_object_get(json_object_get(plan, "spec"), "moves")) > 1);
    assert_int_equal(json_array_size(json_object_get(shadow, "moves")), 1);
    assert_string_equal(snapshot_text(json_array_get(json_object_get(shadow, "moves"), 0), "from"), "n1");
    json_t *status = json_object_get(json_object_get(json_object_get(w->objects, "balancer"), "status"), "state");
    assert_non_null(strstr(snapshot_text(json_object_get(status, "shadow"), "summary"), "1 moves"));
    struct policy policy;
    struct err err;
    json_object_set_new(spec, "shadow", json_string("nonsense"));
    assert_int_equal(conductor_shadow(w->objects, &policy, &err), -EINVAL);
    json_object_set_new(spec, "shadow", json_string(""));
    assert_int_equal(conductor_shadow(w->objects, &policy, &err), 0);
}

static int shadows(struct world *w)
{
    json_t *plan;
    const char *id;
    int count = 0;
    json_object_foreach (json_object_get(w->objects, "plan"), id, plan)
        count += !strcmp(plan_record_phase(json_object_get(plan, "value")), "shadow");
    return count;
}

/* What the other policy would do is kept once, whatever the mode, and again when it is something else. */
static void test_the_shadow_is_kept(void **state)
{
    struct world *w = *state;
    put_policy(w, "off", "");
    json_t *entry = json_object_get(json_object_get(w->objects, "policy"), "balance");
    json_object_set_new(json_object_get(json_object_get(entry, "value"), "spec"), "shadow",
                        json_string("{\"cost\": {\"move\": 1}, \"patience\": {\"cool_down\": 0}}"));
    for (int i = 0; i < 3; i++) {
        look(w);
        w->now.clock_s += CONDUCTOR_PLAN_EVERY_S;
        assert_int_equal(shadows(w), 1);
    }
    assert_true(json_array_size(plan_record_moves(plan_in(w, "shadow"), 0)) > 0);
    assert_string_equal(snapshot_text(json_array_get(plan_record_moves(plan_in(w, "shadow"), 0), 0), "from"), "n1");
    w->now.clock_s += CONDUCTOR_SHADOW_S;
    put_load(w, 2, "");
    put_load(w, 3, "");
    put_load(w, 1, "'G1':{'cpu':[1,1,1]},'G2':{'cpu':[1,1,1]},'G3':{'cpu':[190,190,190]},'G4':{'cpu':[150,150,150]}");
    look(w);
    assert_int_equal(shadows(w), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shadow, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_the_shadow_is_kept, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_modes_of_groups, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_one_group_alone, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_modes_of_nodes, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_checked_elsewhere, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
