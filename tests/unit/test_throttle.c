/* The token bucket by its own arithmetic, and the driver's order and accounting. Elapsed time is
 * only ever checked from below, by the loop's clock. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nbd/bucket.h"
#include "node/base/err.h"

enum { SECOND = 1000000000, MS = 1000000, FLIGHT = 8 };

/* ---- bucket ---- */

static void holds_the_rate(void **state)
{
    (void)state;
    uint64_t now = 5 * (uint64_t)SECOND;
    struct bucket b = bucket_of(100, 10, now);
    for (int i = 0; i < 10; i++) {
        assert_true(bucket_ready_ns(&b, 1) <= now);
        bucket_take(&b, 1, now);
    }
    for (int i = 0; i < 1000; i++) { /* then one every 10 ms, to the nanosecond */
        assert_int_equal(bucket_ready_ns(&b, 1), now + 10 * MS);
        now += 10 * MS;
        bucket_take(&b, 1, now);
    }
}

static void flows_over(void **state)
{
    (void)state;
    uint64_t now = 5 * (uint64_t)SECOND;
    struct bucket b = bucket_of(100, 10, now);
    now += 3600 * (uint64_t)SECOND; /* an hour's rest is worth no more than the burst */
    for (int i = 0; i < 10; i++)
        bucket_take(&b, 1, now);
    assert_int_equal(bucket_ready_ns(&b, 1), now + 10 * MS);
}

static void goes_into_debt(void **state)
{
    (void)state;
    uint64_t now = 5 * (uint64_t)SECOND;
    struct bucket b = bucket_of(1000, 100, now);
    assert_true(bucket_ready_ns(&b, 5000) <= now); /* full: anything passes */
    bucket_take(&b, 5000, now);
    /* 4900 of debt at 1000 a second, then 1 more token */
    assert_int_equal(bucket_ready_ns(&b, 1), now + 4900 * (uint64_t)MS + MS);
    /* the next giant waits for a full bucket, not for ever */
    assert_int_equal(bucket_ready_ns(&b, 5000), now + 5000 * (uint64_t)MS);
}

static void bears_extremes(void **state)
{
    (void)state;
    struct bucket none = bucket_of(0, 1, 7);
    bucket_take(&none, UINT64_MAX, 7);
    assert_int_equal(bucket_ready_ns(&none, UINT64_MAX), 0);
    struct bucket slow = bucket_of(1, UINT64_MAX, 7);
    assert_true(bucket_ready_ns(&slow, UINT64_MAX) <= 7); /* full, though the clock has just begun */
    bucket_take(&slow, UINT64_MAX, 7);
    bucket_take(&slow, UINT64_MAX, 7);
    bucket_take(&slow, UINT64_MAX, 7);
    assert_true(bucket_ready_ns(&slow, 1) > 365 * (uint64_t)86400 * SECOND);
    struct bucket fast = bucket_of(UINT64_MAX, UINT64_MAX, 7);
    bucket_take(&fast, 1, 7);
    assert_true(bucket_ready_ns(&fast, 1) <= 8);
}

/* ---- driver ---- */

struct flight {
    struct blk_req req[FLIGHT];
    struct iovec iov;
    int order[FLIGHT];
    int finished;
};

static struct flight flight;

static void landed(struct blk_req *req)
{
    assert_int_equal(req->result, 0);
    flight.order[flight.finished++] = (int)(req - flight.req);
}

static void nothing(struct loop_job *job)
{
    (void)job;
}

/* A turn that does not wait: it brings the loop's clock up to date. */
static void turn(struct fixture *f)
{
    static struct loop_job tick = {.run = nothing};
    loop_defer(f->env.loop, &tick);
    loop_step(f->env.loop);
}

/* Submits the ops at once, waits for all, and returns how long it took by the loop's clock. */
static uint64_t fly(struct fixture *f, const enum blk_op *ops, int count, uint64_t length_bytes)
{
    static char data[65536];
    memset(&flight, 0, sizeof flight);
    flight.iov = (struct iovec){data, length_bytes};
    turn(f);
    uint64_t begin_ns = loop_now_ns(f->env.loop);
    for (int i = 0; i < count; i++) {
        flight.req[i] = (struct blk_req){.op = ops[i],
                                         .offset = 0,
                                         .length_bytes = ops[i] == BLK_FLUSH ? 0 : length_bytes,
                                         .iov = &flight.iov,
                                         .iov_count = 1,
                                         .done = landed};
        blk_submit(f->blk, &flight.req[i]);
    }
    while (flight.finished < count)
        loop_step(f->env.loop);
    return loop_now_ns(f->env.loop) - begin_ns;
}

static void open_throttled(struct fixture *f, const char *options)
{
    char stack[256];
    snprintf(stack, sizeof stack, "[{\"driver\":\"throttle\",%s},{\"driver\":\"mem\",\"size\":\"1M\"}]", options);
    fixture_open(f, stack, 0);
}

static void limits_operations(void **state)
{
    static const enum blk_op ops[FLIGHT] = {BLK_WRITE, BLK_READ, BLK_ZERO, BLK_TRIM,
                                            BLK_READ,  BLK_READ, BLK_READ, BLK_READ};
    open_throttled(*state, "\"iops\":200,\"iops-burst\":1");
    assert_true(fly(*state, ops, FLIGHT, 512) >= (FLIGHT - 1) * 5 * MS);
}

static void limits_bytes(void **state)
{
    static const enum blk_op ops[FLIGHT] = {BLK_WRITE, BLK_WRITE, BLK_READ, BLK_READ, BLK_READ};
    open_throttled(*state, "\"bps\":\"1M\",\"bps-burst\":8192");
    /* 5 x 8 KiB, the first one free: 32 KiB at 1 MiB/s */
    assert_true(fly(*state, ops, 5, 8192) >= 31 * MS);
}

static void keeps_the_order(void **state)
{
    static const enum blk_op ops[FLIGHT] = {BLK_WRITE, BLK_WRITE, BLK_FLUSH, BLK_READ,
                                            BLK_FLUSH, BLK_ZERO,  BLK_FLUSH, BLK_READ};
    open_throttled(*state, "\"iops\":500,\"iops-burst\":1,\"bps\":\"100M\"");
    fly(*state, ops, FLIGHT, 4096);
    for (int i = 0; i < FLIGHT; i++)
        assert_int_equal(flight.order[i], i);
}

static void lets_the_giant_pass(void **state)
{
    static const enum blk_op ops[] = {BLK_WRITE, BLK_FLUSH, BLK_READ};
    open_throttled(*state, "\"bps\":\"4M\",\"bps-burst\":512");
    /* 64 KiB of debt, less the bucket, before the second may go */
    assert_true(fly(*state, ops, 3, 65536) >= 15 * MS);
}

static void charges_a_discard_one_bucket(void **state)
{
    struct fixture *f = *state;
    static const enum blk_op ops[] = {BLK_READ};
    /* its megabyte at this rate would take 20 minutes; the test would time out */
    open_throttled(f, "\"bps\":1000,\"bps-burst\":10");
    assert_int_equal(fixture_io(f, BLK_TRIM, 0, 0, NULL, 1 << 20), 0);
    assert_int_equal(fixture_io(f, BLK_ZERO, 0, 0, NULL, 1 << 20), 0);
    assert_true(fly(f, ops, 1, 1) < 1000 * (uint64_t)SECOND);
}

static void complains(struct fixture *f, const char *options, const char *about)
{
    char stack[256];
    struct err err = {0};
    struct blk *blk = NULL;
    snprintf(stack, sizeof stack, "[{\"driver\":\"throttle\"%s},{\"driver\":\"mem\",\"size\":1}]", options);
    assert_int_equal(blk_open(&f->env, stack, 0, &blk, &err), -EINVAL);
    if (!strstr(err.text, about))
        fail_msg("%s: '%s' does not say '%s'", options, err.text, about);
}

static void bad_options(void **state)
{
    complains(*state, "", "throttle: limits nothing: give iops, bps or both");
    complains(*state, ",\"iops\":0", "limits nothing");
    complains(*state, ",\"iops\":5,\"bps-burst\":5", "bps-burst needs bps");
    complains(*state, ",\"bps\":5,\"iops-burst\":5", "iops-burst needs iops");
    complains(*state, ",\"bps\":\"fast\"", "throttle: bps: 'fast' is not a size");
    complains(*state, ",\"iops\":-5", "iops must be a number, not negative");
    complains(*state, ",\"iosp\":5", "unknown option 'iosp' (there are: iops, bps");
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_the_rate), cmocka_unit_test(flows_over),      cmocka_unit_test(goes_into_debt),
        cmocka_unit_test(bears_extremes), WITH_FIXTURE(limits_operations),   WITH_FIXTURE(limits_bytes),
        WITH_FIXTURE(keeps_the_order),    WITH_FIXTURE(lets_the_giant_pass), WITH_FIXTURE(charges_a_discard_one_bucket),
        WITH_FIXTURE(bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
