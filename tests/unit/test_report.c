/* What a node observes, and what it deletes, on its way to the store (a real one): a deletion is not lost because of
 * what happens beside it, and is not made of what has changed since; of what is gone nothing is told. Volumes v and w.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/report.h"
#include "node/base/err.h"
#include "tests/unit/cluster_world.h"

static struct store_world *world;
static struct cluster *cluster;
static struct report *report;

static void put(const char *key, const char *text)
{
    int64_t revision;
    assert_int_equal(world_put(world, key, text, STORE_ABSENT, &revision), 0);
}

static const struct object *volume(const char *id)
{
    return mirror_find(cluster_mirror(cluster), OBJECT_VOLUME, id);
}

static bool is_gone(const char *id)
{
    return !volume(id) || !volume(id)->value;
}

/* Somebody else's, that the mirror has not seen. */
static void put_unseen(const char *key, const char *text, uint64_t before)
{
    struct store_change change = {STORE_PUT, key, text, strlen(text), (int64_t)before, 0};
    struct store_commit commit = {.changes = &change, .count = 1};
    assert_int_equal(world_commit(world, &commit), 0);
}

static int setup(void **state)
{
    store_world_kind = &store_world_sqlite;
    store_world_setup(state);
    world = *state;
    put("/drover/volume/v-id", "{\"kind\":\"volume\",\"id\":\"v-id\",\"name\":\"v\",\"spec\":{}}");
    put("/drover/volume/w-id", "{\"kind\":\"volume\",\"id\":\"w-id\",\"name\":\"w\",\"spec\":{}}");
    put("/drover/state/volume/v-id", "{\"phase\":\"making\"}");
    cluster = cluster_world_open(world);
    report = report_new(world->loop, cluster);
    assert_non_null(report);
    return 0;
}

static int teardown(void **state)
{
    while (report_busy(report))
        store_world_turn(world);
    report_stop(report);
    report_free(report);
    cluster_world_close(world, cluster);
    return store_world_teardown(state);
}

static void a_state_that_is_overtaken_loses_no_deletion_beside_it(void **state)
{
    (void)state;
    report_state(report, OBJECT_VOLUME, "v-id", json_pack("{s:s}", "phase", "ready"));
    report_deleted(report, volume("w-id"));
    put_unseen("/drover/state/volume/v-id", "{\"phase\":\"failed\"}", volume("v-id")->state_revision);
    while (!is_gone("w-id"))
        store_world_turn(world);
    while (strcmp(json_string_value(json_object_get(volume("v-id")->state, "phase")), "ready") != 0)
        store_world_turn(world);
}

static void a_deletion_that_is_overtaken_is_not_made(void **state)
{
    (void)state;
    report_deleted(report, volume("w-id"));
    put_unseen("/drover/volume/w-id", "{\"kind\":\"volume\",\"id\":\"w-id\",\"name\":\"w\",\"spec\":{\"size\":1}}",
               volume("w-id")->revision);
    report_deleted(report, volume("v-id")); /* in the same batch */
    while (!is_gone("v-id"))
        store_world_turn(world);
    assert_false(is_gone("w-id"));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(volume("w-id")->value, "spec"), "size")), 1);
}

/* As on a node that was cut off while its guest went to another one, and was deleted there. */
static void no_state_is_written_of_what_is_gone(void **state)
{
    (void)state;
    report_state(report, OBJECT_GUEST, "g-id", json_pack("{s:s}", "phase", "frozen"));
    report_state(report, OBJECT_CANARY, "c-id", json_pack("{s:i}", "beats", 1)); /* never has a value */
    report_state(report, OBJECT_VOLUME, "v-id", json_pack("{s:s}", "phase", "ready"));
    while (strcmp(json_string_value(json_object_get(volume("v-id")->state, "phase")), "ready") != 0)
        store_world_turn(world);
    assert_string_equal(world_get(world, "/drover/state/guest/g-id", NULL), "(absent)");
    assert_string_equal(world_get(world, "/drover/state/canary/c-id", NULL), "{\"beats\":1}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_state_that_is_overtaken_loses_no_deletion_beside_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deletion_that_is_overtaken_is_not_made, setup, teardown),
        cmocka_unit_test_setup_teardown(no_state_is_written_of_what_is_gone, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
