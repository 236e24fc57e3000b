/* When a transfer may be done on the loop's thread. The times are made up; the sleep is a real one. */
#include "nbd/raw_inline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#include "nbd/raw_sync.h"

enum { TURN_NS = 1000000000, LENGTH_BYTES = 4096 };

static const struct raw_sync idle_sync = {.lane_count = 1};

static void a_turn_has_a_budget(void **state)
{
    (void)state;
    struct raw_inline inl = {0};
    uint64_t at = TURN_NS, step = RAW_INLINE_TURN_NS / 2;
    assert_true(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS));
    raw_inline_done(&inl, at, at + step - 1);
    assert_true(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS));
    raw_inline_done(&inl, at, at + step + 1);
    assert_false(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS));
    assert_true(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS + 1));
    assert_true(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS + 1));
}

static void a_long_transfer_is_the_workers(void **state)
{
    (void)state;
    struct raw_inline inl = {0};
    assert_true(raw_inline_may(&inl, &idle_sync, RAW_INLINE_MAX_BYTES, TURN_NS));
    assert_false(raw_inline_may(&inl, &idle_sync, RAW_INLINE_MAX_BYTES + 1, TURN_NS));
}

static void a_call_that_slept_is_repaid(void **state)
{
    (void)state;
    struct raw_inline inl = {0};
    uint64_t took = 4 * RAW_INLINE_SLOW_NS, end = TURN_NS + took, again = end + RAW_INLINE_REPAY * took;
    assert_true(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS));
    nanosleep(&(struct timespec){.tv_nsec = 1000}, NULL);
    raw_inline_done(&inl, TURN_NS, end);
    assert_false(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS));
    assert_false(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, again - 1));
    assert_true(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, again));
}

/* The thread lost its processor to another: nothing to be blamed on the disk. */
static void a_call_that_was_only_slow_is_not(void **state)
{
    (void)state;
    struct raw_inline inl = {0};
    assert_true(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS));
    raw_inline_done(&inl, TURN_NS, TURN_NS + 4 * RAW_INLINE_SLOW_NS);
    assert_true(raw_inline_may(&inl, &idle_sync, LENGTH_BYTES, TURN_NS + 1));
}

static void a_sync_gives_it_to_the_workers(void **state)
{
    (void)state;
    struct raw_inline inl = {0};
    struct raw_sync sync = {.lane_count = 2, .lanes[1] = {.busy = true}};
    assert_false(raw_inline_may(&inl, &sync, LENGTH_BYTES, TURN_NS));
    sync.lanes[1].busy = false;
    assert_true(raw_inline_may(&inl, &sync, LENGTH_BYTES, TURN_NS));
    sync.lanes[1].busy = true;
    assert_false(raw_inline_may(&inl, &sync, LENGTH_BYTES, TURN_NS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_has_a_budget),
        cmocka_unit_test(a_long_transfer_is_the_workers),
        cmocka_unit_test(a_call_that_slept_is_repaid),
        cmocka_unit_test(a_call_that_was_only_slow_is_not),
        cmocka_unit_test(a_sync_gives_it_to_the_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
