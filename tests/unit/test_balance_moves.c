/* What a plan wants of this node, n1, is begun as soon as it may be (with a real store). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/balance_moves.h"
#include "node/agent/balance_question.h"
#include "node/agent/cluster.h"
#include "node/agent/measured.h"
#include "node/agent/volume_key.h"
#include "node/base/clock.h"
#include "node/base/err.h"
#include "tests/unit/cluster_world.h"

static struct store_world *world;
static struct cluster *cluster;
static struct balance_moves *moves;

static void put(const char *key, const char *text)
{
    int64_t revision;
    assert_int_equal(world_put(world, key, text, STORE_ANY, &revision), 0);
}

static int setup(void **state)
{
    struct err err = {0};
    store_world_kind = &store_world_sqlite;
    store_world_setup(state);
    world = *state;
    assert_int_equal(volume_key_make_cluster(world->path, &err), 0);
    put("/drover/node/1", "{\"name\":\"n1\",\"spec\":{}}");
    put("/drover/node/2", "{\"name\":\"n2\",\"spec\":{}}");
    put("/drover/guest/g",
        "{\"name\":\"g\",\"spec\":{\"node\":\"n1\",\"running\":true,\"disks\":[{\"volume\":\"v\"}]}}");
    put("/drover/state/guest/g", "{\"phase\":\"running\"}");
    put("/drover/volume/v", "{\"name\":\"v\",\"spec\":{}}");
    put("/drover/plan/p", "{\"name\":\"p\",\"spec\":{\"phase\":\"active\",\"wave\":0,\"waves\":[[{\"guest_id\":\"g\","
                          "\"from\":\"n1\",\"to\":\"n2\",\"move\":0}]]}}");
    return 0;
}

static void begin(void)
{
    struct err err = {0};
    cluster = cluster_world_open(world);
    moves = balance_moves_new(world->loop, cluster, world->path, &err);
    assert_non_null(moves);
    world_revision(world); /* some turns of the loop */
    assert_int_equal(balance_moves_begun(moves), 0);
}

static int teardown(void **state)
{
    balance_moves_free(moves);
    cluster_world_close(world, cluster);
    return store_world_teardown(state);
}

static void await_the_move(void)
{
    while (!balance_moves_begun(moves))
        store_world_turn(world);
    assert_int_equal(mirror_count(cluster_mirror(cluster), OBJECT_MIGRATION), 1);
}

static void it_waits_for_the_node(void **state)
{
    (void)state;
    begin();
    put("/drover/state/node/2", "{\"alive\":true}");
    await_the_move();
}

static void it_waits_for_a_volume_that_moves(void **state)
{
    (void)state;
    put("/drover/state/node/2", "{\"alive\":true}");
    put("/drover/volume-move/m", "{\"name\":\"m\",\"spec\":{\"volume_id\":\"v\"}}");
    put("/drover/volume/v", "{\"name\":\"v\",\"move\":\"m\",\"spec\":{}}");
    begin();
    put("/drover/volume/v", "{\"name\":\"v\",\"spec\":{}}");
    await_the_move();
}

/* What is asked of a balancer has all that it plans by, also what is a state only. */
static void questions_have_it_all(void **state)
{
    (void)state;
    put("/drover/image/i", "{\"name\":\"kernel\",\"spec\":{}}");
    put("/drover/state/load/1", "{\"guests\":{}}");
    put("/drover/state/hours/g", "{\"g\":\"17:0001\"}");
    put("/drover/state/hours/xy", "{\"xyz\":\"17:0001\"}");
    begin();
    struct measured *measured = measured_new(cluster_mirror(cluster), clock_ms);
    json_t *question = balance_question(cluster_mirror(cluster), measured, "export"),
           *objects = json_object_get(question, "objects");
    static const char *const there[][2] = {{"node", "1"},  {"node", "2"}, {"guest", "g"},
                                           {"image", "i"}, {"load", "1"}, {"hours", "g"}};
    for (unsigned i = 0; i < sizeof there / sizeof *there; i++)
        assert_non_null(json_object_get(json_object_get(objects, there[i][0]), there[i][1]));
    assert_null(json_object_get(json_object_get(objects, "hours"), "xy")); /* of nobody who is there */
    json_decref(question);
    measured_free(measured);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_waits_for_the_node, setup, teardown),
        cmocka_unit_test_setup_teardown(it_waits_for_a_volume_that_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(questions_have_it_all, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
