/* Volumes that move along with a guest: which they are, when they change over, and what ends the migration. Guest g of
 * n1 has the plain volumes a and b in p1 and a third one, c, in p2; it goes to n3. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/complete.h"
#include "node/agent/migration.h"
#include "node/agent/migration_volumes.h"
#include "node/agent/volume_move.h"

static struct mirror *m;

static void put(const char *key, const char *text)
{
    static uint64_t revision;
    char json[1024];
    snprintf(json, sizeof json, "%s", text);
    for (char *c = json; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_int_equal(mirror_put(m, key, json, strlen(json), ++revision), 0);
}

static void put_node(int i)
{
    char key[80], text[256];
    snprintf(key, sizeof key, "/drover/node/n%d-id", i);
    snprintf(text, sizeof text, "{'kind':'node','id':'n%d-id','name':'n%d','spec':{'address':'10.0.0.%d'}}", i, i, i);
    put(key, text);
    snprintf(key, sizeof key, "/drover/state/node/n%d-id", i);
    put(key, "{'alive':true,'cpus':4,'memory_bytes':17179869184}");
}

static void put_pool(const char *name, int node, const char *driver, const char *free_bytes)
{
    char key[80], text[256];
    snprintf(key, sizeof key, "/drover/pool/%s-id", name);
    snprintf(text, sizeof text, "{'kind':'pool','id':'%s-id','name':'%s','spec':{'node':'n%d','driver':'%s'}}", name,
             name, node, driver);
    put(key, text);
    snprintf(key, sizeof key, "/drover/state/pool/%s-id", name);
    snprintf(text, sizeof text, "{'free_bytes':%s}", free_bytes);
    put(key, text);
}

static void put_plain(const char *name, const char *pool, const char *size)
{
    char key[80], text[256];
    snprintf(key, sizeof key, "/drover/volume/%s-id", name);
    snprintf(text, sizeof text, "{'kind':'volume','id':'%s-id','name':'%s','spec':{'pool':'%s','size':%s}}", name, name,
             pool, size);
    put(key, text);
    snprintf(key, sizeof key, "/drover/state/volume/%s-id", name);
    snprintf(text, sizeof text, "{'phase':'ready','made':true,'bytes':%s}", size);
    put(key, text);
}

static void put_guest(const char *migration)
{
    char text[400];
    snprintf(text, sizeof text,
             "{'kind':'guest','id':'g-id','name':'g','migration':'%s','spec':{'node':'n1','running':true,'disks':["
             "{'volume':'a'},{'volume':'b'},{'volume':'c'}]}}",
             migration);
    put("/drover/guest/g-id", text);
    put("/drover/state/guest/g-id", "{'phase':'running','node':'n1'}");
}

static int setup(void **state)
{
    (void)state;
    m = mirror_new();
    for (int i = 1; i <= 3; i++)
        put_node(i);
    put_pool("p1", 1, "directory", "0");
    put_pool("p2", 2, "directory", "0");
    put_pool("p3", 3, "directory", "6000000");
    put_plain("a", "p1", "4194304");
    put_plain("b", "p1", "1048576");
    put_plain("c", "p2", "4194304");
    put_guest("");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mirror_free(m);
    return 0;
}

/* ---- which they are ---- */

static int choose(json_t **migration, json_t **moves, struct complete_error *e)
{
    static const struct migration_goals goals = {.max_downtime_ms = 300, .within_s = 60, .with_volumes = true};
    *migration = migration_make(mirror_named(m, OBJECT_GUEST, "g"), "m-id", "n3", "", &goals, "user:me");
    *moves = json_array();
    return migration_volumes_choose(m, mirror_named(m, OBJECT_GUEST, "g"), *migration, *moves, e);
}

static void release(json_t *migration, json_t *moves)
{
    json_decref(migration);
    json_decref(moves);
}

static const char *text_at(const json_t *list, size_t index, const char *key)
{
    return json_string_value(json_object_get(json_array_get(list, index), key));
}

static void what_its_node_has_moves_along(void **state)
{
    (void)state;
    struct complete_error e;
    json_t *migration, *moves;
    assert_int_equal(choose(&migration, &moves, &e), 0);
    const json_t *list = json_object_get(json_object_get(migration, "spec"), "volumes");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(text_at(list, 0, "volume"), "a");
    assert_string_equal(text_at(list, 1, "volume"), "b");
    assert_string_equal(text_at(list, 1, "to"), "p3");
    assert_string_equal(text_at(moves, 1, "id"), text_at(list, 1, "move"));
    const json_t *spec = json_object_get(json_array_get(moves, 0), "spec");
    assert_string_equal(json_string_value(json_object_get(spec, "migration")), "m-id");
    release(migration, moves);
}

static void all_of_them_must_fit(void **state)
{
    (void)state;
    struct complete_error e;
    json_t *migration, *moves;
    put_pool("p3", 3, "directory", "4500000"); /* each of both */
    assert_int_equal(choose(&migration, &moves, &e), -EINVAL);
    assert_string_equal(e.code, "no-room");
    assert_non_null(strstr(e.text, "volume b cannot move along"));
    release(migration, moves);
    put_pool("p4", 3, "directory", "1500000"); /* or one elsewhere */
    assert_int_equal(choose(&migration, &moves, &e), 0);
    assert_string_equal(text_at(json_object_get(json_object_get(migration, "spec"), "volumes"), 1, "to"), "p4");
    release(migration, moves);
}

static void what_is_on_its_way_to_a_pool_takes_its_room(void **state)
{
    (void)state;
    struct complete_error e;
    json_t *migration, *moves;
    put("/drover/volume-move/o-id", "{'kind':'volume-move','id':'o-id','name':'o','spec':{'volume':'o','to':'p3',"
                                    "'from':'p1','bytes':2000000}}");
    put("/drover/state/volume-move/o-id", "{'phase':'copying','done_bytes':1000000}");
    assert_int_equal(choose(&migration, &moves, &e), -EINVAL); /* 6000000 are free, both need 5242880 */
    assert_string_equal(e.code, "no-room");
    assert_non_null(strstr(e.text, "and 1000000 are on their way there"));
    release(migration, moves);
    put("/drover/state/volume-move/o-id", "{'phase':'copying','done_bytes':1900000}");
    assert_int_equal(choose(&migration, &moves, &e), 0);
    release(migration, moves);
    put("/drover/state/volume-move/o-id", "{'phase':'failed','done_bytes':0}");
    assert_int_equal(choose(&migration, &moves, &e), 0);
    release(migration, moves);
}

static void pools_that_would_change_its_size_are_passed_over(void **state)
{
    (void)state;
    struct complete_error e;
    json_t *migration, *moves;
    put_pool("a-group", 3, "lvm", "null");
    put_pool("a-device", 3, "block", "null");
    put_plain("b", "p1", "1048576");
    assert_int_equal(choose(&migration, &moves, &e), 0);
    const json_t *list = json_object_get(json_object_get(migration, "spec"), "volumes");
    assert_string_equal(text_at(list, 0, "to"), "a-group"); /* 4 MiB */
    assert_string_equal(text_at(list, 1, "to"), "p3");
    release(migration, moves);
}

static void what_no_pool_takes_is_refused(void **state)
{
    (void)state;
    struct complete_error e;
    json_t *migration, *moves;
    put_plain("a", "p1", "1048576");
    put_pool("p3", 3, "block", "null");
    assert_int_equal(choose(&migration, &moves, &e), -EINVAL);
    assert_string_equal(e.code, "pool-is-a-device");
    assert_non_null(strstr(e.text, "volume a cannot move along: pool p3 is one device"));
    release(migration, moves);
    put_pool("p3", 3, "lvm", "null");
    assert_int_equal(choose(&migration, &moves, &e), -EINVAL);
    assert_string_equal(e.code, "no-multiple");
    release(migration, moves);
}

static void put_node_with(int i, const char *pool, const char *free_bytes, const char *memory)
{
    char key[80], text[256];
    put_node(i);
    put_pool(pool, i, "directory", free_bytes);
    snprintf(key, sizeof key, "/drover/guest/x%d-id", i);
    snprintf(text, sizeof text,
             "{'kind':'guest','id':'x%d-id','name':'x%d','spec':{'node':'n%d','memory':%s,'anti_affinity':['%s']}}", i,
             i, i, memory, i == 5 ? "e:soft" : "f");
    put(key, text);
}

static void the_best_node_of_those_that_take_both(void **state)
{
    (void)state;
    const struct object *guest = mirror_named(m, OBJECT_GUEST, "g");
    assert_string_equal(migration_volumes_node(m, guest, NULL)->name, "n3"); /* n2 is as good, and has no room */
    put_node_with(3, "p3", "6000000", "4294967296");
    put_node_with(4, "p4", "6000000", "2147483648");
    put_node_with(5, "p5", "6000000", "1073741824");
    put_node_with(6, "p6", "0", "0");
    assert_string_equal(migration_volumes_node(m, guest, NULL)->name, "n5");
    put("/drover/guest/g-id", "{'kind':'guest','id':'g-id','name':'g','spec':{'node':'n1','running':true,'disks':["
                              "{'volume':'a'},{'volume':'b'}],'anti_affinity':['e:soft']}}");
    assert_string_equal(migration_volumes_node(m, guest, NULL)->name, "n4");
    put_pool("p3", 3, "directory", "0");
    put_pool("p4", 4, "directory", "0");
    put_pool("p5", 5, "directory", "0");
    assert_null(migration_volumes_node(m, guest, NULL));
}

static void what_stays_is_named(void **state)
{
    (void)state;
    char text[100];
    assert_string_equal(migration_volumes_left(m, mirror_named(m, OBJECT_GUEST, "g"), text, sizeof text),
                        "volume a, b stay on node n1");
}

/* ---- on the way ---- */

static void put_migration(const char *more)
{
    char text[600];
    snprintf(text, sizeof text,
             "{'kind':'migration','id':'m-id','name':'m','spec':{'guest':'g','guest_id':'g-id','from':'n1','to':'n3',"
             "'within_s':60,'began':'2026-11-27T08:00:00.000Z','volumes':[{'move':'am-id','volume':'a','bytes':4096},"
             "{'move':'bm-id','volume':'b','bytes':8192}]}%s}",
             more);
    put("/drover/migration/m-id", text);
    put_guest("m-id");
}

static void put_move(const char *volume, const char *more, const char *state)
{
    char key[80], text[500];
    snprintf(key, sizeof key, "/drover/volume-move/%sm-id", volume);
    snprintf(text, sizeof text,
             "{'kind':'volume-move','id':'%sm-id','name':'%sm','spec':{'volume':'%s','volume_id':'%s-id','index':-1,"
             "'from':'p1','to':'p3','node':'n3','member':'x%s-id','migration':'m-id'}%s}",
             volume, volume, volume, volume, volume, more);
    put(key, text);
    snprintf(key, sizeof key, "/drover/state/volume-move/%sm-id", volume);
    put(key, state);
    snprintf(key, sizeof key, "/drover/member/x%s-id", volume);
    snprintf(text, sizeof text,
             "{'kind':'member','id':'x%s-id','name':'%s.x','arriving':true,'spec':{'volume':'%s-id','pool':'p3'}}",
             volume, volume, volume);
    put(key, text);
    snprintf(key, sizeof key, "/drover/state/member/x%s-id", volume);
    put(key, "{'made':true,'uri':'nbd://n3/x'}");
}

static const struct object *the_migration(void)
{
    return mirror_find(m, OBJECT_MIGRATION, "m-id");
}

static struct volume_move_decision decide_move(const char *id, enum volume_move_process process)
{
    struct volume_move_view v = {
        .mirror = m, .move = mirror_find(m, OBJECT_VOLUME_MOVE, id), .process = process, .why = ""};
    return volume_move_decide(&v);
}

static struct migration_decision decide(enum migration_process process, bool overdue)
{
    static struct migration_volumes v; /* what is decided may name its reason */
    migration_volumes_look(m, the_migration(), &v);
    struct migration_view view = {.migration = the_migration(),
                                  .guest = mirror_named(m, OBJECT_GUEST, "g"),
                                  .process = process,
                                  .volumes = &v,
                                  .overdue = overdue};
    return migration_decide(&view);
}

static void they_change_over_together(void **state)
{
    (void)state;
    put_migration("");
    put_move("a", "", "{'phase':'copied','done_bytes':4096}");
    put_move("b", "", "{'phase':'copying','done_bytes':4096}");
    assert_true(migration_volumes_pending(the_migration()));
    assert_int_equal(decide_move("am-id", VOLUME_MOVE_SYNCED).step, VOLUME_MOVE_STEP_WAIT);
    assert_int_equal(decide(MIGRATION_PROCESS_IDLE, false).step, MIGRATION_STEP_WAIT);
    put_move("b", "", "{'phase':'copied','done_bytes':8192}");
    assert_int_equal(decide_move("am-id", VOLUME_MOVE_SYNCED).step, VOLUME_MOVE_STEP_SETTLE);
    assert_int_equal(decide_move("am-id", VOLUME_MOVE_HOLDS).step, VOLUME_MOVE_STEP_COMMIT);
    put_move("a", ",'switched':true", "{'phase':'done','done_bytes':4096}");
    assert_int_equal(decide_move("bm-id", VOLUME_MOVE_SYNCED).step, VOLUME_MOVE_STEP_SETTLE);
    put_move("b", ",'switched':true", "{'phase':'done','done_bytes':8192}");
    assert_int_equal(decide(MIGRATION_PROCESS_IDLE, false).step, MIGRATION_STEP_VOLUMES);
    assert_int_equal(decide(MIGRATION_PROCESS_IDLE, true).step, MIGRATION_STEP_VOLUMES); /* seen late */
    put_migration(",'volumes_s':20");
    assert_false(migration_volumes_pending(the_migration()));
    assert_int_equal(migration_volumes_rest_s(the_migration()), 40);
}

static void one_that_fails_calls_back_the_others(void **state)
{
    (void)state;
    put_migration("");
    put_move("a", "", "{'phase':'copied'}");
    put_move("b", "", "{'phase':'failed','reason':'no space left'}");
    struct migration_decision d = decide(MIGRATION_PROCESS_IDLE, false);
    assert_int_equal(d.step, MIGRATION_STEP_RECALL);
    assert_string_equal(d.reason, "volume b: no space left");
    put_migration(",'recalled':'volume b: no space left'");
    assert_int_equal(decide(MIGRATION_PROCESS_IDLE, false).step, MIGRATION_STEP_WAIT); /* until a has ended, too */
    assert_int_equal(decide_move("am-id", VOLUME_MOVE_SYNCED).step, VOLUME_MOVE_STEP_STAY);
    assert_int_equal(decide_move("am-id", VOLUME_MOVE_HOLDS).step, VOLUME_MOVE_STEP_MARK);
    struct volume_move_decision gone = decide_move("am-id", VOLUME_MOVE_IDLE);
    assert_int_equal(gone.step, VOLUME_MOVE_STEP_CLOSE);
    assert_int_equal(gone.phase, VOLUME_MOVE_CANCELLED);
    put_move("a", "", "{'phase':'cancelled'}");
    d = decide(MIGRATION_PROCESS_IDLE, false);
    assert_int_equal(d.step, MIGRATION_STEP_CLOSE);
    assert_int_equal(d.phase, MIGRATION_FAILED);
}

static void a_long_reason_is_cut_between_letters(void **state)
{
    (void)state;
    char told[400] = "{'phase':'failed','reason':'a";
    for (int i = 0; i < 120; i++)
        strcat(told, "\xc3\xa4");
    strcat(told, "'}");
    put_migration("");
    put_move("a", "", "{'phase':'copied'}");
    put_move("b", "", told);
    struct migration_decision d = decide(MIGRATION_PROCESS_IDLE, false);
    assert_int_equal(d.step, MIGRATION_STEP_RECALL);
    json_t *text = json_string(d.reason); /* as it is written down */
    assert_non_null(text);
    assert_int_equal(json_string_length(text), strlen("volume b: a") + 2 * 79);
    json_decref(text);
}

static void what_ends_a_migration_ends_them(void **state)
{
    (void)state;
    char text[100];
    put_migration("");
    put_move("a", "", "{'phase':'copying'}");
    put_move("b", ",'switched':true", "{'phase':'done'}");
    assert_null(migration_volumes_obstacle(m, the_migration()));
    assert_int_equal(decide(MIGRATION_PROCESS_NONE, false).step, MIGRATION_STEP_RECALL);
    assert_int_equal(decide(MIGRATION_PROCESS_IDLE, true).step, MIGRATION_STEP_RECALL);
    put_migration(",'cancel':true");
    assert_int_equal(decide(MIGRATION_PROCESS_IDLE, false).step, MIGRATION_STEP_WAIT);
    assert_string_equal(migration_volumes_obstacle(m, the_migration()), "cancelled");
    put_move("a", "", "{'phase':'cancelled'}");
    struct migration_decision d = decide(MIGRATION_PROCESS_IDLE, false);
    assert_int_equal(d.step, MIGRATION_STEP_CLOSE);
    assert_int_equal(d.phase, MIGRATION_CANCELLED);
    assert_string_equal(migration_volumes_moved(m, the_migration(), text, sizeof text),
                        "; moved to node n3 before that: b");
    put_migration("");
    put_guest(""); /* another node has taken it over */
    assert_non_null(migration_volumes_obstacle(m, the_migration()));
}

static void how_long_they_take(void **state)
{
    (void)state;
    put_migration("");
    const json_t *spec = json_object_get(the_migration()->value, "spec");
    assert_int_equal(migration_volumes_bytes(the_migration()), 12288);
    assert_int_equal((int)(migration_volumes_seconds(m, spec, 1024) + 0.5), 12); /* they share the link */
    put("/drover/volume/b-id", "{'kind':'volume','id':'b-id','name':'b','spec':{'pool':'p1','resync_rate':512}}");
    assert_int_equal((int)(migration_volumes_seconds(m, spec, 1024) + 0.5), 16);
}

#define WITH_CLUSTER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CLUSTER(what_its_node_has_moves_along),
        WITH_CLUSTER(all_of_them_must_fit),
        WITH_CLUSTER(what_is_on_its_way_to_a_pool_takes_its_room),
        WITH_CLUSTER(pools_that_would_change_its_size_are_passed_over),
        WITH_CLUSTER(what_no_pool_takes_is_refused),
        WITH_CLUSTER(the_best_node_of_those_that_take_both),
        WITH_CLUSTER(what_stays_is_named),
        WITH_CLUSTER(they_change_over_together),
        WITH_CLUSTER(one_that_fails_calls_back_the_others),
        WITH_CLUSTER(a_long_reason_is_cut_between_letters),
        WITH_CLUSTER(what_ends_a_migration_ends_them),
        WITH_CLUSTER(how_long_they_take),
    };
    return cmocka_run_group_tests_name("migration_volumes", tests, NULL, NULL);
}
