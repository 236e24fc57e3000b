/* What guests were measured to use before, as droverd remembers it, and what a balancer makes of its questions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/snapshot.h"
#include "node/agent/balance_question.h"
#include "node/agent/measured.h"
#include "node/agent/mirror.h"

struct world {
    struct mirror *mirror;
    struct measured *measured;
    uint64_t revision;
};

static uint64_t now_ms;

static uint64_t clock_of_world(void)
{
    return now_ms;
}

static int put_at(struct world *w, const char *key, const char *text, uint64_t revision)
{
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    return mirror_put(w->mirror, key, copy, strlen(copy), revision);
}

static void put(struct world *w, const char *key, const char *text)
{
    assert_int_equal(put_at(w, key, text, ++w->revision), 0);
}

static void put_guest(struct world *w, const char *id, const char *node, bool runs)
{
    char key[64], text[256];
    snprintf(key, sizeof key, "/drover/guest/%s", id);
    snprintf(text, sizeof text, "{'name':'g%s','spec':{'node':'%s','running':%s,'memory':1073741824,'vcpus':2}}", id,
             node, runs ? "true" : "false");
    put(w, key, text);
}

/* Two nodes, and one guest that the first one has measured. */
static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    now_ms = 100000;
    w->mirror = mirror_new();
    w->measured = measured_new(w->mirror, clock_of_world);
    for (char n = '1'; n <= '2'; n++) {
        char key[] = "/drover/node/N ", value[] = "{'id':'N ','name':'n ','spec':{}}", at[] = "/drover/state/node/N ";
        key[sizeof key - 2] = at[sizeof at - 2] = value[8] = value[20] = n;
        put(w, key, value);
        put(w, at, "{'alive':true,'cpus':4,'memory_bytes':17179869184}");
    }
    put_guest(w, "A", "n1", true);
    put(w, "/drover/state/guest/A", "{'phase':'running','node':'n1'}");
    put(w, "/drover/state/load/N1",
        "{'unit':4096,'guests':{'A':{'cpu':[90,90,90],'network':[2,2,2],'memory':8192,'storage':{'n2':3}}}}");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    measured_free(w->measured);
    mirror_free(w->mirror);
    free(w);
    return 0;
}

/* How many samples there are of it; 0: nothing is said of it. */
static size_t before(const struct world *w, const char *guest, double *seen)
{
    json_t *all = measured_before(w->measured), *one = json_object_get(all, guest);
    const json_t *use = json_object_get(json_object_get(json_object_get(one, "state"), "guests"), guest);
    size_t samples = json_array_size(json_object_get(use, "cpu"));
    *seen = json_number_value(json_object_get(one, "seen"));
    json_decref(all);
    return samples;
}

static json_t *asked(const struct world *w)
{
    json_t *question = balance_question(w->mirror, w->measured, "export");
    char *text = json_dumps(question, 0); /* it goes to another process */
    json_decref(question);
    question = json_loads(text, 0, NULL);
    free(text);
    const struct snapshot_time now = {json_number_value(json_object_get(question, "clock")), 1795694400};
    json_t *cluster = snapshot_make(json_object_get(question, "objects"), &now);
    json_decref(question);
    return cluster;
}

static json_t *find(const json_t *cluster, const char *list, const char *key, const char *name)
{
    json_t *one;
    size_t i;
    json_array_foreach (json_object_get(cluster, list), i, one)
        if (!strcmp(snapshot_text(one, key), name))
            return one;
    return NULL;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* It moves: from its former node's word, with that word's age, until the new one has measured it. */
static void test_it_moves(void **state)
{
    struct world *w = *state;
    double seen;
    assert_int_equal(before(w, "A", &seen), 0); /* its node measures it */
    now_ms = 106000;
    put_guest(w, "A", "n2", true);
    put(w, "/drover/state/load/N2", "{'unit':4096,'guests':{'A':{'cpu':[10]}}}");
    assert_int_equal(before(w, "A", &seen), 3);
    assert_true(seen == 100);
    put(w, "/drover/state/load/N1", "{'unit':4096,'guests':{}}");
    now_ms = 112500;
    json_t *cluster = asked(w), *guest = find(cluster, "guests", "name", "gA"), *load = json_object_get(guest, "load");
    assert_true(number(load, "cpu") == 0.9 && number(load, "network") == 8192 && number(load, "memory") == 8192);
    assert_true(number(json_object_get(guest, "storage"), "n2") == 3 * 4096);
    assert_true(number(guest, "age") == 12.5);
    assert_true(number(find(cluster, "nodes", "name", "n1"), "age") == 6.5);
    json_decref(cluster);
    put(w, "/drover/state/load/N2", "{'unit':4096,'guests':{'A':{'cpu':[10,20,30]}}}");
    assert_int_equal(before(w, "A", &seen), 0);
    cluster = asked(w);
    guest = find(cluster, "guests", "name", "gA");
    assert_true(number(json_object_get(guest, "load"), "cpu") == 0.3 && number(guest, "age") == 0);
    json_decref(cluster);
}

/* An agent has begun: it has not looked for long enough at anybody. */
static void test_an_agent_begins(void **state)
{
    struct world *w = *state;
    double seen;
    mirror_delete(w->mirror, "/drover/state/load/N1", ++w->revision);
    now_ms = 150000;
    assert_int_equal(before(w, "A", &seen), 3);
    put(w, "/drover/state/load/N1", "{'guests':{'A':{'cpu':[]}}}");
    assert_int_equal(before(w, "A", &seen), 3);
    assert_true(seen == 100);
    put_guest(w, "A", "n1", false);
    assert_int_equal(before(w, "A", &seen), 0); /* it is not to run: it uses nothing */
}

/* What is read anew is as old as it was. */
static void test_age(void **state)
{
    struct world *w = *state;
    double seen;
    const char again[] = "{'guests':{'A':{'cpu':[90,90,90]}}}";
    now_ms = 200000;
    mirror_begin(w->mirror);
    assert_int_equal(put_at(w, "/drover/node/N1", "{'id':'N1','name':'n1','spec':{}}", 1), 0);
    assert_int_equal(put_at(w, "/drover/guest/A", "{'name':'gA','spec':{'node':'n2','running':true}}", 5), 0);
    assert_int_equal(put_at(w, "/drover/state/load/N1", again, w->revision), 0);
    mirror_sweep(w->mirror);
    assert_true(measured_seen(w->measured, "N1") == 100);
    assert_int_equal(before(w, "A", &seen), 3);
    assert_true(seen == 100);
    put(w, "/drover/state/load/N1", again);
    assert_true(measured_seen(w->measured, "N1") == 200);
    before(w, "A", &seen);
    assert_true(seen == 200);
    assert_true(measured_seen(w->measured, "N9") == 200 && measured_now(w->measured) == 200);
}

/* Who is gone is forgotten, who is not there is not kept, and of a record that is over nothing but guests' own parts.
 */
static void test_it_forgets(void **state)
{
    struct world *w = *state;
    double seen;
    json_t *record = json_incref(mirror_find(w->mirror, OBJECT_LOAD, "N1")->state);
    put(w, "/drover/state/load/N1", "{'guests':{'B':{'cpu':[9,9,9]}}}");
    assert_int_equal(record->refcount, 1); /* ours */
    json_decref(record);
    assert_int_equal(before(w, "A", &seen), 3);
    put_guest(w, "B", "n2", true);
    assert_int_equal(before(w, "B", &seen), 0);
    mirror_delete(w->mirror, "/drover/guest/A", ++w->revision);
    put_guest(w, "A", "n1", true); /* another one of that name, if there could be */
    assert_int_equal(before(w, "A", &seen), 0);
}

/* Keys of the store are any bytes. */
static void test_foreign_ids(void **state)
{
    struct world *w = *state;
    double seen;
    now_ms = 300000;
    put(w, "/drover/state/load/\xff\xfe", "{'guests':{'A':{'cpu':[9,9,9]}}}");
    put(w, "/drover/state/load/N7", "{'guests':[{'cpu':[9,9,9]}]}");
    put(w, "/drover/state/load/N1", "{'guests':{}}");
    assert_int_equal(before(w, "A", &seen), 3);
    assert_true(seen == 100);
    assert_int_equal(put_at(w, "/drover/guest/\xff", "[]", ++w->revision), -EBADMSG);
    json_decref(asked(w));
}

/* Whom the store has and nobody can read is said to be left out, and what was there before does not hold. */
static void test_unreadable(void **state)
{
    struct world *w = *state;
    assert_int_equal(put_at(w, "/drover/guest/A", "[1]", ++w->revision), -EBADMSG);
    assert_int_equal(put_at(w, "/drover/guest/C", "no", ++w->revision), -EBADMSG);
    assert_int_equal(put_at(w, "/drover/node/N3", "{'spec':{}}", ++w->revision), -EBADMSG);
    json_t *cluster = asked(w), *left_out = find(cluster, "left_out", "who", "guest A");
    assert_string_equal(snapshot_text(left_out, "why"), "what the store has of it cannot be read");
    assert_string_equal(snapshot_text(left_out, "node"), "n1"); /* its agent says that it is there */
    assert_non_null(find(cluster, "left_out", "who", "guest C"));
    assert_non_null(find(cluster, "left_out", "who", "node N3"));
    assert_null(find(cluster, "guests", "name", "gA"));
    json_decref(cluster);
    put_guest(w, "A", "n1", true);
    cluster = asked(w);
    assert_null(find(cluster, "left_out", "who", "guest A"));
    assert_non_null(find(cluster, "guests", "name", "gA"));
    json_decref(cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_it_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_an_agent_begins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_age, setup, teardown),
        cmocka_unit_test_setup_teardown(test_it_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
