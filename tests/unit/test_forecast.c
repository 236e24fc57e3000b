/* What a load will be next, and how wrong that is: what is known after few values, and for how long a jump is
 * remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "balancer/forecast.h"

static void is_near(double a, double b)
{
    if (fabs(a - b) > 1e-9)
        fail_msg("%.9f is not %.9f", a, b);
}

/* Two values are the fewest that say how wrong the first was. */
static void test_few_values(void **state)
{
    struct forecast f = {0};
    double error;
    (void)state;
    forecast_add(&f, 0.2, -1);
    is_near(forecast_next(&f, -1, &error), 0.2);
    is_near(error, 0);
    forecast_add(&f, 0.6, -1);
    is_near(forecast_next(&f, -1, &error), 0.4);
    is_near(error, 0.4);
    forecast_add(&f, 0.4, -1); /* as was said: the mean of both errors' squares */
    is_near(forecast_next(&f, -1, &error), 0.4);
    is_near(error, sqrt(0.16 / 2));
    assert_int_equal(FORECAST_STEPS_NEEDED, 2);
}

/* The level is what it was before within two hours (24 values of five minutes); that it may jump is known for longer.
 */
static void test_a_jump_is_remembered(void **state)
{
    struct forecast f = {0};
    double error;
    (void)state;
    for (int i = 0; i < 100; i++)
        forecast_add(&f, 0.1, -1);
    forecast_next(&f, -1, &error);
    is_near(error, 0);
    forecast_add(&f, 0.9, -1);
    for (int i = 0; i < 24; i++)
        forecast_add(&f, 0.1, -1);
    assert_true(forecast_next(&f, -1, &error) < 0.11);
    assert_true(error > 0.08); /* a tenth of the jump */
}

/* Days that are alike are believed, as soon as some have shown it. */
static void test_the_day_before(void **state)
{
    struct forecast f = {0};
    double error;
    (void)state;
    for (int i = 0; i < 40; i++) {
        double value = i % 2 ? 0.8 : 0.2, next = forecast_next(&f, value, &error);
        assert_true(i >= FORECAST_SEASONS_NEEDED + 1 ? fabs(next - value) < 0.01 : next == f.level);
        forecast_add(&f, value, value);
    }
    forecast_add(&f, 0.21, 0.2);
    assert_true(forecast_next(&f, 0.8, &error) > 0.79 && error < 0.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_values),
        cmocka_unit_test(test_a_jump_is_remembered),
        cmocka_unit_test(test_the_day_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
