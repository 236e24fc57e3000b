/* A guest that no node takes while its node is drained: the plan makes room for it, and moves nobody else of that node.
 * Three nodes of which guests may have 15 GiB each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "balancer/plan_record.h"
#include "balancer/snapshot.h"
#include "tests/unit/balancer_world.h"

static const char idle[] = "{'cpu':[1,1,1],'dirty':0}";

static void put_sized(struct world *w, int g, int node, int gib)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/guest/G%d", g);
    put(w, key, "{'kind':'guest','id':'G%d','name':'g%d','spec':{'node':'n%d','running':true,'memory':%lld,'vcpus':2}}",
        g, g, node, (long long)gib << 30);
    snprintf(key, sizeof key, "/drover/state/guest/G%d", g);
    put(w, key, "{'phase':'running','node':'n%d'}", node);
}

/* staying: members of what the drained node says, with ' for ". */
static void drain(struct world *w, const char *staying)
{
    put(w, "/drover/node/N1", "{'kind':'node','id':'N1','name':'n1','spec':{'drained':true}}");
    put(w, "/drover/state/node/N1", "{'alive':true,'cpus':4,'memory_bytes':17179869184,'staying':{%s}}", staying);
}

static void fill(struct world *w)
{
    char loads[128];
    put_sized(w, 1, 1, 12);
    put_sized(w, 2, 1, 1);
    put_sized(w, 3, 2, 5);
    put_sized(w, 4, 3, 5);
    snprintf(loads, sizeof loads, "'G1':%s,'G2':%s", idle, idle);
    put_load(w, 1, loads);
    for (int n = 2; n <= 3; n++) {
        snprintf(loads, sizeof loads, "'G%d':%s", n + 1, idle);
        put_load(w, n, loads);
    }
}

static const char *mover(const json_t *plan, int wave)
{
    return snapshot_text(json_array_get(plan_record_moves(plan, wave), 0), "guest");
}

static void test_room_is_made(void **state)
{
    struct world *w = *state;
    fill(w);
    drain(w, "");
    look(w);
    assert_null(plan_in(w, "active")); /* it may well go by itself */
    drain(w, "'g1':'no node may have it'");
    w->now.clock_s += 10;
    look(w);
    const json_t *plan = plan_in(w, "active");
    assert_non_null(plan);
    assert_int_equal(plan_record_waves(plan), 2);
    assert_true(!strcmp(mover(plan, 0), "g3") || !strcmp(mover(plan, 0), "g4"));
    assert_string_equal(mover(plan, 1), "g1");
    for (int wave = 0; wave < 2; wave++)
        assert_int_equal(json_array_size(plan_record_moves(plan, wave)), 1);
}

/* Whom another node names, one that is not there any more, or a guest that does not run: they are no reason. Who is
 * fixed because its node drains stays so. */
static void test_who_is_not_stuck(void **state)
{
    struct world *w = *state;
    fill(w);
    drain(w, "'g2':'no node may have it','gone':'no node may have it'");
    put(w, "/drover/state/node/N3",
        "{'alive':true,'cpus':4,'memory_bytes':17179869184,'staying':{'g1':'no node may have it'}}");
    look(w);
    const json_t *plan = plan_in(w, "active"); /* g2 goes, for whom there is room */
    assert_non_null(plan);
    assert_int_equal(plan_record_waves(plan), 1);
    assert_string_equal(mover(plan, 0), "g2");
    json_object_clear(json_object_get(w->objects, "plan"));
    drain(w, "'g2':'no node may have it'");
    put(w, "/drover/guest/G2",
        "{'kind':'guest','id':'G2','name':'g2','spec':{'node':'n1','running':false,'memory':1073741824,'vcpus':2}}");
    w->now.clock_s += 10;
    look(w);
    assert_null(plan_in(w, "active"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_room_is_made, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_who_is_not_stuck, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
