/* Loads over time: read with their units and mistakes, made by a pattern and a seed, written and read again. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/trace_made.h"
#include "node/base/err.h"

enum { DAY = TRACE_STEPS_A_DAY, GUESTS = 400 };

static void is_near(double a, double b)
{
    if (fabs(a - b) > 1e-6 * fmax(1, fabs(b)))
        fail_msg("%.9f is not %.9f", a, b);
}

static void test_units(void **state)
{
    static const char percents[] = "1\t2,3.5\n\n 4 5 100 \r\n", rates[] = "0 1.5K 2e6\n3M 1G 7\n";
    struct trace t;
    (void)state;
    assert_int_equal(trace_read(&t, TRACE_PERCENT, "f", percents, strlen(percents), NULL), 0);
    assert_int_equal(t.rows, 2);
    assert_int_equal(t.steps, 3);
    assert_int_equal(t.last_line, 3);
    is_near(trace_at(&t, 0, 2), 0.035);
    is_near(trace_at(&t, 1, 2), 1);
    is_near(trace_at(&t, 3, 5), 1); /* behind the last come the first again */
    trace_fini(&t);
    assert_int_equal(trace_read(&t, TRACE_BYTES, "f", rates, strlen(rates), NULL), 0);
    is_near(trace_at(&t, 0, 1), 1536);
    is_near(trace_at(&t, 0, 2), 2e6);
    is_near(trace_at(&t, 1, 0), 3 << 20);
    is_near(trace_at(&t, 1, 2), 7);
    trace_fini(&t);
}

static void refuses(enum trace_unit unit, const char *text, const char *why)
{
    struct trace t = {.rows = 77};
    struct err err = {0};
    assert_int_equal(trace_read(&t, unit, "day.tsv", text, strlen(text), &err), -EINVAL);
    if (!strstr(err.text, why))
        fail_msg("'%s' does not say '%s'", err.text, why);
    assert_int_equal(t.rows, 77);
}

static void test_mistakes(void **state)
{
    (void)state;
    refuses(TRACE_PERCENT, "1 2\n3 101\n", "day.tsv:2: '101' is no load: a percentage from 0 to 100 is needed");
    refuses(TRACE_PERCENT, "1 2\n3 1K\n", "day.tsv:2: '1K'");
    refuses(TRACE_PERCENT, "1 -2\n", "day.tsv:1: '-2'");
    refuses(TRACE_PERCENT, "1 nan\n", "'nan'");
    refuses(TRACE_BYTES, "1 2\n\n3 4X\n", "day.tsv:3: '4X' is no load: bytes a second are needed, as 2000000 or 2M");
    refuses(TRACE_BYTES, "-1\n", "'-1'");
    refuses(TRACE_BYTES, "9000T\n", "'9000T'");
    refuses(TRACE_PERCENT, "1 2\n3\n", "day.tsv:2: fewer values than the 2 of the first line");
    refuses(TRACE_PERCENT, "1 2\n3 4\n3 4 5\n", "day.tsv:3: more values than the 2 of the first line");
    refuses(TRACE_PERCENT, "\n \n", "day.tsv: there are no values in it");
    refuses(TRACE_PERCENT, "", "day.tsv: there are no values in it");
}

static struct trace made(enum trace_pattern pattern, int steps, uint64_t seed, const double *means)
{
    struct trace t;
    const struct trace_recipe recipe = {
        .pattern = pattern, .rows = GUESTS, .steps = steps, .seed = seed, .means = means};
    assert_int_equal(trace_make(&t, &recipe, NULL), 0);
    return t;
}

/* The mean of all guests over steps from..to. */
static double mean(const struct trace *t, int from, int to)
{
    double sum = 0;
    for (int row = 0; row < t->rows; row++)
        for (int s = from; s < to; s++)
            sum += trace_at(t, row, s);
    return sum / t->rows / (to - from);
}

static void test_the_same_for_a_seed(void **state)
{
    (void)state;
    for (int k = 0; k < TRACE_PATTERNS; k++) {
        struct trace a = made((enum trace_pattern)k, 3 * DAY, 5, NULL),
                     b = made((enum trace_pattern)k, 3 * DAY, 5, NULL),
                     other = made((enum trace_pattern)k, 3 * DAY, 6, NULL);
        size_t bytes = (size_t)a.rows * (size_t)a.steps * sizeof *a.values, len;
        assert_memory_equal(a.values, b.values, bytes);
        assert_memory_not_equal(a.values, other.values, bytes);
        for (int row = 0; row < a.rows; row++)
            for (int s = 0; s < a.steps; s++)
                assert_true(trace_at(&a, row, s) >= 0 && trace_at(&a, row, s) <= 1);
        trace_fini(&b);
        char *text = trace_write(&a, &len);
        assert_non_null(text);
        assert_int_equal(trace_read(&b, TRACE_PERCENT, "f", text, len, NULL), 0);
        assert_int_equal(b.rows, a.rows);
        assert_memory_equal(a.values, b.values, bytes);
        free(text);
        trace_fini(&a);
        trace_fini(&b);
        trace_fini(&other);
    }
}

static void test_daily(void **state)
{
    struct trace t = made(TRACE_DAILY, 7 * DAY, 1, NULL), later;
    (void)state;
    double noon = mean(&t, DAY / 2, DAY / 2 + 48), night = mean(&t, 0, 36),
           weekend = mean(&t, 11 * DAY / 2, 11 * DAY / 2 + 48);
    assert_true(noon > 2.5 * night);
    assert_true(noon > 1.5 * weekend && weekend > night);
    const struct trace_recipe recipe = {
        .pattern = TRACE_DAILY, .rows = GUESTS, .steps = DAY, .begin = DAY / 2, .seed = 1};
    assert_int_equal(trace_make(&later, &recipe, NULL), 0); /* it begins at noon */
    assert_true(mean(&later, 0, 48) > 2.5 * mean(&later, DAY / 2, DAY / 2 + 36));
    trace_fini(&t);
    trace_fini(&later);
}

/* A guest is busy for one step of thirty or so; and there are steps with far more of them at once than by chance. */
static void test_bursts(void **state)
{
    struct trace t = made(TRACE_BURSTS, 10 * DAY, 1, NULL);
    double busy = 0, most = 0;
    (void)state;
    for (int s = 0; s < t.steps; s++) {
        double now = 0;
        for (int row = 0; row < t.rows; row++)
            now += trace_at(&t, row, s) >= 0.4;
        busy += now;
        most = now > most ? now : most;
    }
    busy /= (double)t.steps * t.rows;
    assert_true(busy > 0.02 && busy < 0.08);
    assert_true(most > 2 * busy * t.rows);
    trace_fini(&t);
}

static void test_growth(void **state)
{
    struct trace t = made(TRACE_GROWTH, 30 * DAY, 1, NULL);
    (void)state;
    double grown = mean(&t, 29 * DAY, 30 * DAY) / mean(&t, 0, DAY);
    assert_true(grown > 1.7 && grown < 2.3);
    trace_fini(&t);
}

/* Whoever has a mean keeps it; one who has none is thrown. */
static void test_means(void **state)
{
    double means[GUESTS] = {0};
    (void)state;
    for (int g = 1; g < GUESTS; g++)
        means[g] = 20;
    struct trace t = made(TRACE_DAILY, 5 * DAY, 1, means);
    double most = 0, least = 1;
    for (int g = 1; g < GUESTS; g++) {
        double sum = 0;
        for (int s = 0; s < t.steps; s++)
            sum += trace_at(&t, g, s) / t.steps;
        most = sum > most ? sum : most;
        least = sum < least ? sum : least;
    }
    assert_true(least > 0.19 && most < 0.21);
    assert_true(trace_at(&t, 0, 0) > 0);
    trace_fini(&t);
    struct err err = {0};
    const struct trace_recipe much = {.rows = 200000, .steps = 100000};
    assert_int_equal(trace_make(&t, &much, &err), -EFBIG);
    assert_non_null(strstr(err.text, "2684 steps are the most"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_units), cmocka_unit_test(test_mistakes), cmocka_unit_test(test_the_same_for_a_seed),
        cmocka_unit_test(test_daily), cmocka_unit_test(test_bursts),   cmocka_unit_test(test_growth),
        cmocka_unit_test(test_means),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
