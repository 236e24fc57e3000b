/* How a volume with a layout is, from what the nodes of its members and the process that owns it say. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/complete_volume.h"
#include "node/agent/report.h"
#include "node/agent/spare.h"
#include "node/agent/volume_condition.h"
#include "node/agent/volume_member.h"
#include "node/agent/volume_work.h"

static struct mirror *m;
static uint64_t revision;

static void put(const char *key, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "/drover/%s", key);
    assert_int_equal(mirror_put(m, path, text, strlen(text), ++revision), 0);
}

/* Three nodes with a pool each; nodes 1 and 2 have the members "a" and "b" of volume "v", node 3 has the witness. */
static int setup(void **state)
{
    (void)state;
    m = mirror_new();
    for (int i = 1; i <= 3; i++) {
        char key[64], text[160];
        snprintf(key, sizeof key, "node/n%d", i);
        snprintf(text, sizeof text, "{\"name\":\"n%d\",\"spec\":{\"labels\":{\"rack\":\"r%d\"}}}", i, i / 2);
        put(key, text);
        snprintf(key, sizeof key, "state/node/n%d", i);
        put(key, "{\"alive\":true}");
        snprintf(key, sizeof key, "pool/p%d", i);
        snprintf(text, sizeof text, "{\"name\":\"p%d\",\"spec\":{\"node\":\"n%d\",\"driver\":\"directory\"}}", i, i);
        put(key, text);
    }
    put("volume/v", "{\"name\":\"v\",\"spec\":{\"layout\":\"raid1:2\",\"size\":4096,\"pools\":[\"p1\",\"p2\"],"
                    "\"witness\":\"p3\"}}");
    put("member/a", "{\"name\":\"v.a\",\"spec\":{\"volume\":\"v\",\"index\":0,\"pool\":\"p1\",\"replacement\":false}}");
    put("member/b", "{\"name\":\"v.b\",\"spec\":{\"volume\":\"v\",\"index\":1,\"pool\":\"p2\",\"replacement\":false}}");
    put("member/w",
        "{\"name\":\"v.w\",\"spec\":{\"volume\":\"v\",\"index\":-1,\"pool\":\"p3\",\"replacement\":false}}");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mirror_free(m);
    revision = 0;
    return 0;
}

#define MADE "{\"phase\":\"ready\",\"made\":true}"

static void all_made(void)
{
    put("state/member/a", MADE);
    put("state/member/b", MADE);
    put("state/member/w", MADE);
}

static const char *text(const json_t *object, const char *key)
{
    const char *t = json_string_value(json_object_get(object, key));
    return t ? t : "";
}

/* The state with what the process says (NULL: none runs) as the volume's from now on. */
static const json_t *judge(const char *status, bool formed, uint32_t strangers)
{
    struct volume_owner owner = {
        .status = status ? json_loads(status, 0, NULL) : NULL, .formed = formed, .strangers = strangers, .reason = ""};
    assert_true(!status || owner.status);
    json_t *state = volume_condition(m, mirror_find(m, OBJECT_VOLUME, "v"), &owner);
    char *json = json_dumps(state, 0);
    put("state/volume/v", json);
    free(json);
    json_decref(state);
    json_decref((json_t *)(uintptr_t)owner.status);
    return mirror_find(m, OBJECT_VOLUME, "v")->state;
}

static const char *condition(const json_t *state, unsigned index)
{
    return text(json_array_get(json_object_get(state, "members"), index), "condition");
}

static void is_made_when_all_of_it_is(void **state)
{
    (void)state;
    assert_string_equal(text(judge(NULL, true, 0), "phase"), "making");
    put("state/member/a", MADE);
    put("state/member/b", MADE);
    assert_string_equal(text(judge(NULL, true, 0), "phase"), "making"); /* the witness is missing */
    put("state/member/w", "{\"phase\":\"failed\",\"reason\":\"no room\"}");
    assert_string_equal(text(judge(NULL, true, 0), "phase"), "failed");
    assert_string_equal(text(judge(NULL, true, 0), "reason"), "the witness on node n3: no room");
    put("state/member/w", MADE);
    assert_string_equal(text(judge(NULL, false, 0), "phase"), "making"); /* what lies on it is not */
    assert_string_equal(text(judge(NULL, true, 0), "phase"), "ready");
    put("state/member/w", "{\"phase\":\"failed\",\"reason\":\"gone\"}");
    put("state/node/n3", "{\"alive\":false}");
    assert_string_equal(text(judge(NULL, false, 0), "phase"), "ready"); /* once made, for ever */
}

#define STATUS(a, b) "{\"members\":[{\"state\":\"" a "\"},{\"state\":\"" b "\"}]}"

static void keeps_what_was_known(void **state)
{
    (void)state;
    all_made();
    assert_string_equal(text(judge(NULL, true, 0), "health"), "good");
    const json_t *s = judge(STATUS("in-sync", "lost"), true, 0);
    assert_string_equal(condition(s, 0), "in-sync");
    assert_string_equal(condition(s, 1), "missing");
    assert_string_equal(text(s, "health"), "degraded (1 of 2 in sync)");
    s = judge(NULL, true, 0); /* the guest is stopped: it is behind as it was */
    assert_string_equal(condition(s, 0), "in-sync");
    assert_string_equal(condition(s, 1), "outdated");
    s = judge(STATUS("in-sync", "syncing"), true, 0);
    assert_string_equal(text(s, "health"), "resyncing (1 of 2 in sync)");
    assert_string_equal(condition(judge(NULL, true, 0), 1), "outdated");
    assert_string_equal(text(judge(STATUS("in-sync", "in-sync"), true, 0), "health"), "good");
    s = judge(STATUS("down", "in-sync"), true, 0);
    assert_string_equal(condition(s, 0), "down");
    assert_string_equal(condition(judge(NULL, true, 0), 0), "in-sync"); /* it was not done without */
}

static void takes_no_word_for_another(void **state)
{
    (void)state;
    all_made();
    judge(STATUS("in-sync", "in-sync"), true, 0);
    put("member/b", "{\"name\":\"v.b\",\"deleting\":true,\"spec\":{\"volume\":\"v\",\"index\":1,\"pool\":\"p2\"}}");
    put("member/c", "{\"name\":\"v.c\",\"spec\":{\"volume\":\"v\",\"index\":1,\"pool\":\"p2\",\"replacement\":true}}");
    const json_t *s = judge(STATUS("in-sync", "in-sync"), true, 1 << 1); /* it still means the old one */
    assert_string_equal(condition(s, 1), "new");
    assert_string_equal(text(s, "health"), "degraded (1 of 2 in sync)");
    assert_string_equal(condition(judge(NULL, true, 0), 1), "new");
    assert_string_equal(condition(judge(STATUS("in-sync", "syncing"), true, 0), 1), "resyncing");
    assert_string_equal(text(judge(STATUS("in-sync", "in-sync"), true, 0), "health"), "good");
}

static void tells_what_is_worst(void **state)
{
    (void)state;
    all_made();
    assert_non_null(strstr(text(judge("{\"suspended\":true,\"members\":[]}", true, 0), "health"), "suspended"));
    assert_non_null(strstr(text(judge("{\"dead\":-5,\"suspended\":true,\"members\":[]}", true, 0), "health"), "dead"));
}

static void has_a_home(void **state)
{
    (void)state;
    const struct object *v = mirror_find(m, OBJECT_VOLUME, "v");
    assert_string_equal(volume_home(m, v), "n1");
    put("guest/g", "{\"name\":\"g\",\"spec\":{\"node\":\"n3\",\"disks\":[{\"volume\":\"v\"}]}}");
    assert_string_equal(volume_home(m, v), "n1"); /* until it is made */
    all_made();
    judge(NULL, true, 0);
    assert_string_equal(volume_home(m, mirror_find(m, OBJECT_VOLUME, "v")), "n3");
}

/* ---- where members are put ---- */

static json_t *place(const char *json, bool fits)
{
    struct complete_error e = {.text = ""};
    json_t *spec = json_loads(json, 0, NULL);
    assert_int_equal(complete_volume(m, spec, &e), fits ? 0 : -EINVAL);
    assert_true(fits || *e.text);
    return spec;
}

/* A node that was cut off comes back, and has it from its own process that members are down. The guest has gone to
 * another node, which speaks for the volume since. */
static void is_told_by_its_home_only(void **state)
{
    (void)state;
    all_made();
    judge(STATUS("in-sync", "in-sync"), true, 0); /* made */
    put("volume/plain", "{\"name\":\"plain\",\"spec\":{\"size\":4096,\"pool\":\"p1\"}}");
    put("guest/g", "{\"name\":\"g\",\"spec\":{\"node\":\"n1\",\"disks\":[{\"volume\":\"v\"}]}}");
    assert_false(report_is_anothers(m, "n1", OBJECT_VOLUME, "v"));
    put("guest/g", "{\"name\":\"g\",\"spec\":{\"node\":\"n3\",\"disks\":[{\"volume\":\"v\"}]}}");
    assert_true(report_is_anothers(m, "n1", OBJECT_VOLUME, "v"));
    assert_false(report_is_anothers(m, "n3", OBJECT_VOLUME, "v"));
    assert_false(report_is_anothers(m, "n1", OBJECT_MEMBER, "a")); /* its own bytes */
    assert_false(report_is_anothers(m, "n1", OBJECT_VOLUME, "plain"));
    assert_true(report_is_anothers(m, "n2", OBJECT_VOLUME, "plain")); /* its bytes have moved */
    assert_false(report_is_anothers(m, "n2", OBJECT_VOLUME, "gone"));
}

static bool work(struct volume_work *w)
{
    return volume_work_of(m, mirror_find(m, OBJECT_VOLUME, "v"), w);
}

/* What is done with a volume that no guest has: only what can be done, and nothing while a guest has it or wants it. */
static void is_looked_after(void **state)
{
    struct volume_work w;
    (void)state;
    assert_false(work(&w)); /* not made yet */
    all_made();
    judge(STATUS("in-sync", "in-sync"), true, 0);
    assert_false(work(&w));
    judge(STATUS("in-sync", "lost"), true, 0);
    assert_false(work(&w)); /* nobody serves the member */
    put("state/member/b", "{\"phase\":\"ready\",\"made\":true,\"uri\":\"nbds://10.0.0.2:4000/b\"}");
    assert_true(work(&w));
    assert_true(w.fill && !w.grow_bytes && !w.scrub);
    put("guest/g", "{\"name\":\"g\",\"spec\":{\"node\":\"n1\",\"running\":true,\"disks\":[{\"volume\":\"v\"}]}}");
    assert_false(work(&w)); /* it is about to start */
    put("guest/g", "{\"name\":\"g\",\"spec\":{\"node\":\"n1\",\"running\":false,\"disks\":[{\"volume\":\"v\"}]}}");
    put("state/guest/g", "{\"phase\":\"stopping\"}");
    assert_false(work(&w)); /* it is still there */
    put("state/guest/g", "{\"phase\":\"stopped\"}");
    assert_true(work(&w));
    judge(STATUS("in-sync", "in-sync"), true, 0);
    assert_false(work(&w));
    put("volume/v",
        "{\"name\":\"v\",\"scrub\":3,\"spec\":{\"layout\":\"raid1:2\",\"size\":8192,\"pools\":[\"p1\",\"p2\"],"
        "\"witness\":\"p3\"}}");
    assert_true(work(&w));
    assert_true(w.grow_bytes == 8192 && w.scrub == 3 && !w.fill);
    put("volume/v", "{\"name\":\"v\",\"scrub\":3,\"deleting\":true,\"spec\":{\"layout\":\"raid1:2\",\"size\":8192,"
                    "\"pools\":[\"p1\",\"p2\"]}}");
    assert_false(work(&w));
}

static int spare(const char *extra)
{
    char text[256];
    snprintf(text, sizeof text, "{\"name\":\"v\",%s}", extra);
    put("volume/v", text);
    return spare_index(m, mirror_find(m, OBJECT_VOLUME, "v"));
}

#define ASKED "\"spec\":{\"layout\":\"raid1:2\",\"size\":4096,\"pools\":[\"p1\",\"p2\"],\"replace_after_s\":600}"

/* One that is away is replaced if that was asked for, and if all others are there and have everything. */
static void replaces_who_is_away(void **state)
{
    (void)state;
    all_made();
    judge(STATUS("in-sync", "in-sync"), true, 0);
    assert_int_equal(spare(ASKED), SPARE_NONE);
    put("state/node/n2", "{\"alive\":false}");
    assert_int_equal(spare(ASKED), 1);
    assert_int_equal(spare("\"deleting\":true," ASKED), SPARE_NONE);
    assert_int_equal(spare("\"spec\":{\"layout\":\"raid1:2\",\"size\":4096,\"pools\":[\"p1\",\"p2\"]}"), SPARE_NONE);
    assert_int_equal(spare("\"spec\":{\"layout\":\"raid0:2\",\"size\":4096,\"pools\":[\"p1\",\"p2\"],"
                           "\"replace_after_s\":600}"),
                     SPARE_NONE);
    put("state/node/n1", "{\"alive\":false}");
    assert_int_equal(spare(ASKED), SPARE_NONE); /* both: nobody knows */
    put("state/node/n1", "{\"alive\":true}");
    put("state/node/n2", "{\"alive\":true}");
    spare(ASKED);
    judge(STATUS("in-sync", "lost"), true, 0); /* its node is there, what serves it is not */
    assert_int_equal(spare(ASKED), 1);
    judge(STATUS("in-sync", "syncing"), true, 0);
    assert_int_equal(spare(ASKED), SPARE_NONE);
    put("state/node/n1", "{\"alive\":false}");
    assert_int_equal(spare(ASKED), SPARE_NONE); /* the other one has not everything yet */
}

#define WITNESSED(a, b, w) "{\"witness\":" w ",\"members\":[{\"state\":\"" a "\"},{\"state\":\"" b "\"}]}"
#define ASKED_WITH_WITNESS                                                                                             \
    "\"spec\":{\"layout\":\"raid1:2\",\"size\":4096,\"pools\":[\"p1\",\"p2\"],\"witness\":\"p3\","                     \
    "\"replace_after_s\":600}"

static const char *witness_condition(const json_t *state)
{
    return text(json_object_get(state, "witness"), "condition");
}

/* A witness is lost and replaced as members are, but after them; a blank one has to be told by an owner. */
static void replaces_a_witness(void **state)
{
    (void)state;
    struct volume_work w;
    struct complete_error e;
    all_made();
    assert_string_equal(witness_condition(judge(WITNESSED("in-sync", "in-sync", "true"), true, 0)), "in-sync");
    assert_int_equal(spare(ASKED_WITH_WITNESS), SPARE_NONE);
    put("state/node/n3", "{\"alive\":false}");
    assert_int_equal(spare(ASKED_WITH_WITNESS), WITNESS);
    put("state/node/n3", "{\"alive\":true}");
    assert_string_equal(witness_condition(judge(WITNESSED("in-sync", "in-sync", "false"), true, 0)), "missing");
    assert_int_equal(spare(ASKED_WITH_WITNESS), WITNESS);
    put("state/node/n2", "{\"alive\":false}");
    assert_int_equal(spare(ASKED_WITH_WITNESS), 1); /* data first */
    put("state/node/n2", "{\"alive\":true}");

    put("node/n4", "{\"name\":\"n4\",\"spec\":{}}");
    put("state/node/n4", "{\"alive\":true}");
    put("pool/p4", "{\"name\":\"p4\",\"spec\":{\"node\":\"n4\",\"driver\":\"directory\"}}");
    put("state/node/n3", "{\"alive\":false}");
    const struct object *v = mirror_find(m, OBJECT_VOLUME, "v");
    json_t *spec = json_deep_copy(json_object_get(v->value, "spec"));
    assert_int_equal(complete_replacement(m, v, WITNESS, "p1", spec, &e), -EINVAL); /* where a member is */
    assert_int_equal(complete_replacement(m, v, WITNESS, "", spec, &e), 0);
    assert_string_equal(text(spec, "witness"), "p4");
    json_decref(spec);

    put("member/w", "{\"name\":\"v.w\",\"deleting\":true,\"spec\":{\"volume\":\"v\",\"index\":-1,\"pool\":\"p3\"}}");
    put("member/x", "{\"name\":\"v.x\",\"spec\":{\"volume\":\"v\",\"index\":-1,\"pool\":\"p4\",\"replacement\":true}}");
    put("state/member/x", "{\"phase\":\"ready\",\"made\":true,\"uri\":\"nbd://n4/x\"}");
    put("state/volume/v",
        "{\"made\":true,\"members\":[{\"id\":\"a\",\"condition\":\"in-sync\"},"
        "{\"id\":\"b\",\"condition\":\"in-sync\"}],\"witness\":{\"id\":\"w\",\"condition\":\"missing\"}}");
    assert_string_equal(witness_condition(judge(NULL, true, 0)), "new");
    assert_true(volume_work_of(m, mirror_find(m, OBJECT_VOLUME, "v"), &w));
    assert_true(w.fill);
    judge(WITNESSED("in-sync", "in-sync", "true"), true, 0);
    assert_false(volume_work_of(m, mirror_find(m, OBJECT_VOLUME, "v"), &w));
}

/* Whoever looks after the volume next goes on counting; a time that is yet to come is none. */
static void remembers_since_when(void **state)
{
    (void)state;
    all_made();
    struct volume_owner owner = {.formed = true, .reason = "", .away = "b", .away_index = 1, .away_since_s = 1000};
    json_t *s = volume_condition(m, mirror_find(m, OBJECT_VOLUME, "v"), &owner);
    char *json = json_dumps(s, 0);
    put("state/volume/v", json);
    free(json);
    json_decref(s);
    const struct object *v = mirror_find(m, OBJECT_VOLUME, "v");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(v->state, "away"), "index")), 1);
    assert_int_equal(spare_since(v, "b", 1700), 1000);
    assert_int_equal(spare_since(v, "a", 1700), 1700);
    assert_int_equal(spare_since(v, "b", 900), 900);
    assert_null(json_object_get(judge(NULL, true, 0), "away"));
    assert_int_equal(spare_since(mirror_find(m, OBJECT_VOLUME, "v"), "b", 1700), 1700);
}

#define GROWING(pools)                                                                                                 \
    "{\"name\":\"v\",\"spec\":{\"layout\":\"raid1:2\",\"size\":33554432,\"room\":268435456,\"pools\":" pools "}}"

static int grow_to(json_int_t size, struct complete_error *e)
{
    const struct object *v = mirror_find(m, OBJECT_VOLUME, "v");
    json_t *spec = json_deep_copy(json_object_get(v->value, "spec"));
    json_object_set_new(spec, "size", json_integer(size));
    int rc = complete_volume_change(m, v, spec, e);
    json_decref(spec);
    return rc;
}

/* Logical volumes are made larger by their nodes, devices are as large as they are; the owner is asked after that. */
static void grows_on_devices(void **state)
{
    (void)state;
    struct complete_error e;
    struct volume_work w;
    int small = -1;
    put("pool/p1", "{\"name\":\"p1\",\"spec\":{\"node\":\"n1\",\"driver\":\"lvm\"}}");
    put("pool/p2", "{\"name\":\"p2\",\"spec\":{\"node\":\"n2\",\"driver\":\"block\"}}");
    put("state/pool/p1", "{\"free_bytes\":1073741824}");
    put("volume/v", GROWING("[\"p1\",\"p2\"]"));
    put("state/member/a", "{\"phase\":\"ready\",\"made\":true,\"bytes\":34000000}");
    put("state/member/b", "{\"phase\":\"ready\",\"made\":true,\"bytes\":34000000}");
    judge(STATUS("in-sync", "in-sync"), true, 0);
    assert_int_equal(grow_to(134217728, &e), -EINVAL);
    assert_string_equal(e.code, "cannot-grow");
    assert_non_null(strstr(e.text, "volume replace v 1 --pool"));
    put("state/member/b", "{\"phase\":\"ready\",\"made\":true,\"bytes\":1073741824}");
    assert_int_equal(grow_to(134217728, &e), 0);

    put("member/a", "{\"name\":\"v.a\",\"spec\":{\"volume\":\"v\",\"index\":0,\"pool\":\"p1\",\"bytes\":135000000}}");
    put("member/b", "{\"name\":\"v.b\",\"spec\":{\"volume\":\"v\",\"index\":1,\"pool\":\"p2\",\"bytes\":135000000}}");
    const struct object *v = mirror_find(m, OBJECT_VOLUME, "v");
    assert_false(volume_member_all_large(m, v, &small));
    assert_int_equal(small, 0);
    put("state/volume/v", "{\"made\":true,\"bytes\":33550336,\"members\":[{\"id\":\"a\",\"condition\":\"in-sync\"},"
                          "{\"id\":\"b\",\"condition\":\"in-sync\"}]}");
    assert_false(volume_work_of(m, v, &w));
    put("state/member/a", "{\"phase\":\"failed\",\"made\":true,\"bytes\":34000000,\"reason\":\"the group is full\"}");
    assert_string_equal(text(judge(NULL, true, 0), "reason"), "member 0 is not large enough: the group is full");
    put("state/member/a", "{\"phase\":\"ready\",\"made\":true,\"bytes\":138412032}");
    assert_true(volume_member_all_large(m, v, &small));
    assert_string_equal(text(judge(NULL, true, 0), "reason"), "it is being made larger");
    assert_true(volume_work_of(m, v, &w));
    assert_int_equal(w.grow_bytes, 33554432);
    put("state/member/a", "{\"phase\":\"ready\",\"made\":true,\"bytes\":34000000}");
    put("state/node/n1", "{\"alive\":false}"); /* it is not waited for: it misses what is new */
    assert_true(volume_member_all_large(m, v, &small));
}

static void spreads_members(void **state)
{
    (void)state;
    json_t *spec = place("{\"size\":4096,\"layout\":\"replica:3\"}", true);
    assert_int_equal(json_array_size(json_object_get(spec, "pools")), 3);
    json_decref(spec);
    spec = place("{\"size\":4096,\"layout\":\"raid1:2\"}", true);
    assert_string_equal(text(spec, "witness"), "p3"); /* p1 and p2 are as full as p3 is */
    json_decref(spec);
    spec = place("{\"size\":4096,\"layout\":\"raid1:2\",\"spread\":\"rack\"}", true); /* racks r0 and r1 */
    assert_null(json_object_get(spec, "witness"));
    json_decref(spec);
    json_decref(place("{\"size\":4096,\"layout\":\"replica:3\",\"spread\":\"rack\"}", false));
    json_decref(place("{\"size\":4096,\"layout\":\"raid1:2\",\"pools\":[\"p2\",\"p3\"],\"spread\":\"rack\"}", false));
    put("node/n2", "{\"name\":\"n2\",\"spec\":{\"drained\":true}}");
    json_decref(place("{\"size\":4096,\"layout\":\"replica:3\"}", false));
    put("state/node/n1", "{\"alive\":false}");
    json_decref(place("{\"size\":4096,\"layout\":\"raid1:2\"}", false));
    json_decref(place("{\"size\":4097,\"layout\":\"replica:1\"}", false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_made_when_all_of_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_what_was_known, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_no_word_for_another, setup, teardown),
        cmocka_unit_test_setup_teardown(tells_what_is_worst, setup, teardown),
        cmocka_unit_test_setup_teardown(has_a_home, setup, teardown),
        cmocka_unit_test_setup_teardown(is_told_by_its_home_only, setup, teardown),
        cmocka_unit_test_setup_teardown(is_looked_after, setup, teardown),
        cmocka_unit_test_setup_teardown(replaces_who_is_away, setup, teardown),
        cmocka_unit_test_setup_teardown(replaces_a_witness, setup, teardown),
        cmocka_unit_test_setup_teardown(remembers_since_when, setup, teardown),
        cmocka_unit_test_setup_teardown(grows_on_devices, setup, teardown),
        cmocka_unit_test_setup_teardown(spreads_members, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
