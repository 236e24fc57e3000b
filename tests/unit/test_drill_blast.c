/* Whom a drill would hit, and what it is refused for, from a cluster of three nodes with a guest on the second, whose
 * volume has a member on each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/drill_blast.h"
#include "node/agent/member.h"

#define STORE "etcd:https://10.0.0.1:2379"

__attribute__((format(printf, 3, 4))) static void put(struct mirror *m, const char *key, const char *format, ...)
{
    static uint64_t revision;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert_int_equal(mirror_put(m, key, text, strlen(text), ++revision), 0);
}

/* condition: of the member on n3. ha: of the guest. */
static struct mirror *cluster(const char *condition, const char *ha)
{
    struct mirror *m = mirror_new();
    for (int i = 1; i <= 3; i++) {
        char key[64];
        snprintf(key, sizeof key, "/drover/node/n%d-id", i);
        put(m, key, "{\"kind\":\"node\",\"id\":\"n%d-id\",\"name\":\"n%d\",\"spec\":{\"address\":\"10.0.0.%d\"}}", i, i,
            i);
        snprintf(key, sizeof key, "/drover/state/node/n%d-id", i);
        put(m, key, "{\"alive\":true,\"memory_bytes\":8589934592}");
        snprintf(key, sizeof key, "/drover/pool/p%d-id", i);
        put(m, key, "{\"kind\":\"pool\",\"id\":\"p%d-id\",\"name\":\"p%d\",\"spec\":{\"node\":\"n%d\"}}", i, i, i);
        snprintf(key, sizeof key, "/drover/member/m%d-id", i);
        put(m, key,
            "{\"kind\":\"member\",\"id\":\"m%d-id\",\"name\":\"v.m%d\",\"spec\":{\"volume\":\"v-id\",\"index\":%d,"
            "\"pool\":"
            "\"p%d\"}}",
            i, i, i - 1, i);
    }
    put(m, "/drover/volume/v-id",
        "{\"kind\":\"volume\",\"id\":\"v-id\",\"name\":\"v\",\"spec\":{\"layout\":\"replica:3\",\"pools\":[\"p1\","
        "\"p2\",\"p3\"]}}");
    put(m, "/drover/state/volume/v-id",
        "{\"members\":[{\"condition\":\"in-sync\"},{\"condition\":\"in-sync\"},{\"condition\":\"%s\"}]}", condition);
    put(m, "/drover/guest/g-id",
        "{\"kind\":\"guest\",\"id\":\"g-id\",\"name\":\"g\",\"spec\":{\"node\":\"n2\",\"running\":true,\"ha\":%s,"
        "\"memory\":"
        "1073741824,\"disks\":[{\"volume\":\"v\"}]}}",
        ha);
    put(m, "/drover/state/guest/g-id", "{\"phase\":\"running\",\"node\":\"n2\"}");
    return m;
}

/* What it is refused for, or "". next: where the guest would go. */
static const char *verdict(const struct mirror *m, const char *kind, const char *node, const char *more, char *next)
{
    char text[256];
    struct drill_blast b;
    snprintf(text, sizeof text, "{\"kind\":\"%s\",\"node\":\"%s\",\"for_ms\":12000%s}", kind, node, more);
    json_t *spec = json_loads(text, 0, NULL);
    assert_non_null(spec);
    assert_true(drill_blast_make(&b, m, spec, "", STORE));
    assert_true(!b.code || *b.text);
    const json_t *guest = json_array_get(json_object_get(b.json, "guests"), 0);
    if (next)
        snprintf(next, 16, "%s", member_text(guest, "next"));
    json_decref(b.json);
    json_decref(spec);
    return b.code ? b.code : "";
}

static void allowed(void **state)
{
    static const char *const kinds[] = {"node-power-loss", "partition", "coordinator-loss"};
    char next[16];
    struct mirror *m = cluster("in-sync", "true");
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(verdict(m, kinds[i], "n2", "", next), "");
        assert_true(!strcmp(next, "n1") || !strcmp(next, "n3"));
    }
    assert_string_equal(verdict(m, "agent-crash", "n1", "", NULL), "");
    assert_string_equal(verdict(m, "member-loss", "n3", ",\"volume\":\"v\"", NULL), "");
    mirror_free(m);
}

static void refused(void **state)
{
    struct mirror *m = cluster("in-sync", "true");
    (void)state;
    assert_string_equal(verdict(m, "partition", "n1", "", NULL), "store-on-node");
    assert_string_equal(verdict(m, "partition", "n9", "", NULL), "node-away");
    assert_string_equal(verdict(m, "partition", "n2", ",\"guests\":[\"nobody\"]", NULL), "canary-not-running");
    put(m, "/drover/node/n1-id",
        "{\"kind\":\"node\",\"id\":\"n1-id\",\"name\":\"n1\",\"spec\":{\"address\":\"10.0.0.1\",\"drained\":true}}");
    put(m, "/drover/node/n3-id",
        "{\"kind\":\"node\",\"id\":\"n3-id\",\"name\":\"n3\",\"spec\":{\"address\":\"10.0.0.3\",\"drained\":true}}");
    assert_string_equal(verdict(m, "partition", "n2", "", NULL), "nowhere");
    assert_string_equal(verdict(m, "agent-crash", "n2", ",\"x\":0", NULL),
                        "nowhere"); /* it is away for longer than a lease */
    put(m, "/drover/failover/cluster",
        "{\"kind\":\"failover\",\"id\":\"cluster\",\"name\":\"cluster\",\"spec\":{\"armed\":false}}");
    assert_string_equal(verdict(m, "partition", "n2", "", NULL), "disarmed");
    put(m, "/drover/drill/d-id",
        "{\"kind\":\"drill\",\"id\":\"d-id\",\"name\":\"d\",\"spec\":{\"kind\":\"partition\"}}");
    assert_string_equal(verdict(m, "member-loss", "n3", ",\"volume\":\"v\"", NULL), "drill-under-way");
    put(m, "/drover/state/drill/d-id", "{\"phase\":\"aborted\"}");
    assert_string_equal(verdict(m, "member-loss", "n3", ",\"volume\":\"v\"", NULL), "");
    assert_string_equal(verdict(m, "member-loss", "n9", ",\"volume\":\"v\"", NULL), "node-away");
    mirror_free(m);
}

/* A member is away already: no other one may go, by whatever fault. */
static void too_few_left(void **state)
{
    static const char *const conditions[] = {"missing", "resyncing", "outdated"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct mirror *m = cluster(conditions[i], "true");
        assert_string_equal(verdict(m, "node-power-loss", "n2", "", NULL), "no-quorum");
        assert_string_equal(verdict(m, "partition", "n2", "", NULL), "no-quorum");
        assert_string_equal(verdict(m, "member-loss", "n1", ",\"volume\":\"v\"", NULL), "no-quorum");
        assert_string_equal(verdict(m, "slow-disk", "n2", ",\"volume\":\"v\"", NULL), "no-quorum");
        assert_string_equal(verdict(m, "member-loss", "n3", ",\"volume\":\"v\"", NULL), ""); /* the one that is away */
        mirror_free(m);
    }
}

static void unprotected(void **state)
{
    struct mirror *m = cluster("in-sync", "false");
    (void)state;
    assert_string_equal(verdict(m, "node-power-loss", "n2", "", NULL), "unprotected");
    assert_string_equal(verdict(m, "partition", "n2", "", NULL), "unprotected");
    assert_string_equal(verdict(m, "node-power-loss", "n2", ",\"also_unprotected\":true", NULL), "");
    assert_string_equal(verdict(m, "node-power-loss", "n2", ",\"guests\":[\"g\"]", NULL), "");
    assert_string_equal(verdict(m, "node-power-loss", "n3", "", NULL), ""); /* it runs elsewhere */
    mirror_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(allowed), cmocka_unit_test(refused),
                                       cmocka_unit_test(too_few_left), cmocka_unit_test(unprotected)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
