/* The cluster as the balancer reads it from the store's objects: nodes, guests, their loads, and what was known before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/cluster_json.h"
#include "balancer/conductor.h"
#include "balancer/model.h"
#include "node/base/err.h"
#include "tests/unit/balancer_world.h"

static void test_snapshot(void **state)
{
    struct world *w = *state;
    put_node(w, 4, ",'labels':{'rack':'r7'}");
    put(w, "/drover/node/N5", "{'kind':'node','id':'N5','name':'n5','spec':{'drained':true}}"); /* and away */
    put_guest(w, 5, 5, "");
    put_guest(w, 6, 9, ""); /* of a node nobody knows */
    put_guest(w, 7, 1, ",'migration':'M9'");
    put(w, "/drover/migration/M9", "{'id':'M9','name':'m9','spec':{'guest_id':'G7','from':'n1','to':'n2'}}");
    put(w, "/drover/migration/M8", "{'id':'M8','name':'m8','spec':{'guest_id':'G1','from':'n3','to':'n1'}}");
    put(w, "/drover/state/migration/M8",
        "{'phase':'done','ended':'2026-11-26T11:59:00.123Z','done_bytes':2000000000,'total_ms':500}");
    w->now.clock_s += 30;
    json_t *cluster = snapshot_make(w->objects, &w->now), *nodes = json_object_get(cluster, "nodes");
    json_t *guests = json_object_get(cluster, "guests");
    assert_string_equal(snapshot_text(named(nodes, "n4"), "rack"), "r7");
    assert_null(json_object_get(named(nodes, "n4"), "age")); /* nothing was measured */
    assert_string_equal(snapshot_text(named(nodes, "n5"), "state"), "offline");
    assert_true(json_number_value(json_object_get(named(nodes, "n1"), "age")) == 30);
    assert_null(named(guests, "g6"));
    assert_true(json_is_false(json_object_get(named(guests, "g5"), "movable")));
    assert_true(json_is_false(json_object_get(named(guests, "g7"), "movable")));
    assert_string_equal(snapshot_text(named(guests, "g7 on its way"), "node"), "n2");
    assert_string_equal(snapshot_text(named(guests, "g7"), "fixed"), "it is on its way");
    assert_string_equal(snapshot_text(named(guests, "g5"), "fixed"), "its node is away");
    assert_null(json_object_get(named(guests, "g1"), "fixed"));
    assert_true(json_number_value(json_object_get(json_object_get(named(guests, "g1"), "load"), "cpu")) == 0.9);
    assert_true(json_number_value(json_object_get(named(guests, "g1"), "moved_ago")) == 60);
    assert_null(json_object_get(named(guests, "g1"), "left")); /* a person has moved it */
    assert_null(json_object_get(named(guests, "g7"), "load")); /* no window of its own yet */
    assert_int_equal(json_array_size(json_object_get(cluster, "migrations")), 1);
    json_decref(cluster);
}

/* Disks, networks, steal, what a node's pressure adds, and what a migration taught of the rate of writing. */
static void test_all_loads(void **state)
{
    struct world *w = *state;
    put_node(w, 2, ",'labels':{'disk_rate':'2G','network_rate':'fast'}");
    put(w, "/drover/state/load/N1",
        "{'node':'n1','unit':4096,'pressure':{'cpu':0.5,'memory':0,'io':7},'stalled':{'cpu':0,'memory':0.25,'io':0},"
        "'guests':{'G1':{'cpu':[10,10,10,10],'steal':[50,50,50,50],'memory':100,'disk':[100,100,100,200],"
        "'network':[3,3,3,3],'storage':{'n2':100,'n3':50,'gone':7,'n1':'x'}},'G2':{'cpu':[10,10,10],'network':[9,'x',9]"
        "},'G3':{'cpu':[190,190,190],"
        "'steal':[90,90,90]}}}");
    put(w, "/drover/migration/M8", "{'id':'M8','name':'m8','spec':{'guest_id':'G1','from':'n3','to':'n1'}}");
    put(w, "/drover/state/migration/M8",
        "{'phase':'done','ended':'2026-11-26T11:00:00Z','done_bytes':2000000000,'total_ms':500,'dirty_rate':5000000}");
    json_t *cluster = snapshot_make(w->objects, &w->now), *nodes = json_object_get(cluster, "nodes");
    json_t *guests = json_object_get(cluster, "guests"), *g1 = named(guests, "g1"), *g3 = named(guests, "g3");
    assert_true(number_in(g1, "load", "disk") == 200 * 4096 && number_in(g1, "load", "network") == 3 * 4096);
    assert_true(number_in(g1, "storage", "n2") == 100 * 4096 && json_object_size(json_object_get(g1, "storage")) == 2);
    assert_true(number_in(g1, "error", "disk") > 0 && number_in(g1, "error", "network") == 0);
    assert_true(json_number_value(json_object_get(g1, "steal")) == 0.5);
    assert_true(json_number_value(json_object_get(g1, "dirty_rate")) == 5e6);
    assert_true(number_in(named(guests, "g2"), "load", "network") == 0);             /* no number: there is no window */
    assert_true(fabs(json_number_value(json_object_get(g3, "steal")) - 0.1) < 1e-9); /* it has two vCPUs */
    assert_true(number_in(named(nodes, "n1"), "pressure", "disk") == 1 &&
                number_in(named(nodes, "n1"), "stalled", "memory") == 0.25);
    assert_true(json_number_value(json_object_get(named(nodes, "n2"), "disk_rate")) == 2147483648.0);
    assert_true(json_number_value(json_object_get(named(nodes, "n2"), "network_rate")) == 1.25e9);
    json_decref(cluster);
    struct cluster_json read;
    struct err err;
    struct policy policy = policy_default();
    policy.error_factor = 0;
    assert_int_equal(conductor_model(w->objects, &policy, &w->now, &read, &err), 0);
    const struct model_guest *g = &read.model->guests[0];
    assert_true(fabs(g->load[RESOURCE_CPU] - 0.6 * 1.5) < 1e-9); /* what it used and waited for, under pressure */
    assert_true(g->load[RESOURCE_MEMORY] == 125 && g->load[RESOURCE_DISK] == 2 * 200 * 4096);
    assert_true(g->dirty_bytes_per_s == 5e6);
    assert_int_equal(g->storage_count, 2);
    assert_true(model_near(g, 1) == 2 * 100 * 4096 && model_near(g, 2) == 2 * 50 * 4096 && !model_near(g, 0));
    model_free(read.model);
}

static double writes(struct world *w, const char *guest)
{
    json_t *cluster = snapshot_make(w->objects, &w->now);
    const json_t *rate = json_object_get(named(json_object_get(cluster, "guests"), guest), "dirty_rate");
    double bytes = rate ? json_number_value(rate) : -1;
    json_decref(cluster);
    return bytes;
}

/* What was seen last counts: by the guest's node that has looked, or by a migration; nothing is not the same as
 * unknown.
 */
static void test_what_a_guest_writes(void **state)
{
    struct world *w = *state;
    put_load(w, 1,
             "'G1':{'cpu':[9,9,9],'dirty':3000000,'dirty_ago':50},'G2':{'cpu':[9,9,9],'dirty':0,'dirty_ago':0},"
             "'G3':{'cpu':[9,9,9],'dirty':'fast'},'G4':{'cpu':[9,9,9]}");
    assert_true(writes(w, "g1") == 3e6); /* it never moved */
    assert_true(writes(w, "g3") == -1 && writes(w, "g4") == -1);
    for (int g = 1; g <= 4; g++) {
        char key[64];
        snprintf(key, sizeof key, "/drover/migration/M%d", g);
        put(w, key, "{'id':'M%d','name':'m%d','spec':{'guest_id':'G%d','from':'n3','to':'n1'}}", g, g, g);
        snprintf(key, sizeof key, "/drover/state/migration/M%d", g);
        put(w, key, "{'phase':'done','ended':'2026-11-26T11:59:00Z','dirty_rate':7000000}");
    }
    assert_true(writes(w, "g1") == 3e6 && writes(w, "g2") == 0); /* the migration was a minute ago */
    assert_true(writes(w, "g3") == 7e6 && writes(w, "g4") == 7e6);
    w->now.clock_s += 11; /* 50 s when it was written, and the record is 11 s old */
    assert_true(writes(w, "g1") == 7e6 && writes(w, "g2") == 0);
    put(w, "/drover/state/migration/M1", "{'phase':'done','ended':'2026-11-26T11:59:00Z'}");
    assert_true(writes(w, "g1") == 3e6); /* that one taught nothing */
}

/* It does not go back to any node that plans have sent it away from lately. */
static void test_nodes_it_has_left(void **state)
{
    struct world *w = *state;
    static const char *const ways[][3] = {{"n2", "n3", "11:00:00"}, {"n3", "n1", "11:30:00"}, {"n2", "n3", "09:00:00"}};
    for (unsigned i = 0; i < 3; i++) {
        char key[64];
        snprintf(key, sizeof key, "/drover/migration/M%u", i);
        put(w, key, "{'id':'M%u','name':'m%u','spec':{'guest_id':'G1','from':'%s','to':'%s','plan':'P','move':%u}}", i,
            i, ways[i][0], ways[i][1], i);
        snprintf(key, sizeof key, "/drover/state/migration/M%u", i);
        put(w, key, "{'phase':'done','ended':'2026-11-26T%sZ'}", ways[i][2]);
    }
    json_t *cluster = snapshot_make(w->objects, &w->now);
    json_t *left = json_object_get(named(json_object_get(cluster, "guests"), "g1"), "left");
    assert_int_equal(json_object_size(left), 2);
    assert_true(json_number_value(json_object_get(left, "n2")) == 3600);
    assert_true(json_number_value(json_object_get(left, "n3")) == 1800);
    put(w, "/drover/migration/M7",
        "{'id':'M7','name':'m7','spec':{'guest_id':'G2','from':'n1','to':'n3','plan':'P','began':'2026-11-26T11:30:00Z'"
        "}}");
    put(w, "/drover/migration/M8",
        "{'id':'M8','name':'m8','spec':{'guest_id':'G3','from':'n1','to':'n3','plan':'P','began':'2026-11-26T10:30:00Z'"
        "}}");
    put(w, "/drover/migration/M9",
        "{'id':'M9','name':'m9','spec':{'guest_id':'G4','from':'n1','to':'n3','began':'2026-11-26T11:59:00Z'}}");
    json_decref(cluster);
    cluster = snapshot_make(w->objects, &w->now);
    assert_int_equal(json_integer_value(json_object_get(named(json_object_get(cluster, "nodes"), "n3"), "arrived")), 1);
    assert_null(json_object_get(named(json_object_get(cluster, "nodes"), "n1"), "arrived"));
    json_decref(cluster);
    struct cluster_json read;
    struct err err;
    struct policy policy = policy_default();
    assert_int_equal(conductor_model(w->objects, &policy, &w->now, &read, &err), 0);
    const struct model_guest *g = &read.model->guests[0];
    assert_true(model_left_ago(g, 1) == 3600 && model_left_ago(g, 2) == 1800 && model_left_ago(g, 0) < 0);
    struct model_guest many = {.came_from = -1};
    for (int n = 0; n < 6; n++) /* the newest are kept */
        model_note_left(&many, n, 100 - 10 * n);
    assert_true(model_left_ago(&many, 1) < 0 && model_left_ago(&many, 2) == 80 && model_left_ago(&many, 5) == 50);
    model_free(read.model);
}

/* Who has just come somewhere is known from where it was, until it is measured there, it is too long ago, or it is
 * gone.
 */
static void test_measured_before(void **state)
{
    struct world *w = *state;
    put_guest(w, 1, 2, ""); /* it has moved: its new node has looked once */
    put_load(w, 1, "");
    put_load(w, 2, "'G1':{'cpu':[10]}");
    w->now.clock_s += 20;
    json_t *cluster = snapshot_make(w->objects, &w->now), *guest = named(json_object_get(cluster, "guests"), "g1");
    assert_true(json_number_value(json_object_get(json_object_get(guest, "load"), "cpu")) == 0.9);
    assert_true(json_number_value(json_object_get(guest, "age")) == 20); /* that is what is old */
    json_decref(cluster);
    put_load(w, 2, "'G1':{'cpu':[10,20,30]}");
    cluster = snapshot_make(w->objects, &w->now);
    guest = named(json_object_get(cluster, "guests"), "g1");
    assert_true(json_number_value(json_object_get(json_object_get(guest, "load"), "cpu")) == 0.3);
    json_decref(cluster);
    drop(w, "/drover/guest/G1");
    assert_null(json_object_get(json_object_get(w->objects, "measured"), "G1"));
    assert_non_null(json_object_get(json_object_get(w->objects, "measured"), "G2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_snapshot, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_all_loads, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_what_a_guest_writes, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_nodes_it_has_left, world_setup, world_teardown),
        cmocka_unit_test_setup_teardown(test_measured_before, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
