/* Where a guest may run by its rules: pins, groups by node and rack, hard and soft, processors; and that fail-over
 * keeps apart whom it takes over at the same time. Four nodes, two racks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/complete.h"
#include "node/agent/failover_view.h"
#include "node/agent/placement.h"
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
    const struct object *chosen = placement_choose(m, &g, NULL, why);
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
    assert_string_equal(placement_choose(m, &self, "n1", why)->name, "n4");
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
        cmocka_unit_test(test_texts),        cmocka_unit_test(test_pins),
        cmocka_unit_test(test_the_roomiest), cmocka_unit_test(test_the_idlest),
        cmocka_unit_test(test_apart),        cmocka_unit_test(test_together),
        cmocka_unit_test(test_processors),   cmocka_unit_test(test_what_the_processor_is),
        cmocka_unit_test(test_specs),        cmocka_unit_test(test_failover_keeps_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
