/* What earlier migrations tell of a link, and what becomes of a process's answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/migration.h"
#include "node/agent/migration_forecast.h"

static const struct migration_goals goals = {.max_downtime_ms = 300, .within_s = 60};

static void put(struct mirror *m, unsigned number, const char *from, const char *to, const char *state)
{
    char key[80], text[400];
    snprintf(key, sizeof key, "/drover/migration/%u", number);
    snprintf(text, sizeof text,
             "{\"kind\":\"migration\",\"id\":\"%u\",\"name\":\"m%03u\",\"spec\":{\"from\":\"%s\",\"to\":\"%s\"}}",
             number, number, from, to);
    assert_int_equal(mirror_put(m, key, text, strlen(text), 2 * number), 0);
    snprintf(key, sizeof key, "/drover/state/migration/%u", number);
    assert_int_equal(mirror_put(m, key, state, strlen(state), 2 * number + 1), 0);
}

static double asked(const json_t *wish, const char *key)
{
    return json_number_value(json_object_get(wish, key));
}

static void test_nothing_known(void **state)
{
    (void)state;
    char from[MIGRATION_FORECAST_FROM_MAX];
    struct mirror *m = mirror_new();
    put(m, 1, "n1", "n2", "{\"phase\":\"failed\",\"done_bytes\":100000000,\"seconds\":1}");
    json_t *wish = migration_forecast_wish(m, "n1", "n2", &goals, from);
    assert_int_equal(asked(wish, "downtime-ms"), 300);
    assert_int_equal(asked(wish, "within-s"), 60);
    assert_null(json_object_get(wish, "bandwidth"));
    assert_non_null(strstr(from, "is assumed"));
    json_decref(wish);
    mirror_free(m);
}

static void test_learns(void **state)
{
    (void)state;
    char from[MIGRATION_FORECAST_FROM_MAX], text[200];
    struct mirror *m = mirror_new();
    put(m, 1, "n3", "n2", "{\"phase\":\"done\",\"done_bytes\":900000000,\"seconds\":1.02,\"connect_ms\":20}");
    json_t *wish = migration_forecast_wish(m, "n1", "n2", &goals, from);
    assert_in_range(asked(wish, "bandwidth"), 899000000, 901000000); /* better than nothing */
    assert_non_null(strstr(from, "1 migration between other nodes"));
    json_decref(wish);
    /* either way; the newest five; not what is too small to tell */
    for (unsigned i = 2; i < 9; i++) {
        snprintf(text, sizeof text,
                 "{\"phase\":\"done\",\"done_bytes\":%u00000000,\"seconds\":1.01,\"connect_ms\":10,\"downtime_ms\":%u}",
                 i, i * 10);
        put(m, i, i % 2 ? "n1" : "n2", i % 2 ? "n2" : "n1", text);
    }
    put(m, 9, "n1", "n2", "{\"phase\":\"done\",\"done_bytes\":1000,\"seconds\":1,\"link_bandwidth\":5}");
    wish = migration_forecast_wish(m, "n1", "n2", &goals, from);
    assert_in_range(asked(wish, "bandwidth"), 599000000, 601000000); /* of 4, 5, 6, 7, 8 */
    assert_in_range(asked(wish, "fixed-ms"), 59, 61);
    assert_in_range(asked(wish, "connect-ms"), 9, 11);
    assert_non_null(strstr(from, "5 migrations between these nodes"));
    json_decref(wish);
    for (unsigned i = 10; i < 15; i++) /* what was measured while pages went, without what else took its time */
        put(m, i, "n1", "n2",
            "{\"phase\":\"done\",\"done_bytes\":100000000,\"seconds\":5,\"link_bandwidth\":110000000}");
    wish = migration_forecast_wish(m, "n1", "n2", &goals, from);
    assert_in_range(asked(wish, "bandwidth"), 109000000, 111000000);
    json_decref(wish);
    mirror_free(m);
}

static void test_state(void **state)
{
    (void)state;
    json_t *answer = json_pack("{s:b, s:I, s:f, s:f, s:s}", "holds", 0, "bytes", (json_int_t)7, "seconds", 2.5,
                               "downtime-ms", 80.0, "reason", "too fast");
    json_t *s = migration_forecast_state(answer, "a guess");
    assert_int_equal(json_integer_value(json_object_get(s, "predicted_bytes")), 7);
    assert_true(json_is_false(json_object_get(s, "goals_hold")));
    assert_string_equal(json_string_value(json_object_get(s, "goals_reason")), "too fast");
    assert_string_equal(json_string_value(json_object_get(s, "predicted_from")), "a guess");
    json_decref(answer);
    json_decref(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing_known), cmocka_unit_test(test_learns),
                                       cmocka_unit_test(test_state)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
