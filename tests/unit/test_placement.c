/* Where a guest may run by its rules: pins, groups by node and rack, hard and soft, processors; which node has room and
 * is the least full; and that fail-over keeps apart whom it takes over at the same time. Four nodes, two racks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/complete.h"
#include "node/agent/failover_view.h"
#include "node/agent/placement.h"
#include "node/agent/placement_room.h"
#include "node/agent/processor.h"

__attribute__((format(printf, 3, 4))) static void put(struct mirror *m, const char *key, const char *format, ...)
{
    static uint64_t revision;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    assert_int_equal(mirror_put(m, key, text, strlen(text), ++revision), 0);
}

static void put_node(struct mirror *m, int i, const char *spec, const char *state)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/node/n%d-id", i);
    put(m, key, "{'kind':'node','id':'n%d-id','name':'n%d','spec':{'labels':{'rack':'r%d'}%s}}", i, i, (i + 1) / 2,
        spec);
    snprintf(key, sizeof key, "/drover/state/node/n%d-id", i);
    put(m, key, "{'alive':true,'memory_bytes':8589934592%s}", state);
}

static void put_guest(struct mirror *m, const char *name, const char *node, const char *rules)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/guest/%s-id", name);
    put(m, key, "{'kind':'guest','id':'%s-id','name':'%s','spec':{'node':'%s','running':true,'memory':1073741824%s}}",
        name, name, node, rules);
    snprintf(key, sizeof key, "/drover/state/guest/%s-id", name);
    put(m, key, "{'phase':'running','node':'%s'}", node);
}

/* One that has so much, and is stopped if it is not to run. */
static void put_sized(struct mirror *m, const char *name, const char *node, double gib, int vcpus, bool runs)
{
    char key[64];
    snprintf(key, sizeof key, "/drover/guest/%s-id", name);
    put(m, key, "{'kind':'guest','id':'%s-id','name':'%s','spec':{'node':'%s','running':%s,'memory':%.0f,'vcpus':%d}}",
        name, name, node, runs ? "true" : "false", gib * 1073741824, vcpus);
    snprintf(key, sizeof key, "/drover/state/guest/%s-id", name);
    put(m, key, "{'phase':'%s','node':'%s'}", runs ? "running" : "stopped", node);
}

static void put_policy(struct mirror *m, const char *text)
{
    json_t *policy = json_pack("{s:s, s:s, s:s, s:{s:s}}", "kind", "policy", "id", "balance", "name", "balance", "spec",
                               "text", text);
    char *bytes = json_dumps(policy, 0);
    assert_int_equal(mirror_put(m, "/drover/policy/balance", bytes, strlen(bytes), 1000000), 0);
    free(bytes);
    json_decref(policy);
}

static struct mirror *cluster(void)
{
    struct mirror *m = mirror_new();
    for (int i = 1; i <= 4; i++)
        put_node(m, i, "", "");
    return m;
}

/* Nodes that a new guest with these rules may run on, such as "n1 n3"; *best: the chosen one. */
static const char *allowed(const struct mirror *m, const char *rules, const char **best)
{
    static char text[64];
    char spec_text[512], why[PLACEMENT_WHY_MAX] = "";
    snprintf(spec_text, sizeof spec_text, "{'memory':1%s}", rules);
    for (char *c = spec_text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *spec = json_loads(spec_text, 0, NULL);
    assert_non_null(spec);
    const struct placement_guest g = {.id = "", .spec = spec, .shown_on = ""};
    text[0] = 0;
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name)) {
        if (placement_allows(m, &g, n, why))
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", *text ? " " : "", n->name);
        else
            assert_true(*why);
    }
    const struct object *chosen = placement_choose(m, &g, &(struct placement_choice){0}, why);
    if (best)
        *best = chosen ? chosen->name : why;
    json_decref(spec);
    return text;
}

static void test_texts(void **state)
{
    struct placement_group g;
    (void)state;
    assert_true(placement_parse("db", &g) && g.hard && g.scope == PLACEMENT_NODE && !strcmp(g.name, "db"));
    assert_true(placement_parse("db:rack:soft", &g) && !g.hard && g.scope == PLACEMENT_RACK);
    assert_true(placement_parse("a-b.c_1:soft:site", &g) && !g.hard && g.scope == PLACEMENT_SITE);
    static const char *const wrong[] = {"", ":soft", "db:", "db:hall", "d b", "db::soft", "db:softly"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(placement_parse(wrong[i], &g));
    char long_name[100];
    memset(long_name, 'x', sizeof long_name);
    long_name[sizeof long_name - 1] = 0;
    assert_false(placement_parse(long_name, &g));
}

static void test_pins(void **state)
{
    struct mirror *m = cluster();
    const char *best;
    (void)state;
    assert_string_equal(allowed(m, "", NULL), "n1 n2 n3 n4");
    assert_string_equal(allowed(m, ",'pin':['n2','n3'],'avoid':['n3']", &best), "n2");
    assert_string_equal(best, "n2");
    assert_string_equal(allowed(m, ",'avoid':['n1','n4']", NULL), "n2 n3");
    assert_string_equal(allowed(m, ",'pin':['gone']", &best), "");
    assert_non_null(strstr(best, "it is pinned to other nodes"));
    mirror_free(m);
}

/* Nodes differ: what counts is the part of each that would be promised, not the bytes. */
static void test_the_roomiest(void **state)
{
    struct mirror *m = cluster();
    const char *best;
    (void)state;
    put(m, "/drover/state/node/n1-id", "{'alive':true,'memory_bytes':2147483648}");
    put(m, "/drover/state/node/n3-id", "{'alive':true}");
    put_guest(m, "a", "n1", "");
    put_guest(m, "b", "n2", "");
    put_guest(m, "c", "n2", "");
    allowed(m, ",'pin':['n1','n2']", &best);
    assert_string_equal(best, "n2"); /* two of eight are less than one of two */
    allowed(m, ",'pin':['n1','n3']", &best);
    assert_string_equal(best, "n1"); /* rather than one that does not say how much it has */
    allowed(m, "", &best);
    assert_string_equal(best, "n4");
    put_policy(m, "{\"weights\": {\"cpu\": 0, \"memory\": 0, \"network\": 0, \"reserved\": 0}}");
    allowed(m, "", &best); /* nothing is weighed: there is room nevertheless */
    assert_string_equal(best, "n4");
    mirror_free(m);
}

/* ... and the part of their processors that guests want: as measured, or as guests do on average. */
static void test_the_idlest(void **state)
{
    struct mirror *m = cluster();
    const char *best;
    (void)state;
    for (int i = 1; i <= 4; i++)
        put_node(m, i, "", ",'cpus':4");
    put_guest(m, "a", "n1", ",'vcpus':4");
    put_guest(m, "b", "n2", ",'vcpus':4");
    put_guest(m, "c", "n2", ",'vcpus':4");
    allowed(m, ",'vcpus':1,'pin':['n1','n2']", &best);
    assert_string_equal(best, "n1"); /* nobody is measured: memory alone */
    put(m, "/drover/state/load/n1-id", "{'guests':{'a-id':{'cpu':[10,300,300],'steal':[60,60,60]}}}");
    put(m, "/drover/state/load/n2-id", "{'guests':{'b-id':{'cpu':[1,2,1]},'c-id':{'cpu':[2,2,2],'steal':'much'}}}");
    allowed(m, ",'vcpus':1,'pin':['n1','n2']", &best);
    assert_string_equal(best, "n2");
    /* two samples are none: it may want as much as the others do */
    put(m, "/drover/state/load/n2-id", "{'guests':{'b-id':{'cpu':[1,2,1]},'c-id':{'cpu':[399,399]}}}");
    allowed(m, ",'vcpus':1,'pin':['n1','n2']", &best);
    assert_string_equal(best, "n2");
    put(m, "/drover/state/load/n2-id", "{'guests':{'b-id':{'cpu':[1,2,1]},'c-id':{'cpu':[399,399,399]}}}");
    allowed(m, ",'vcpus':1,'pin':['n1','n2']", &best);
    assert_string_equal(best, "n1");
    put(m, "/drover/state/load/n2-id", "{'guests':{'b-id':{'cpu':[1,2,1]},'c-id':{'cpu':[2,2,2],'steal':'much'}}}");
    put_guest(m, "d", "n3", ",'vcpus':4"); /* started a moment ago: it may well want what the others do */
    put_guest(m, "e", "n4", "");
    allowed(m, ",'vcpus':1,'pin':['n3','n4']", &best);
    assert_string_equal(best, "n4");
    /* one that is on its way counts where it goes, and not for itself */
    put(m, "/drover/migration/mi", "{'kind':'migration','id':'mi','name':'mi','spec':{'from':'n1','to':'n4'}}");
    put(m, "/drover/guest/a-id",
        "{'kind':'guest','id':'a-id','name':'a','migration':'mi','spec':{'node':'n1','running':true,'vcpus':4,"
        "'memory':1073741824}}");
    allowed(m, ",'vcpus':1,'pin':['n3','n4']", &best);
    assert_string_equal(best, "n3");
    struct placement_guest self = placement_guest_of(mirror_find(m, OBJECT_GUEST, "a-id"), false);
    char why[PLACEMENT_WHY_MAX];
    assert_string_equal(placement_choose(m, &self, &(struct placement_choice){.except = "n1"}, why)->name, "n4");
    mirror_free(m);
}

/* Where a new guest goes, or why nowhere. */
static const char *chosen(const struct mirror *m, double gib, int vcpus, const char *rules)
{
    static char why[PLACEMENT_WHY_MAX];
    char text[256];
    snprintf(text, sizeof text, "{'running':%s,'memory':%.0f,'vcpus':%d%s}",
             strstr(rules, "stopped") ? "false" : "true", gib * 1073741824, vcpus, rules);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *spec = json_loads(text, 0, NULL);
    const struct placement_guest g = {.id = "", .spec = spec, .shown_on = ""};
    *why = 0;
    const struct object *node = placement_choose(m, &g, &(struct placement_choice){0}, why);
    json_decref(spec);
    return node ? node->name : why;
}

/* Eight GiB each, half a one its own. */
static void test_room(void **state)
{
    struct mirror *m = cluster();
    (void)state;
    put_sized(m, "a", "n1", 4, 1, true);
    put_sized(m, "b", "n2", 4, 1, true);
    put_sized(m, "c", "n3", 4, 1, true);
    put_sized(m, "d", "n4", 5, 1, true);
    assert_string_equal(chosen(m, 3.5, 1, ""), "n1"); /* all that is left */
    assert_string_equal(chosen(m, 4, 1, ",'pin':['n1','n2','n3']"),
                        "no node may have it; n3: not enough memory: 3.5 GiB are left, and the guest has 4 GiB");
    assert_string_equal(chosen(m, 4, 1, ",'pin':['n1']"), /* rather than that the others are not in the pin */
                        "no node may have it; n1: not enough memory: 3.5 GiB are left, and the guest has 4 GiB");
    /* who is stopped takes none, and one that is not to run may be anywhere, where the least is promised */
    put_sized(m, "b", "n2", 4, 1, false);
    assert_string_equal(chosen(m, 7, 1, ",'pin':['n1','n2','n3']"), "n2");
    assert_string_equal(chosen(m, 100, 100, ",'pin':['n1','n4'],'labels':{'a':'stopped'}"), "n1");
    put_sized(m, "b", "n2", 4, 1, true);
    /* one that is on its way has it at both ends */
    put(m, "/drover/migration/mi", "{'kind':'migration','id':'mi','name':'mi','spec':{'from':'n4','to':'n1'}}");
    put(m, "/drover/guest/d-id",
        "{'kind':'guest','id':'d-id','name':'d','migration':'mi','spec':{'node':'n4','running':true,'vcpus':1,"
        "'memory':2147483648}}");
    assert_non_null(strstr(chosen(m, 3.5, 1, ",'pin':['n1']"), "1.5 GiB are left"));
    assert_string_equal(chosen(m, 5.5, 1, ""), "n4");
    assert_non_null(strstr(chosen(m, 5.6, 1, ",'pin':['n4']"), "5.5 GiB are left"));
    put_sized(m, "e", "n1", 6, 1, true); /* more than there is: somebody has said so */
    assert_non_null(strstr(chosen(m, 1, 1, ",'pin':['n1']"), "0 bytes are left"));
    put(m, "/drover/state/node/n2-id", "{'alive':true}"); /* who knows how much it has */
    assert_string_equal(chosen(m, 100, 1, ""), "n2");
    assert_string_equal(chosen(m, 1, 1, ""), "n4");
    mirror_free(m);
}

/* A soft rule is rather broken than room not there; who takes volumes is not asked of nodes without it. */
static void test_room_comes_first(void **state)
{
    struct mirror *m = cluster();
    (void)state;
    for (int i = 1; i <= 3; i++) {
        char name[16], node[16];
        snprintf(name, sizeof name, "g%d", i);
        snprintf(node, sizeof node, "n%d", i);
        put_sized(m, name, node, 7, 1, true);
    }
    put_guest(m, "web", "n4", ",'anti_affinity':['web:soft']");
    assert_string_equal(chosen(m, 1, 1, ",'anti_affinity':['web:soft']"), "n4");
    assert_string_equal(chosen(m, 0.25, 1, ",'anti_affinity':['web:soft']"), "n1");
    mirror_free(m);
}

static bool takes_only(const void *context, const struct object *node)
{
    char *asked = (char *)(uintptr_t)context;
    strncat(asked, node->name, 8);
    return !strcmp(node->name, "n3");
}

/* Of a guest that is there: to a node that is named it moves if there is room, it is started there in any case. */
static void test_room_of_moves(void **state)
{
    struct mirror *m = cluster();
    char why[PLACEMENT_WHY_MAX] = "", asked[64] = "";
    (void)state;
    put_sized(m, "a", "n1", 4, 1, true);
    put_sized(m, "b", "n2", 4, 1, true);
    put_sized(m, "c", "n3", 2, 1, true);
    const struct object *a = mirror_named(m, OBJECT_GUEST, "a"), *n2 = mirror_named(m, OBJECT_NODE, "n2");
    struct placement_guest live = placement_guest_of(a, true), anew = placement_guest_of(a, false);
    assert_false(placement_allows(m, &live, n2, why));
    assert_string_equal(why, "not enough memory: 3.5 GiB are left, and the guest has 4 GiB");
    assert_false(placement_allows(m, &live, n2, NULL));
    assert_true(placement_allows(m, &anew, n2, why));
    assert_true(placement_allows(m, &live, mirror_named(m, OBJECT_NODE, "n3"), why));
    assert_true(placement_allows(m, &live, mirror_named(m, OBJECT_NODE, "n1"), why)); /* what it has there is its own */
    assert_int_equal(placement_mask(m, &live, (const struct object *[]){n2}, 1), 1); /* fail-over has room of its own */
    const struct placement_choice choice = {.except = "n1", .takes = takes_only, .context = asked};
    assert_string_equal(placement_choose(m, &live, &choice, why)->name, "n3");
    assert_string_equal(asked, "n3n4"); /* n2 has no room */
    /* it is counted where it goes, and not against itself */
    put(m, "/drover/migration/mi", "{'kind':'migration','id':'mi','name':'mi','spec':{'from':'n1','to':'n3'}}");
    put(m, "/drover/guest/a-id",
        "{'kind':'guest','id':'a-id','name':'a','migration':'mi','spec':{'node':'n1','running':true,'vcpus':1,"
        "'memory':4294967296}}");
    live = placement_guest_of(mirror_named(m, OBJECT_GUEST, "a"), true);
    assert_true(placement_allows(m, &live, mirror_named(m, OBJECT_NODE, "n3"), why));
    assert_non_null(strstr(chosen(m, 2, 1, ",'pin':['n3']"), "1.5 GiB are left"));
    mirror_free(m);
}

/* The policy's limits hold for whoever chooses; one that is none limits as none does. */
static void test_limits(void **state)
{
    struct mirror *m = cluster();
    static const char pinned[] = ",'pin':['n1']";
    (void)state;
    put_sized(m, "a", "n1", 2, 4, true);
    assert_string_equal(chosen(m, 5.5, 100, pinned), "n1"); /* who does not say how many threads it has is not asked */
    put_node(m, 1, "", ",'cpus':2");
    assert_string_equal(chosen(m, 5.5, 12, pinned), "n1");
    assert_string_equal(chosen(m, 1, 13, pinned),
                        "no node may have it; n1: not enough processors: 12 vCPUs are left, and the guest has 13");
    put_policy(m, "{\"limits\": {\"memory\": 0.75, \"vcpu_ratio\": 2.5}}"); /* six GiB, half of one its own */
    assert_string_equal(chosen(m, 3.5, 1, pinned), "n1");
    assert_non_null(strstr(chosen(m, 3.75, 1, pinned), "not enough memory: 3.5 GiB are left"));
    assert_non_null(strstr(chosen(m, 1, 2, pinned), "not enough processors: 1 vCPUs are left"));
    put_policy(m, "{\"limits\": {\"vcpu_ratio\": 1}, \"moves\": {\"max\": 3}}");
    assert_string_equal(chosen(m, 5.5, 0, ",'pin':['n2']"), "n2");
    assert_non_null(strstr(chosen(m, 1, 1, pinned), "not enough processors: 0 vCPUs are left"));
    static const char *const none[] = {"{\"limits\": {\"memory\": 0.75",
                                       "{\"limits\": {\"memory\": 0.75, \"vcpu_ratio\": 0}}",
                                       "{\"limits\": {\"memory\": 2}}",
                                       "{\"limits\": {\"memory\": 0.75, \"vcpu_ratio\": \"9\"}}",
                                       "{\"limits\": {\"memory\": \"0.75\"}}",
                                       "[]",
                                       "{\"limits\": 3}",
                                       ""};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        put_policy(m, none[i]);
        assert_string_equal(chosen(m, 5.5, 12, pinned), "n1");
        assert_non_null(strstr(chosen(m, 1, 13, pinned), "12 vCPUs are left"));
    }
    mirror_free(m);
}

/* What several choices share is gathered once, and not before a node is allowed. */
static void test_shared_room(void **state)
{
    struct mirror *m = cluster();
    struct placement_room room = {0};
    char why[PLACEMENT_WHY_MAX];
    (void)state;
    put_sized(m, "a", "n1", 4, 1, true);
    put_sized(m, "b", "n2", 3, 1, true);
    put_sized(m, "c", "n3", 1, 1, true);
    json_t *nowhere = json_pack("{s:i, s:[s]}", "memory", 1, "pin", "gone"),
           *anywhere = json_pack("{s:i}", "memory", 1);
    const struct placement_guest pinned = {.id = "", .spec = nowhere, .shown_on = ""};
    const struct placement_guest free_one = {.id = "", .spec = anywhere, .shown_on = ""};
    const struct placement_choice choice = {.except = "n3", .room = &room}, away = {.except = "n2", .room = &room};
    assert_null(placement_choose(m, &pinned, &choice, why));
    assert_false(room.gathered);
    assert_string_equal(placement_choose(m, &free_one, &choice, why)->name, "n4");
    assert_true(room.gathered);
    struct placement_guest b = placement_guest_of(mirror_named(m, OBJECT_GUEST, "b"), true);
    put_sized(m, "d", "n4", 7, 1, true); /* the room is as it was when it was gathered */
    assert_string_equal(placement_choose(m, &b, &away, why)->name, "n4");
    placement_room_fini(&room);
    assert_string_equal(placement_choose(m, &b, &away, why)->name, "n3");
    placement_room_fini(&room);
    json_decref(nowhere);
    json_decref(anywhere);
    mirror_free(m);
}

static void put_many(struct mirror *m, int nodes, int guests)
{
    char key[64];
    for (int n = 0; n < nodes; n++) {
        snprintf(key, sizeof key, "/drover/node/n%05d-id", n);
        put(m, key, "{'kind':'node','id':'n%05d-id','name':'n%05d','spec':{}}", n, n);
        snprintf(key, sizeof key, "/drover/state/node/n%05d-id", n);
        put(m, key, "{'alive':true,'memory_bytes':137438953472,'cpus':64}");
        json_t *use = json_object(), *load = json_pack("{s:O}", "guests", use);
        for (int g = n; g < guests; g += nodes) {
            json_t *cpu = json_array();
            for (int i = 0; i < 30; i++)
                json_array_append_new(cpu, json_integer((g * 31 + i * 17) % 200));
            snprintf(key, sizeof key, "g%05d-id", g);
            json_object_set_new(use, key, json_pack("{s:O, s:o}", "cpu", cpu, "steal", cpu));
        }
        char *text = json_dumps(load, 0);
        snprintf(key, sizeof key, "/drover/state/load/n%05d-id", n);
        assert_int_equal(mirror_put(m, key, text, strlen(text), 1), 0);
        free(text);
        json_decref(use);
        json_decref(load);
    }
    for (int g = 0; g < guests; g++) {
        char name[16], node[16];
        snprintf(name, sizeof name, "g%05d", g);
        snprintf(node, sizeof node, "n%05d", g % nodes);
        put_sized(m, name, node, 8, 4, true);
    }
}

static double spent_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* 10,000 guests on 1,000 nodes; one node is less full. What it takes of processor time is printed. */
static void test_many(void **state)
{
    enum { NODES = 1000, GUESTS = 10000, STUCK = 10 };
    struct mirror *m = mirror_new();
    struct placement_room room = {0};
    char why[PLACEMENT_WHY_MAX];
    (void)state;
    put_many(m, NODES, GUESTS);
    put_sized(m, "g00777", "n00000", 8, 4, true);
    struct placement_guest g = placement_guest_of(mirror_named(m, OBJECT_GUEST, "g00000"), true);
    double begin = spent_ms();
    assert_string_equal(placement_choose(m, &g, &(struct placement_choice){.except = "n00000"}, why)->name, "n00777");
    printf("one choice: %.1f ms\n", spent_ms() - begin);
    begin = spent_ms();
    assert_true(placement_allows(m, &g, mirror_named(m, OBJECT_NODE, "n00777"), why));
    printf("one node judged: %.1f ms\n", spent_ms() - begin);
    put_policy(m, "{\"limits\": {\"memory\": 0.1}}");
    begin = spent_ms();
    for (int i = 0; i < STUCK; i++)
        assert_null(placement_choose(m, &g, &(struct placement_choice){.except = "n00000"}, why));
    printf("%d that may go nowhere, each by itself: %.1f ms\n", STUCK, spent_ms() - begin);
    begin = spent_ms();
    for (int i = 0; i < STUCK; i++)
        assert_null(placement_choose(m, &g, &(struct placement_choice){.except = "n00000", .room = &room}, why));
    printf("%d that may go nowhere, together: %.1f ms\n", STUCK, spent_ms() - begin);
    placement_room_fini(&room);
    mirror_free(m);
}

static void test_apart(void **state)
{
    struct mirror *m = cluster();
    const char *best;
    (void)state;
    put_guest(m, "a", "n1", ",'anti_affinity':['db']");
    put_guest(m, "b", "n2", ",'anti_affinity':['other']");
    assert_string_equal(allowed(m, ",'anti_affinity':['db']", NULL), "n2 n3 n4");
    assert_string_equal(allowed(m, ",'anti_affinity':['db:soft']", NULL), "n2 n3 n4"); /* the other one says hard */
    assert_string_equal(allowed(m, ",'anti_affinity':['db:rack']", NULL), "n3 n4");
    /* a soft group: nothing is forbidden, but an emptier place is not better than one that keeps it */
    put_guest(m, "c", "n2", ",'anti_affinity':['web:soft']");
    put_guest(m, "d", "n3", "");
    put_guest(m, "e", "n4", ",'anti_affinity':['web:soft']");
    put_guest(m, "f", "n3", "");
    put_guest(m, "h", "n1", ",'anti_affinity':['web:soft']");
    assert_string_equal(allowed(m, ",'anti_affinity':['web:soft']", &best), "n1 n2 n3 n4");
    assert_string_equal(best, "n3");
    /* whoever is on his way is at both ends; a node that takes nothing binds nobody */
    put(m, "/drover/guest/a-id",
        "{'kind':'guest','id':'a-id','name':'a','migration':'m-id','spec':{'node':'n1','anti_affinity':['db']}}");
    put(m, "/drover/migration/m-id",
        "{'kind':'migration','id':'m-id','name':'m','spec':{'guest_id':'a-id','from':'n1','to':'n4'}}");
    assert_string_equal(allowed(m, ",'anti_affinity':['db']", NULL), "n2 n3");
    put_node(m, 1, ",'drained':true", "");
    assert_string_equal(allowed(m, ",'anti_affinity':['db:rack']", NULL), "n1 n2");
    mirror_free(m);
}

static void test_together(void **state)
{
    struct mirror *m = cluster();
    const char *best;
    (void)state;
    assert_string_equal(allowed(m, ",'affinity':['app']", NULL), "n1 n2 n3 n4"); /* the first one chooses */
    put_guest(m, "a", "n3", ",'affinity':['app']");
    assert_string_equal(allowed(m, ",'affinity':['app']", &best), "n3");
    assert_string_equal(best, "n3");
    assert_string_equal(allowed(m, ",'affinity':['app:rack']", NULL), "n3 n4");
    assert_string_equal(allowed(m, ",'affinity':['app'],'anti_affinity':['app']", NULL), "n3"); /* two groups */
    put_node(m, 3, ",'drained':true", "");
    assert_string_equal(allowed(m, ",'affinity':['app']", NULL), "n1 n2 n3 n4"); /* it is to leave, too */
    mirror_free(m);
}

static void test_processors(void **state)
{
    struct mirror *m = cluster();
    char why[PLACEMENT_WHY_MAX];
    (void)state;
    put_node(m, 1, "", ",'cpu_models':['baseline-v2','baseline-v3','host-A']");
    put_node(m, 2, "", ",'cpu_models':['baseline-v2','host-B']");
    put_node(m, 3, "", ",'cpu_models':['baseline-v2','baseline-v3','host-A']");
    assert_string_equal(allowed(m, ",'cpu':'baseline-v3'", NULL), "n1 n3 n4"); /* n4 does not say */
    assert_string_equal(allowed(m, ",'cpu':'host'", NULL), "n1 n2 n3 n4");
    put_guest(m, "a", "n1", ",'cpu':'host'");
    const struct object *a = mirror_named(m, OBJECT_GUEST, "a");
    struct placement_guest live = placement_guest_of(a, true), anew = placement_guest_of(a, false);
    assert_false(placement_allows(m, &live, mirror_named(m, OBJECT_NODE, "n2"), why));
    assert_non_null(strstr(why, "processor of node n1"));
    assert_true(placement_allows(m, &live, mirror_named(m, OBJECT_NODE, "n3"), why));
    assert_true(placement_allows(m, &anew, mirror_named(m, OBJECT_NODE, "n2"), why)); /* it starts anew there */
    mirror_free(m);
}

static void test_what_the_processor_is(void **state)
{
    (void)state;
    json_t *models = processor_models("processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n"
                                      "model name\t: X\nflags\t\t: fpu cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3 "
                                      "abm avx avx2 bmi1 bmi2 f16c fma movbe xsavec\n");
    assert_int_equal(json_array_size(models), 2); /* "xsavec" is no "xsave" */
    assert_string_equal(json_string_value(json_array_get(models, 0)), "baseline-v2");
    assert_string_equal(json_string_value(json_array_get(models, 1)), "host-GenuineIntel-6-85");
    json_decref(models);
    models = processor_models("");
    assert_int_equal(json_array_size(models), 0);
    json_decref(models);
}

static int complete(const struct mirror *m, const char *text, struct complete_error *e, json_t **spec)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    *spec = json_loads(copy, 0, NULL);
    assert_non_null(*spec);
    return placement_complete(m, *spec, e);
}

static void test_specs(void **state)
{
    struct mirror *m = cluster();
    struct complete_error e;
    json_t *spec;
    (void)state;
    assert_int_equal(complete(m, "{'pin':['n2-id'],'avoid':[],'affinity':[]}", &e, &spec), 0);
    assert_string_equal(json_string_value(json_array_get(json_object_get(spec, "pin"), 0)), "n2");
    assert_int_equal(json_object_size(spec), 1);
    json_decref(spec);
    assert_int_not_equal(complete(m, "{'avoid':['n1','n9']}", &e, &spec), 0);
    assert_string_equal(e.field, "spec.avoid[1]");
    json_decref(spec);
    assert_int_not_equal(complete(m, "{'pin':['n1'],'avoid':['n1']}", &e, &spec), 0);
    assert_string_equal(e.field, "spec.avoid");
    json_decref(spec);
    mirror_free(m);
}

/* Three members of one group were on the node that is lost: each of the others gets one, and the last finds none. */
static void test_failover_keeps_apart(void **state)
{
    struct mirror *m = cluster();
    struct failover_scene scene;
    struct failover_decision decisions[8];
    (void)state;
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", i);
        put_guest(m, name, "n1", ",'ha':true,'anti_affinity':['db'],'avoid':['n4']");
    }
    put(m, "/drover/state/node/n1-id", "{'alive':false}");
    assert_true(failover_scene_make(&scene, m, NULL, "n2"));
    assert_int_equal(scene.view.guest_count, 4);
    assert_true(failover_decide(&scene.view, decisions));
    int at[4] = {0}, nowhere = 0;
    for (int i = 0; i < 4; i++) {
        if (decisions[i].target >= 0)
            at[decisions[i].target]++;
        else
            nowhere += strstr(decisions[i].reason, "placement rules") != NULL;
    }
    assert_true(at[0] == 0 && at[1] == 1 && at[2] == 1 && at[3] == 0 && nowhere == 2);
    failover_scene_free(&scene);
    /* by rack: two of the other one do not do either, and together they all go to one */
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", i);
        put_guest(m, name, "n1", i < 2 ? ",'ha':true,'anti_affinity':['db:rack']" : ",'ha':true,'affinity':['app']");
    }
    assert_true(failover_scene_make(&scene, m, NULL, "n2"));
    assert_true(failover_decide(&scene.view, decisions));
    assert_true(decisions[0].target >= 0 && decisions[1].target >= 0);
    assert_int_not_equal(scene.view.nodes[decisions[0].target].place[PLACEMENT_RACK],
                         scene.view.nodes[decisions[1].target].place[PLACEMENT_RACK]);
    assert_true(decisions[2].target >= 0);
    assert_int_equal(decisions[2].target, decisions[3].target);
    failover_scene_free(&scene);
    mirror_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),         cmocka_unit_test(test_pins),
        cmocka_unit_test(test_the_roomiest),  cmocka_unit_test(test_the_idlest),
        cmocka_unit_test(test_room),          cmocka_unit_test(test_room_comes_first),
        cmocka_unit_test(test_room_of_moves), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_shared_room),   cmocka_unit_test(test_many),
        cmocka_unit_test(test_apart),         cmocka_unit_test(test_together),
        cmocka_unit_test(test_processors),    cmocka_unit_test(test_what_the_processor_is),
        cmocka_unit_test(test_specs),         cmocka_unit_test(test_failover_keeps_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
