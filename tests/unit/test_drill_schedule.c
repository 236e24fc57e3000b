/* When a drill that comes by itself is due. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "node/agent/drill_schedule.h"

/* "2026-11-26 03:30:00" in UTC; a Thursday. */
static int64_t at(const char *text)
{
    struct tm tm = {0};
    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    return timegm(&tm);
}

/* The beginning of the window, or 0: it is not due. */
static int64_t due(const char *day, const char *hour, int window_min, const char *now)
{
    int64_t since = 0;
    json_t *spec = json_pack("{s:s, s:s, s:i}", "day", day, "at", hour, "window", window_min * 60000);
    bool is = drill_schedule_is_due(spec, at(now), &since);
    json_decref(spec);
    return is ? since : 0;
}

static void windows(void **state)
{
    (void)state;
    assert_int_equal(due("thu", "03:30", 60, "2026-11-26 03:29:59"), 0);
    assert_int_equal(due("thu", "03:30", 60, "2026-11-26 03:30:00"), at("2026-11-26 03:30:00"));
    assert_int_equal(due("thu", "03:30", 60, "2026-11-26 04:29:59"), at("2026-11-26 03:30:00"));
    assert_int_equal(due("thu", "03:30", 60, "2026-11-26 04:30:00"), 0);
    assert_int_equal(due("wed", "03:30", 60, "2026-11-26 03:40:00"), 0);
    assert_int_equal(due("sun", "00:00", 1, "2026-11-29 00:00:59"), at("2026-11-29 00:00:00"));
    assert_int_equal(due("daily", "03:30", 60, "2026-11-27 03:40:00"), at("2026-11-27 03:30:00"));
}

/* A window that goes on past midnight belongs to the day on which it began. */
static void past_midnight(void **state)
{
    (void)state;
    assert_int_equal(due("thu", "23:30", 120, "2026-11-27 00:45:00"), at("2026-11-26 23:30:00"));
    assert_int_equal(due("fri", "23:30", 120, "2026-11-27 00:45:00"), 0);
    assert_int_equal(due("sat", "23:30", 120, "2026-11-29 01:29:59"), at("2026-11-28 23:30:00"));
    assert_int_equal(due("daily", "00:00", 1440, "2026-11-27 23:59:59"), at("2026-11-27 00:00:00"));
}

static void times(void **state)
{
    static const char *const right[] = {"00:00", "23:59", "03:30"};
    static const char *const wrong[] = {"", "24:00", "3:30", "03:60", "03-30", "03:3x", "-1:00"};
    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        json_t *value = json_string(right[i]);
        assert_null(drill_schedule_check_at(value));
        json_decref(value);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *value = json_string(wrong[i]);
        assert_non_null(drill_schedule_check_at(value));
        json_decref(value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows), cmocka_unit_test(past_midnight),
                                       cmocka_unit_test(times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
