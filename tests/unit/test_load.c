/* What the agent measures: windows of rates from counters, of memory and of pressure, taps by name, the waiting of
 * vCPUs, and what guests write that a plan moves away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/load_kernel.h"
#include "node/agent/load_memory.h"
#include "node/agent/load_meter.h"
#include "node/agent/load_pressure.h"
#include "node/agent/load_storage.h"
#include "node/agent/load_writes.h"

static void test_meter(void **state)
{
    struct load_meter m = {0};
    (void)state;
    load_meter_add(&m, 1000, 10000000, 4);
    assert_int_equal(m.count, 0); /* one look is no rate */
    load_meter_add(&m, 1400, 20000000, 4);
    assert_int_equal(m.window[0], 10); /* 400 in 10 s, in fours */
    load_meter_add(&m, 1800, 20000000, 4);
    assert_int_equal(m.count, 1); /* no time has passed */
    load_meter_add(&m, 1401, 30000000, 4);
    assert_int_equal(m.window[1], 0);
    load_meter_add(&m, UINT64_C(1) << 60, 40000000, 1);
    assert_int_equal(m.window[2], LOAD_RATE_MAX);
    json_t *window = load_meter_window(&m);
    assert_int_equal(json_array_size(window), 3);
    assert_int_equal(json_integer_value(json_array_get(window, 0)), 10);
    json_decref(window);
    assert_int_equal(load_meter_p95(&m), LOAD_RATE_MAX);
    load_meter_add(&m, 5, 50000000, 1); /* it fell: another process counts */
    assert_int_equal(m.count, 0);
    assert_int_equal(load_meter_p95(&m), 0);
    assert_null(load_meter_window(&m));
}

static void test_meter_is_bounded(void **state)
{
    struct load_meter m = {0};
    (void)state;
    for (uint64_t i = 0; i < LOAD_SAMPLES + 10; i++)
        load_meter_add(&m, i * i * 10, (i + 1) * 10000000, 1);
    assert_int_equal(m.count, LOAD_SAMPLES);
    assert_int_equal(m.window[LOAD_SAMPLES - 1], 2 * (LOAD_SAMPLES + 9) - 1); /* the newest is the last one */
    assert_int_equal(load_meter_p95(&m), m.window[28]);                       /* 29 of 30 are not above it */
    struct load_meter idle = {0};
    for (uint64_t i = 0; i < 5; i++)
        load_meter_add(&idle, 7, (i + 1) * 10000000, 1);
    assert_int_equal(idle.count, 4);
    assert_null(load_meter_window(&idle)); /* nothing but zeros is not said */
}

/* ---- memory ---- */

#define GIB (UINT64_C(1) << 30)

static void inflate(struct load_memory *m, const char *text)
{
    json_t *stats = json_loads(text, 0, NULL);
    assert_non_null(stats);
    load_memory_look(m, stats);
    json_decref(stats);
}

/* One moment neither makes a guest large nor small. */
static void test_memory(void **state)
{
    struct load_memory m = {.has_moved = false};
    (void)state;
    assert_int_equal(load_memory_p95(&m), 0);
    load_memory_add(&m, 3 * GIB);
    assert_int_equal(load_memory_p95(&m), 3 * GIB);
    for (unsigned i = 0; i < LOAD_SAMPLES - 2; i++)
        load_memory_add(&m, 4 * GIB);
    load_memory_add(&m, 1 * GIB);
    assert_int_equal(load_memory_p95(&m), 4 * GIB);
    load_memory_add(&m, 9 * GIB);
    assert_int_equal(load_memory_p95(&m), 4 * GIB);
    load_memory_add(&m, 9 * GIB);
    assert_int_equal(load_memory_p95(&m), 9 * GIB); /* two of thirty are above */
    load_memory_add(&m, UINT64_MAX);
    load_memory_add(&m, UINT64_MAX);
    assert_int_equal(load_memory_p95(&m), (UINT64_C(4096) << 31) - 4096);
}

/* Who was ballooned to less has less, and not five minutes later. */
static void test_memory_is_lent(void **state)
{
    struct load_memory m = {.has_moved = false};
    (void)state;
    for (unsigned i = 0; i < LOAD_SAMPLES; i++)
        load_memory_add(&m, 4 * GIB);
    inflate(&m, "{\"disks\": []}");
    inflate(&m, "{\"balloon\": {\"target\": 1048576, \"inflated\": 0}}"); /* the first look tells nothing of a change */
    load_memory_add(&m, 2 * GIB);
    assert_int_equal(load_memory_p95(&m), 4 * GIB); /* it has freed something by itself */
    inflate(&m, "{\"balloon\": {\"target\": 3221225472, \"inflated\": 0}}");
    assert_int_equal(load_memory_p95(&m), 4 * GIB); /* until the next sample nothing else is known */
    load_memory_add(&m, 3 * GIB);
    assert_int_equal(load_memory_p95(&m), 3 * GIB);
    inflate(&m, "{\"balloon\": {\"target\": 3221225472, \"inflated\": 3221225472}}");
    load_memory_add(&m, 1 * GIB);
    assert_int_equal(load_memory_p95(&m), 1 * GIB); /* it was on its way until now */
    inflate(&m, "{\"balloon\": {\"target\": 3221225472, \"inflated\": 3221225472}}");
    load_memory_add(&m, GIB / 2);
    assert_int_equal(load_memory_p95(&m), 1 * GIB); /* it is there: a window again */
    inflate(&m, "{\"balloon\": \"much\"}");
    inflate(&m, "[]");
}

/* ---- pressure ---- */

static void waited(struct load_pressure *p, uint64_t at_s, uint64_t cpu_us, uint64_t io_us)
{
    const struct cgroup_pressure now[LOAD_PRESSURE_COUNT] = {
        {.some_us = cpu_us}, {.some = -1, .full = -1}, {.some_us = io_us, .full_us = io_us / 2}};
    load_pressure_add(p, now, at_s * 1000000);
}

static double part_of(const struct load_pressure *p, const char *what, const char *resource)
{
    json_t *record = json_object();
    load_pressure_put(p, record);
    assert_int_equal(json_object_size(json_object_get(record, what)), LOAD_PRESSURE_COUNT);
    double part = json_real_value(json_object_get(json_object_get(record, what), resource));
    json_decref(record);
    return part;
}

/* Of each ten seconds the part in which somebody waited, and of these the p95. */
static void test_pressure(void **state)
{
    struct load_pressure p = {.anew = false};
    uint64_t at_s = 100, cpu_us = 5000000;
    (void)state;
    waited(&p, at_s, cpu_us, 0);
    assert_true(part_of(&p, "pressure", "cpu") == 0); /* what was before nobody has seen */
    for (unsigned i = 0; i < LOAD_SAMPLES - 1; i++)
        waited(&p, at_s += 10, cpu_us += 1000000, 0);
    waited(&p, at_s += 10, cpu_us += 9000000, 4000000);
    assert_true(part_of(&p, "pressure", "cpu") == 0.1 && part_of(&p, "pressure", "io") == 0); /* one of thirty */
    waited(&p, at_s += 10, cpu_us += 9000000, 8000000);
    assert_true(part_of(&p, "pressure", "cpu") == 0.9);
    assert_true(part_of(&p, "pressure", "io") == 0.4 && part_of(&p, "stalled", "io") == 0.2);
    assert_true(part_of(&p, "stalled", "cpu") == 0 && part_of(&p, "pressure", "memory") == 0);
    waited(&p, at_s += 1, cpu_us += 5000000, 8000000);
    waited(&p, at_s += 1, cpu_us += 5000000, 8000000);
    assert_true(part_of(&p, "pressure", "cpu") == 1); /* there is no more of the time than all */
}

/* What was waited for because of a guest that has gone does not count against those that stay. */
static void test_pressure_goes_with_a_guest(void **state)
{
    struct load_pressure p = {.anew = false};
    (void)state;
    waited(&p, 100, 0, 0);
    waited(&p, 110, 9000000, 0);
    waited(&p, 120, 18000000, 0); /* it went in these ten seconds, which are partly its own */
    load_pressure_anew(&p);
    assert_true(part_of(&p, "pressure", "cpu") == 0.9);
    waited(&p, 130, 19000000, 0);
    assert_true(part_of(&p, "pressure", "cpu") == 0.1);
    waited(&p, 140, 19000000, 0);
    assert_true(part_of(&p, "pressure", "cpu") == 0.1);
}

/* ---- what the kernel says ---- */

static void test_taps(void **state)
{
    struct load_taps taps = {0};
    (void)state;
    load_taps_parse(&taps, "Inter-|   Receive                            |  Transmit\n"
                           " face |bytes    packets errs drop\n"
                           "    lo:     100       1    0    0    0     0          0         0      100       1    0\n"
                           "dt1234abcd-0: 5000      2    0    0    0     0          0         0     7000       3    0\n"
                           "a-name-that-is-too-long: 1 1 1 1 1 1 1 1 1 1\n"
                           "short: 1 2 3\n");
    assert_int_equal(taps.count, 2);
    assert_int_equal(load_taps_bytes(&taps, "dt1234abcd-0"), 12000);
    assert_int_equal(load_taps_bytes(&taps, "lo"), 200);
    assert_int_equal(load_taps_bytes(&taps, "nobody"), 0);
    load_taps_read(&taps); /* of this machine: there is a loopback at least */
    assert_true(taps.count >= 1);
    load_taps_fini(&taps);
    assert_int_equal(load_taps_bytes(&taps, "lo"), 0);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void put_task(const char *proc, const char *task, const char *name, const char *stat)
{
    char path[128];
    snprintf(path, sizeof path, "%s/77/task/%s", proc, task);
    assert_int_equal(mkdir(path, 0700), 0);
    write_file(path, "comm", name);
    write_file(path, "schedstat", stat);
}

static void test_run_delay(void **state)
{
    char proc[] = "/tmp/drover-test-load-XXXXXX", path[128];
    (void)state;
    assert_non_null(mkdtemp(proc));
    snprintf(path, sizeof path, "%s/77", proc);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/77/task", proc);
    assert_int_equal(mkdir(path, 0700), 0);
    put_task(proc, "77", "drover-guest\n", "5 999999 7\n"); /* its loop is no vCPU */
    put_task(proc, "78", "vcpu0\n", "100 2000 7\n");
    put_task(proc, "79", "vcpu1\n", "100 300 7\n");
    put_task(proc, "80", "vcpu2\n", "nonsense\n");
    assert_int_equal(load_run_delay_ns(proc, 77), 2300);
    assert_int_equal(load_run_delay_ns(proc, 78), 0);
    assert_int_equal(load_run_delay_ns(proc, 0), 0);
    snprintf(path, sizeof path, "rm -r %s", proc);
    assert_int_equal(system(path), 0);
}

/* ---- what a guest writes ---- */

static void put(struct mirror *m, const char *key, const char *text)
{
    static uint64_t revision;
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_int_equal(mirror_put(m, key, copy, strlen(copy), ++revision), 0);
}

struct heard {
    char text[64];
    const char *take;
};

static bool hear(void *context, const char *id)
{
    struct heard *h = context;
    snprintf(h->text + strlen(h->text), sizeof h->text - strlen(h->text), "%s ", id);
    return h->take && !strcmp(id, h->take);
}

/* Of plans that may still be carried out, those whose guest leaves this node; and no further than one is taken. */
static void test_who_is_looked_at(void **state)
{
    struct mirror *m = mirror_new();
    struct heard all = {.take = NULL}, first = {.take = "B"}, nobody = {.take = NULL};
    (void)state;
    put(m, "/drover/plan/P1",
        "{'kind':'plan','id':'P1','name':'1','spec':{'phase':'done','waves':[[{'guest_id':'X','from':'n1'}]]}}");
    put(m, "/drover/plan/P2",
        "{'kind':'plan','id':'P2','name':'2','spec':{'phase':'active','waves':[[{'guest_id':'A','from':'n1'},"
        "{'guest_id':'Y','from':'n2'}],[{'guest_id':'B','from':'n1'}]]}}");
    put(m, "/drover/plan/P3",
        "{'kind':'plan','id':'P3','name':'3','spec':{'phase':'proposed','waves':[[{'guest_id':'C','from':'n1'}]]}}");
    put(m, "/drover/plan/P4", "{'kind':'plan','id':'P4','name':'4','spec':{'phase':'proposed','waves':'none'}}");
    assert_false(load_writes_leaving(m, "n1", hear, &all));
    assert_string_equal(all.text, "A B C ");
    assert_true(load_writes_leaving(m, "n1", hear, &first));
    assert_string_equal(first.text, "A B ");
    assert_false(load_writes_leaving(m, "n3", hear, &nobody));
    assert_string_equal(nobody.text, "");
    mirror_free(m);
}

static bool learns(struct load_writes *w, const char *answer, uint64_t now_ns)
{
    json_t *a = json_loads(answer, JSON_DECODE_ANY, NULL);
    bool learnt = load_writes_learn(w, a, now_ns);
    json_decref(a);
    return learnt;
}

/* Once in ten minutes, a minute after a look that failed; its figure stays, with its age, whatever is answered next. */
static void test_writes(void **state)
{
    const uint64_t ms = 1000000, began = 5000 * ms;
    struct load_writes w = {0};
    json_t *said = json_object();
    (void)state;
    assert_true(load_writes_due(&w, began));
    load_writes_put(&w, said, began);
    assert_int_equal(json_object_size(said), 0); /* not known is another thing than none */
    w.asked_ns = began;
    assert_false(learns(&w, "{}", began));
    assert_false(learns(&w, "{\"dirty-rate\": \"fast\"}", began));
    assert_false(learns(&w, "{\"dirty-rate\": -1}", began));
    assert_false(learns(&w, "{\"dirty-rate\": 1e30}", began));
    assert_false(load_writes_due(&w, began + (LOAD_WRITES_AGAIN_MS - 1) * ms));
    assert_true(load_writes_due(&w, began + LOAD_WRITES_AGAIN_MS * ms));
    assert_true(learns(&w, "{\"dirty-rate\": 0}", began));
    load_writes_put(&w, said, began);
    assert_true(json_is_integer(json_object_get(said, "dirty")));
    assert_true(learns(&w, "{\"dirty-rate\": 25000000}", began));
    assert_false(load_writes_due(&w, began + (LOAD_WRITES_FRESH_MS - 1) * ms));
    assert_true(load_writes_due(&w, began + LOAD_WRITES_FRESH_MS * ms));
    assert_false(learns(&w, "[]", began));
    load_writes_put(&w, said, began + 61500 * ms);
    assert_int_equal(json_integer_value(json_object_get(said, "dirty")), 25000000);
    assert_int_equal(json_integer_value(json_object_get(said, "dirty_ago")), 61);
    json_decref(said);
}

/* ---- what disks do, and where ---- */

static void look(struct load_storage *s, uint64_t at_s, unsigned busy)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"disks\": [{\"disk\": 0, \"read\": {\"ops\": 1, \"bytes\": 1}, \"volume\": {\"members\": "
             "[{\"ops\": 1, \"bytes\": %u}, {\"ops\": %u, \"bytes\": 8}, {}]}},"
             "{\"disk\": 2, \"read\": {\"ops\": 0, \"bytes\": %u}, \"write\": {\"ops\": 1, \"bytes\": %u}}]}",
             busy * 409600, busy * 10, busy * 81920, busy * 81920);
    json_t *stats = json_loads(text, 0, NULL);
    assert_non_null(stats);
    load_storage_look(s, stats, at_s * 1000000);
    json_decref(stats);
}

static json_int_t rate_of(const struct load_storage *s, const struct mirror *m, const char *node)
{
    json_t *nodes = load_storage_nodes(s, m, mirror_find(m, OBJECT_GUEST, "G"));
    json_int_t rate = json_integer_value(json_object_get(nodes, node));
    json_decref(nodes);
    return rate;
}

/* Each member's work counts on the node that has it now: bytes, or operations of 16 KiB if that is more; of a volume
 * without a layout the guest's own. */
static void test_storage(void **state)
{
    struct mirror *m = mirror_new();
    struct load_storage s = {0};
    (void)state;
    for (char n = '1'; n <= '4'; n++) {
        char key[] = "/drover/pool/p ", text[] = "{'name':'p ','spec':{'node':'n '}}";
        key[strlen(key) - 1] = text[10] = text[strlen(text) - 4] = n;
        put(m, key, text);
    }
    put(m, "/drover/volume/V", "{'name':'v','spec':{'layout':'raid1:2','pools':['p1','p2']}}");
    put(m, "/drover/volume/W", "{'name':'w','spec':{'pool':'p2'}}");
    put(m, "/drover/member/A", "{'name':'V.A','spec':{'volume':'V','index':0,'pool':'p1'}}");
    put(m, "/drover/member/B", "{'name':'V.B','spec':{'volume':'V','index':1,'pool':'p2'}}");
    put(m, "/drover/guest/G", "{'name':'g','spec':{'disks':[{'volume':'v'},{'volume':'gone'},{'volume':'w'}]}}");
    for (unsigned i = 0; i <= 3; i++)
        look(&s, 100 + 10 * i, i);
    assert_int_equal(rate_of(&s, m, "n1"), 10);    /* 409600 bytes in ten seconds */
    assert_int_equal(rate_of(&s, m, "n2"), 4 + 4); /* ten operations; and both ways without a layout */
    put(m, "/drover/member/B", "{'name':'V.B','spec':{'volume':'V','index':1,'pool':'p3'}}");
    assert_int_equal(rate_of(&s, m, "n2"), 4);
    assert_int_equal(rate_of(&s, m, "n3"), 4);
    mirror_delete(m, "/drover/volume/V", 1000000);
    assert_int_equal(rate_of(&s, m, "n1"), 0);
    assert_null(load_storage_nodes(&s, m, NULL));
    load_storage_forget(&s);
    assert_null(load_storage_nodes(&s, m, mirror_find(m, OBJECT_GUEST, "G")));
    mirror_free(m);
}

/* A guest's process can say what it likes. */
static void test_storage_is_bounded(void **state)
{
    struct load_storage s = {0};
    json_t *disks = json_array(), *stats = json_pack("{s:o}", "disks", disks);
    (void)state;
    for (int i = 0; i < 200; i++)
        json_array_append_new(
            disks, json_pack("{s:i, s:{s:I, s:s}}", "disk", i, "read", "ops", (json_int_t)-1, "bytes", "much"));
    load_storage_look(&s, stats, 1000000);
    assert_true(s.count <= LOAD_SHARES_MAX);
    load_storage_look(&s, disks, 2000000);
    json_decref(stats);
    load_storage_forget(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_meter),
        cmocka_unit_test(test_meter_is_bounded),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_is_lent),
        cmocka_unit_test(test_pressure),
        cmocka_unit_test(test_pressure_goes_with_a_guest),
        cmocka_unit_test(test_taps),
        cmocka_unit_test(test_run_delay),
        cmocka_unit_test(test_who_is_looked_at),
        cmocka_unit_test(test_writes),
        cmocka_unit_test(test_storage),
        cmocka_unit_test(test_storage_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
