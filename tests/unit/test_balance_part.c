/* A part of a proposed plan: as few of its first moves as bring it, wave by wave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>

#include "node/agent/balance_part.h"

/* Three waves; the score goes from 10 to 2, by way of 6, 5, 5.5 (somebody is parked) and 2. */
static json_t *plan(void)
{
    return json_pack("{s:{s:f, s:f, s:i, s:[[{s:i, s:f}, {s:i, s:f}], [{s:i, s:f}], [{s:i, s:f}]]}}", "spec",
                     "score_before", 10.0, "score_after", 2.0, "moves", 4, "waves", "move", 0, "score_after", 6.0,
                     "move", 1, "score_after", 5.0, "move", 2, "score_after", 5.5, "move", 3, "score_after", 2.0);
}

static void expect(unsigned percent, unsigned moves, unsigned waves, double after)
{
    json_t *value = plan(), *spec = json_object_get(value, "spec");
    assert_int_equal(balance_part(value, percent), moves);
    assert_int_equal(json_integer_value(json_object_get(spec, "moves")), moves);
    assert_int_equal(json_array_size(json_object_get(spec, "waves")), waves);
    assert_true(json_number_value(json_object_get(spec, "score_after")) == after);
    assert_int_equal(json_integer_value(json_object_get(spec, "part")), percent < 100 ? percent : 0);
    json_decref(value);
}

static void test_parts(void **state)
{
    (void)state;
    expect(1, 1, 1, 6);
    expect(50, 1, 1, 6);
    expect(51, 2, 1, 5);
    expect(62, 2, 1, 5);
    expect(63, 4, 3, 2); /* what is parked goes on */
    expect(99, 4, 3, 2);
    expect(100, 4, 3, 2);
}

/* What the store has may be anything. */
static void test_no_plan(void **state)
{
    (void)state;
    json_t *value = json_pack("{s:{s:s, s:[i, [s]]}}", "spec", "score_before", "high", "waves", 7, "x");
    assert_int_equal(balance_part(value, 50), 0);
    json_decref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_no_plan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
