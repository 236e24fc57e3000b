/* Migrations that are told before they begin: guests that are curves, links that are numbers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/migrate_forecast.h"

enum { MIB = 1 << 20, MS = 1000000 };
#define S UINT64_C(1000000000)

/* Writes `rate` bytes a second, to new places until it has been everywhere in `set`. */
static struct migrate_outlook guest_that_writes(uint64_t rate, uint64_t set, uint64_t present)
{
    struct migrate_outlook o = {.memory_bytes = 512ull * MIB,
                                .present_bytes = present,
                                .bandwidth = 1000000000,
                                .connect_ns = 20 * MS,
                                .round_ns = MS,
                                .fixed_ns = 5 * MS};
    for (uint64_t ms = 10; ms <= 200; ms += 38) {
        uint64_t bytes = rate / 1000 * ms;
        o.curve[o.points++] = (struct migrate_curve_point){ms * MS, bytes < set ? bytes : set};
    }
    return o;
}

static void test_curve(void **state)
{
    (void)state;
    struct migrate_outlook o = guest_that_writes(100 * MIB, 10 * MIB, 0);
    assert_in_range(migrate_outlook_written(&o, 5 * MS), MIB / 2 - 4096, MIB / 2 + 4096);
    assert_in_range(migrate_outlook_written(&o, 29 * MS), 29 * MIB / 10 - 65536, 29 * MIB / 10 + 65536);
    assert_int_equal(migrate_outlook_written(&o, 10 * S), 10 * MIB); /* it writes nowhere else */
    o = guest_that_writes(100 * MIB, 1 << 30, 0);
    assert_in_range(migrate_outlook_written(&o, S), 99 * MIB, 101 * MIB);  /* it goes on so */
    assert_int_equal(migrate_outlook_written(&o, 1000 * S), 512ull * MIB); /* that is all there is */
    o.points = 0;
    assert_int_equal(migrate_outlook_written(&o, S), 0);
}

static void test_idle(void **state)
{
    (void)state;
    struct migrate_outlook o = guest_that_writes(100000, 1 << 30, 100 * MIB);
    struct migrate_forecast f;
    migrate_forecast(&(struct migrate_goal){100 * MS, 60 * S, true, false}, &o, &f);
    assert_true(f.holds && f.ends);
    assert_string_equal(f.text, "");
    assert_in_range(f.bytes, 100ull * MIB, 101ull * MIB);
    assert_in_range(f.total_ns, 125 * MS, 140 * MS); /* 105 ms of bytes */
    assert_in_range(f.downtime_ns, 5 * MS, 6 * MS);
    assert_int_equal(f.throttle, 0);
    assert_in_range(f.rounds, 2, 3);
}

/* Where compressing pays the link is as good as a faster one, up to what the processor compresses. */
static void test_compressed(void **state)
{
    (void)state;
    struct migrate_goal goal = {100 * MS, 60 * S, true, false};
    struct migrate_outlook o = guest_that_writes(100000, 1 << 30, 100 * MIB);
    struct migrate_forecast plain, packed;
    o.bandwidth = 100000000;
    migrate_forecast(&goal, &o, &plain);
    assert_true(plain.left == 1);
    o.packs = 1;
    o.packed[0] = (struct migrate_packed){2.5, 0.4};
    migrate_forecast(&goal, &o, &packed);
    assert_true(packed.left == 0.4);
    assert_in_range(packed.bytes, plain.bytes / 10 * 4 - MIB, plain.bytes / 10 * 4 + MIB);
    assert_in_range(packed.total_ns, plain.total_ns / 10 * 4, plain.total_ns / 2);
    o.streams = 2; /* whose first megabytes go as they are */
    migrate_forecast(&goal, &o, &packed);
    assert_true(packed.left > 0.411 && packed.left < 0.413);
    o.streams = 0;
    o.packed[0].left = 0.1; /* 400 MB/s at the most */
    migrate_forecast(&goal, &o, &packed);
    assert_in_range(packed.total_ns, plain.total_ns / 4, plain.total_ns / 3);
    o.packs = 2; /* half of it does not shrink */
    o.packed[1] = (struct migrate_packed){2.5, 0.99};
    migrate_forecast(&goal, &o, &packed);
    assert_true(packed.left > 0.549 && packed.left < 0.551);
    o.bandwidth = 1000000000; /* faster than that */
    migrate_forecast(&goal, &o, &packed);
    assert_true(packed.left == 1);
    assert_in_range(packed.bytes, 100ull * MIB, 101ull * MIB);
}

/* What the guest rewrites faster than the link takes it is sent while it is held. */
static void test_throttled(void **state)
{
    (void)state;
    struct migrate_outlook o = guest_that_writes(3000000000, 128 * MIB, 200 * MIB);
    struct migrate_forecast f;
    migrate_forecast(&(struct migrate_goal){50 * MS, 0, true, false}, &o, &f);
    assert_true(f.holds);
    assert_true(f.throttle >= 500);
    assert_true(f.downtime_ns <= 50 * MS);
    assert_true(f.bytes > 200ull * MIB && f.bytes < 700ull * MIB);
    migrate_forecast(&(struct migrate_goal){200 * MS, 0, true, false}, &o, &f); /* its working set fits */
    assert_true(f.holds);
    assert_int_equal(f.throttle, 0);
}

/* What is written to lies behind all else, and has been written again when the first round comes to it; or before it.
 */
static void test_places(void **state)
{
    (void)state;
    struct migrate_goal goal = {50 * MS, 0, true, false};
    struct migrate_outlook o = guest_that_writes(3000000000, 128 * MIB, 192 * MIB);
    struct migrate_forecast behind, before;
    for (unsigned i = 0; i < MIGRATE_SLICES; i++)
        o.hot[i] = i >= MIGRATE_SLICES / 3;
    migrate_forecast(&goal, &o, &behind);
    assert_in_range(behind.bytes, 192ull * MIB, 215ull * MIB);
    for (unsigned i = 0; i < MIGRATE_SLICES; i++)
        o.hot[i] = i < MIGRATE_SLICES * 2 / 3;
    migrate_forecast(&goal, &o, &before);
    assert_true(before.bytes > behind.bytes + 15 * MIB);
}

/* What the look has seen is not all that it writes to. */
static void test_ever_new_places(void **state)
{
    (void)state;
    struct migrate_goal goal = {100 * MS, 0, true, false};
    struct migrate_outlook o = guest_that_writes(100000000, 1 << 30, 400ull * MIB);
    struct migrate_forecast f;
    o.bandwidth = 110000000;
    for (unsigned i = 0; i < MIGRATE_SLICES; i++)
        o.hot[i] = 0.05;
    migrate_forecast(&goal, &o, &f);
    assert_in_range(f.bytes, 400ull * MIB, 700ull * MIB);
    for (unsigned i = 0; i < MIGRATE_SLICES; i++)
        o.hot[i] = i % 2;
    migrate_forecast(&goal, &o, &f);
    assert_in_range(f.bytes, 400ull * MIB, 700ull * MIB);
}

static void test_does_not_hold(void **state)
{
    (void)state;
    struct migrate_outlook o = guest_that_writes(3000000000, 128 * MIB, 200 * MIB);
    struct migrate_forecast f;
    migrate_forecast(&(struct migrate_goal){50 * MS, 0, false, false}, &o, &f); /* it must not be held */
    assert_false(f.holds || f.ends);
    assert_non_null(strstr(f.text, "the guest dirties"));
    o = guest_that_writes(100000, 1 << 30, 500 * MIB);
    o.bandwidth = 10 * MIB;
    migrate_forecast(&(struct migrate_goal){100 * MS, 10 * S, true, false}, &o, &f);
    assert_false(f.holds);
    assert_true(*f.text);
    o.bandwidth = 1000000000;
    o.fixed_ns = 80 * MS;
    migrate_forecast(&(struct migrate_goal){50 * MS, 0, true, false}, &o, &f); /* the switch-over alone takes longer */
    assert_false(f.holds);
    assert_true(*f.text);
}

/* Whatever is put in, it comes to an end, and no figure is nonsense. */
static void test_always_ends(void **state)
{
    (void)state;
    static const uint64_t rates[] = {0, 1000, 10000000, 1000000000, 100000000000};
    for (unsigned i = 0; i < 5; i++)
        for (uint64_t bandwidth = 1; bandwidth < UINT64_C(1000000000000); bandwidth *= 100) {
            struct migrate_outlook o = guest_that_writes(rates[i], 400ull * MIB, 512ull * MIB);
            struct migrate_forecast f;
            o.bandwidth = bandwidth;
            for (unsigned slice = 0; slice < MIGRATE_SLICES; slice++)
                o.hot[slice] = (i + slice) % 3 / 2.0;
            o.packs = i;
            o.packed[0] = (struct migrate_packed){2.5, 0.4};
            migrate_forecast(&(struct migrate_goal){20 * MS, i % 2 ? 30 * S : 0, i % 3 != 0, false}, &o, &f);
            assert_true(f.rounds && f.throttle <= MIGRATE_THROTTLE_MAX);
            assert_true(f.holds == !*f.text);
            assert_true(f.ends || *f.text);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_curve),         cmocka_unit_test(test_idle),
                                       cmocka_unit_test(test_compressed),    cmocka_unit_test(test_throttled),
                                       cmocka_unit_test(test_places),        cmocka_unit_test(test_ever_new_places),
                                       cmocka_unit_test(test_does_not_hold), cmocka_unit_test(test_always_ends)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
