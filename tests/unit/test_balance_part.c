/* A part of a proposed plan: as few of its first moves as bring it, wave by wave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>

#include "node/agent/balance_part.h"

static json_t *move(int number, double score_after, double seconds, double bytes)
{
    return json_pack("{s:i, s:f, s:f, s:f}", "move", number, "score_after", score_after, "seconds", seconds, "bytes",
                     bytes);
}

/* Three waves; the score goes from 10 to 2, by way of 6, 5, 5.5 (somebody is parked) and 2. */
static json_t *plan(void)
{
    return json_pack("{s:{s:f, s:f, s:i, s:f, s:f, s:s, s:[[o, o], [o], [o]]}}", "spec", "score_before", 10.0,
                     "score_after", 2.0, "moves", 4, "seconds", 75.0, "bytes", 1111e6, "summary", "all of it", "waves",
                     move(0, 6, 20, 1e6), move(1, 5, 30, 10e6), move(2, 5.5, 5, 100e6), move(3, 2, 40, 1000e6));
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

static void expect_cost(unsigned percent, double seconds, double bytes, const char *summary)
{
    json_t *value = plan(), *spec = json_object_get(value, "spec");
    balance_part(value, percent);
    assert_true(json_number_value(json_object_get(spec, "seconds")) == seconds);
    assert_true(json_number_value(json_object_get(spec, "bytes")) == bytes);
    assert_string_equal(json_string_value(json_object_get(spec, "summary")), summary);
    json_decref(value);
}

/* A wave takes as long as its longest move; what the plan as a whole says stays if all of it is taken. */
static void test_costs(void **state)
{
    (void)state;
    expect_cost(50, 20, 1e6, "1 of 4 moves take the score from 10.00000000 to 6.00000000");
    expect_cost(62, 30, 11e6, "2 of 4 moves take the score from 10.00000000 to 5.00000000");
    expect_cost(99, 75, 1111e6, "4 of 4 moves take the score from 10.00000000 to 2.00000000");
    expect_cost(100, 75, 1111e6, "all of it");
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts), cmocka_unit_test(test_costs),
                                       cmocka_unit_test(test_no_plan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
