#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/base/histogram.h"

static void buckets_cover_every_value(void **state)
{
    (void)state;
    for (unsigned b = 0; b + 1 < HISTOGRAM_BUCKETS; b++) {
        uint64_t low = histogram_value(b), next = histogram_value(b + 1);
        assert_true(low < next);
        assert_int_equal(histogram_bucket(low), b);
        assert_int_equal(histogram_bucket(next - 1), b);
        assert_true(next - low <= low / 4 + 1); /* within 25 percent */
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    assert_true(histogram_value(HISTOGRAM_BUCKETS - 1) >= UINT64_C(1) << 40);
}

static void quantiles(void **state)
{
    (void)state;
    struct histogram h = {{0}};
    assert_int_equal(histogram_quantile(&h, 500), 0);
    for (uint64_t v = 1; v <= 1000; v++)
        histogram_add(&h, v * 1000);
    static const unsigned per_mille[] = {1, 100, 500, 900, 990, 999, 1000};
    uint64_t last = 0;
    for (unsigned i = 0; i < sizeof per_mille / sizeof *per_mille; i++) {
        uint64_t q = histogram_quantile(&h, per_mille[i]), exact = per_mille[i] * UINT64_C(1000);
        assert_true(q >= exact);
        assert_true(q <= exact + exact / 4 + 1);
        assert_true(q >= last);
        last = q;
    }
}

static void one_sample_is_every_quantile(void **state)
{
    (void)state;
    struct histogram h = {{0}};
    histogram_add(&h, 5000);
    uint64_t only = histogram_quantile(&h, 500);
    assert_in_range(only, 5000, 6250);
    assert_int_equal(histogram_quantile(&h, 0), only);
    assert_int_equal(histogram_quantile(&h, 1000), only);
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(histogram_quantile(&h, 1000), histogram_value(HISTOGRAM_BUCKETS - 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(buckets_cover_every_value), cmocka_unit_test(quantiles),
                                       cmocka_unit_test(one_sample_is_every_quantile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
