/* A guest that has switched itself off counts as off until the store knows it, whatever comes in between; and no longer
 * than until somebody asks for its start. Guest g runs, and the store is a real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/guest_off.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "tests/unit/cluster_world.h"

#define GUEST(started, spec)                                                                                           \
    "{\"kind\":\"guest\",\"id\":\"g-id\",\"name\":\"g\",\"started\":\"" started "\",\"spec\":{" spec "}}"

static const char key[] = "/drover/guest/g-id";

static struct store_world *world;
static struct cluster *cluster;
static struct guest_off *off;
static bool holds;

static const struct object *guest(void)
{
    return mirror_find(cluster_mirror(cluster), OBJECT_GUEST, "g-id");
}

static bool is_running(void)
{
    return json_is_true(json_object_get(json_object_get(guest()->value, "spec"), "running"));
}

static void look(struct loop_job *job)
{
    (void)job;
    holds = guest_off_holds(off, guest());
}

static struct loop_job job = {.run = look};

/* Somebody else's, that the mirror has not seen. */
static void put_unseen(const char *text)
{
    struct store_change change = {STORE_PUT, key, text, strlen(text), (int64_t)guest()->revision, 0};
    struct store_commit commit = {.changes = &change, .count = 1};
    assert_int_equal(world_commit(world, &commit), 0);
}

static int setup(void **state)
{
    int64_t revision;
    store_world_kind = &store_world_sqlite;
    store_world_setup(state);
    world = *state;
    assert_int_equal(world_put(world, key, GUEST("noon", "\"running\":true"), STORE_ABSENT, &revision), 0);
    cluster = cluster_world_open(world);
    off = guest_off_new(world->loop, cluster, guest(), &job);
    assert_non_null(off);
    return 0;
}

static int teardown(void **state)
{
    guest_off_free(off);
    loop_forget(world->loop, &job);
    cluster_world_close(world, cluster);
    return store_world_teardown(state);
}

static void it_holds_until_it_is_written(void **state)
{
    (void)state;
    look(&job);
    assert_true(holds && is_running());
    while (holds)
        store_world_turn(world);
    assert_false(is_running());
}

static void what_is_overtaken_is_written_again(void **state)
{
    (void)state;
    put_unseen(GUEST("noon", "\"running\":true,\"memory\":1"));
    look(&job);
    while (holds)
        store_world_turn(world);
    assert_false(is_running());
    assert_int_equal(json_integer_value(json_object_get(json_object_get(guest()->value, "spec"), "memory")), 1);
}

static void a_start_asked_for_meanwhile_counts(void **state)
{
    (void)state;
    put_unseen(GUEST("one", "\"running\":true"));
    look(&job);
    while (holds)
        store_world_turn(world);
    assert_true(is_running());
}

static void one_that_is_given_up_is_written_all_the_same(void **state)
{
    (void)state;
    look(&job);
    guest_off_free(off);
    off = NULL;
    while (is_running())
        store_world_turn(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_holds_until_it_is_written, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_overtaken_is_written_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_start_asked_for_meanwhile_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_is_given_up_is_written_all_the_same, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
