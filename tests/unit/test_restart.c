/* Whether a guest is started again: policies, attempts within their window, what another agent goes on with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <string.h>

#include "node/agent/restart.h"
#include "node/base/err.h"

static struct restart_policy policy(const char *text)
{
    json_t *plan = json_loads(text, 0, NULL);
    assert_non_null(plan);
    struct restart_policy p = restart_policy_of(plan);
    json_decref(plan);
    return p;
}

static void test_policies(void **state)
{
    (void)state;
    struct restart_policy p = policy("{}");
    assert_int_equal(p.attempts, RESTART_ATTEMPTS);
    assert_int_equal(p.window_ms, 600000);
    assert_int_equal(p.delay_ms, 1000);
    for (unsigned i = 0; i < RESTART_CAUSES; i++)
        assert_int_equal(p.on[i], RESTART_AGAIN);
    p = policy("{\"restart\": \"never\", \"on_hang\": \"restart\", \"restart_delay\": 5000, \"restart_attempts\": 0}");
    assert_int_equal(p.on[RESTART_CRASHED], RESTART_STOP);
    assert_int_equal(p.on[RESTART_PANICKED], RESTART_STOP);
    assert_int_equal(p.on[RESTART_HUNG], RESTART_AGAIN);
    assert_int_equal(p.delay_ms, 5000);
    assert_int_equal(p.attempts, 0);
    p = policy("{\"on_panic\": \"keep\", \"on_crash\": \"stop\", \"restart_attempts\": 1000}");
    assert_int_equal(p.on[RESTART_PANICKED], RESTART_KEEP);
    assert_int_equal(p.on[RESTART_CRASHED], RESTART_STOP);
    assert_int_equal(p.attempts, RESTART_ATTEMPTS_MAX);
}

static void test_attempts(void **state)
{
    (void)state;
    struct restart_policy p = policy("{\"restart_attempts\": 3, \"restart_window\": 10000}");
    struct restart_record r = {0};
    struct err err = {0};
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(restart_judge(&r, &p, RESTART_HUNG, "a", 1000 + i * 1000), RESTART_AGAIN);
    assert_int_equal(restart_judge(&r, &p, RESTART_PANICKED, "a", 10999), RESTART_GIVE_UP);
    assert_true(r.down);
    assert_int_equal(r.count, 3);
    restart_explain(&r, &p, &err);
    assert_non_null(strstr(err.text, "panicked again after 3 restarts within 10 s"));
    assert_false(restart_forgive(&r, "a")); /* nobody has asked since */
    assert_true(restart_forgive(&r, "b"));
    assert_int_equal(restart_judge(&r, &p, RESTART_CRASHED, "b", 11000), RESTART_AGAIN);
    assert_int_equal(r.count, 4);
}

/* Who goes down now and then is started again for ever. */
static void test_window(void **state)
{
    (void)state;
    struct restart_policy p = policy("{\"restart_attempts\": 3, \"restart_window\": 10000}");
    struct restart_record r = {0};
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(restart_judge(&r, &p, RESTART_CRASHED, "", 100000 + i * 3334), RESTART_AGAIN);
    assert_int_equal(r.count, 1000);
    p.attempts = 0;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(restart_judge(&r, &p, RESTART_CRASHED, "", 4000000), RESTART_AGAIN);
}

static void test_stop_and_keep(void **state)
{
    (void)state;
    struct restart_policy p = policy("{\"on_panic\": \"keep\", \"on_hang\": \"stop\"}");
    struct restart_record r = {0};
    struct err err = {0};
    assert_int_equal(restart_judge(&r, &p, RESTART_PANICKED, "", 1), RESTART_KEEP);
    assert_int_equal(r.count + r.down, 0);
    assert_int_equal(restart_judge(&r, &p, RESTART_HUNG, "", 1), RESTART_STOP);
    restart_explain(&r, &p, &err);
    assert_string_equal(err.text, "stays down: it hung; `drover guest start` starts it again");
}

/* Another agent knows what this one knew. */
static void test_handed_on(void **state)
{
    (void)state;
    struct restart_policy p = policy("{\"restart_attempts\": 2}");
    struct restart_record r = {0}, then;
    assert_int_equal(restart_judge(&r, &p, RESTART_PANICKED, "x", 5), RESTART_AGAIN);
    json_t *json = restart_record_json(&r);
    assert_int_equal(json_integer_value(json_object_get(json, "count")), 1);
    assert_string_equal(json_string_value(json_object_get(json, "reason")), "panicked");
    restart_record_read(&then, json, 7000000);
    json_decref(json);
    assert_int_equal(restart_judge(&then, &p, RESTART_CRASHED, "x", 7000000), RESTART_AGAIN);
    assert_int_equal(restart_judge(&then, &p, RESTART_CRASHED, "x", 7000000), RESTART_GIVE_UP);
    json = restart_record_json(&then);
    restart_record_read(&r, json, 9000000);
    json_decref(json);
    assert_true(r.down);
    assert_int_equal(r.count, 2);
    assert_false(restart_forgive(&r, "x"));
    /* an hour ago */
    json =
        json_pack("{s:i, s:s, s:s, s:i}", "count", 9, "at", "2020-01-01T00:00:00.000Z", "reason", "hung", "recent", 2);
    restart_record_read(&r, json, 9000000);
    json_decref(json);
    assert_int_equal(restart_judge(&r, &p, RESTART_HUNG, "", 9000000), RESTART_AGAIN);
    /* nonsense is nothing */
    json = json_pack("{s:i, s:s, s:i, s:i}", "count", -4, "at", "yesterday", "reason", 7, "recent", 100000);
    restart_record_read(&r, json, 5);
    json_decref(json);
    assert_int_equal(r.count, 0);
    assert_int_equal(r.recent, RESTART_ATTEMPTS_MAX);
    restart_record_read(&r, NULL, 5);
    assert_int_equal(r.count + r.recent, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies),      cmocka_unit_test(test_attempts),  cmocka_unit_test(test_window),
        cmocka_unit_test(test_stop_and_keep), cmocka_unit_test(test_handed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
