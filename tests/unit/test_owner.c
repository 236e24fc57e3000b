/* A guest's volumes are claimed for it: the move in which one of them is stays as the guest was told, or nothing is
 * opened. Guest g of n1 has the plain volume v, which moves; the store is a real one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/owner.h"
#include "node/base/err.h"
#include "tests/unit/cluster_world.h"

static const char move_key[] = "/drover/volume-move/m-id", switched[] = "{\"kind\":\"volume-move\",\"id\":\"m-id\","
                                                                        "\"name\":\"m\",\"switched\":true,\"spec\":{"
                                                                        "\"volume_id\":\"v-id\"}}";

static struct store_world *world;
static struct cluster *cluster;

static void put(const char *key, const char *text)
{
    int64_t revision;
    assert_int_equal(world_put(world, key, text, STORE_ABSENT, &revision), 0);
}

static const struct object *move(void)
{
    return mirror_find(cluster_mirror(cluster), OBJECT_VOLUME_MOVE, "m-id");
}

static int setup(void **state)
{
    store_world_kind = &store_world_sqlite;
    store_world_setup(state);
    world = *state;
    put("/drover/guest/g-id", "{\"kind\":\"guest\",\"id\":\"g-id\",\"name\":\"g\",\"spec\":{\"node\":\"n1\"}}");
    put("/drover/volume/v-id", "{\"kind\":\"volume\",\"id\":\"v-id\",\"name\":\"v\",\"move\":\"m-id\",\"spec\":{}}");
    put("/drover/volume/w-id", "{\"kind\":\"volume\",\"id\":\"w-id\",\"name\":\"w\",\"move\":\"m-id\",\"spec\":{"
                               "\"layout\":\"replica\"}}");
    put(move_key, "{\"kind\":\"volume-move\",\"id\":\"m-id\",\"name\":\"m\",\"spec\":{\"volume_id\":\"v-id\"}}");
    cluster = cluster_world_open(world);
    return 0;
}

static int teardown(void **state)
{
    cluster_world_close(world, cluster);
    return store_world_teardown(state);
}

struct outcome {
    bool done;
    int rc;
};

static void claimed(void *context, int rc, const json_t *epochs, const struct err *err)
{
    struct outcome *o = context;
    (void)err;
    assert_int_equal(rc == 0, epochs != NULL);
    *o = (struct outcome){true, rc};
}

/* As the plan had the move. */
static int claim(const char *volume, uint64_t revision)
{
    struct outcome outcome = {false, 0};
    struct err err = {0};
    json_t *volumes = json_array(), *moves = json_pack("{s:I}", "m-id", (json_int_t)revision);
    if (*volume)
        json_array_append_new(volumes, json_string(volume));
    struct owner_claim *c = owner_claim(cluster, "g-id", volumes, moves, claimed, &outcome, &err);
    while (c && !outcome.done)
        store_world_turn(world);
    json_decref(volumes);
    json_decref(moves);
    return c ? outcome.rc : -err.code;
}

static void a_switch_over_asked_for_before_is_not_made_any_more(void **state)
{
    (void)state;
    int64_t before = (int64_t)move()->revision, now;
    assert_int_equal(claim("", (uint64_t)before), 0);
    assert_true((int64_t)move()->revision > before); /* and is seen */
    assert_int_equal(world_put(world, move_key, switched, before, &now), -ESTALE);
    assert_int_equal(world_put(world, move_key, switched, (int64_t)move()->revision, &now), 0);
}

static void nothing_is_opened_after_one_that_nobody_has_heard_of(void **state)
{
    (void)state;
    uint64_t seen = move()->revision;
    struct store_change change = {STORE_PUT, move_key, switched, strlen(switched), (int64_t)seen, 0};
    struct store_commit commit = {.changes = &change, .count = 1};
    assert_int_equal(world_commit(world, &commit), 0);
    assert_int_equal(claim("", seen), -ESTALE); /* whether it is in the mirror by now or not */
}

static void nothing_is_opened_by_a_plan_from_before(void **state)
{
    (void)state;
    uint64_t seen = move()->revision;
    assert_int_equal(claim("", seen), 0);
    assert_int_equal(claim("", seen), -ESTALE);
    assert_int_equal(claim("", move()->revision), 0);
}

static void a_member_moves(void **state)
{
    (void)state;
    int64_t now;
    static const char text[] = "{\"kind\":\"volume-move\",\"id\":\"m-id\",\"name\":\"m\",\"spec\":{"
                               "\"volume_id\":\"w-id\"}}";
    assert_int_equal(world_put(world, move_key, text, (int64_t)move()->revision, &now), 0);
    while ((int64_t)move()->revision < now)
        store_world_turn(world);
    assert_int_equal(claim("w-id", move()->revision), 0);
    assert_int_equal(owner_epoch(cluster_mirror(cluster), "w-id"), 1);
}

#define WITH_CLUSTER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CLUSTER(a_switch_over_asked_for_before_is_not_made_any_more),
        WITH_CLUSTER(nothing_is_opened_after_one_that_nobody_has_heard_of),
        WITH_CLUSTER(nothing_is_opened_by_a_plan_from_before),
        WITH_CLUSTER(a_member_moves),
    };
    return cmocka_run_group_tests_name("owner", tests, NULL, NULL);
}
