/* The plan of a migration, played on guests and links that are numbers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hv/migrate_plan.h"

enum { MIB = 1 << 20, MS = 1000000, ROUNDS = 300 };
#define S UINT64_C(1000000000)

struct played {
    uint64_t memory, working_set; /* bytes */
    double dirty_rate;            /* bytes a second, unthrottled */
    double bandwidth;
};

struct outcome {
    enum migrate_step step;
    unsigned rounds, throttle;
    uint64_t total_ns, downtime_ns, predicted_ns;
    char text[320];
};

static struct outcome play(const struct played *guest, const struct migrate_goal *goal)
{
    struct migrate_sample s = {.fixed_ns = 3 * MS, .bandwidth = (uint64_t)guest->bandwidth};
    struct outcome o = {.step = MIGRATE_STEP_COPY};
    uint64_t left = guest->memory;
    for (s.round = 0; s.round < ROUNDS; s.round++) {
        struct migrate_plan plan;
        s.before_bytes = s.round ? left : UINT64_MAX;
        s.sent_bytes = left;
        s.round_ns = (uint64_t)((double)left / guest->bandwidth * 1e9) + 1;
        s.elapsed_ns += s.round_ns;
        double dirtied = guest->dirty_rate * (MIGRATE_THROTTLE_WHOLE - s.throttle) / MIGRATE_THROTTLE_WHOLE *
                         (double)s.round_ns / 1e9;
        left = (uint64_t)(dirtied < (double)guest->working_set ? dirtied : (double)guest->working_set);
        s.left_bytes = left;
        s.stalled_rounds = left >= s.before_bytes / 10 * 9 ? s.stalled_rounds + 1 : 0;
        double rate = guest->dirty_rate * (MIGRATE_THROTTLE_WHOLE - s.throttle) / MIGRATE_THROTTLE_WHOLE;
        s.write_rate = migrate_plan_wants_rate(goal, &s) ? (uint64_t)rate + 1 : 0;
        migrate_plan(goal, &s, &plan);
        if (!s.round)
            o.predicted_ns = s.elapsed_ns + plan.remaining_ns;
        s.throttle = plan.throttle;
        o.step = plan.step;
        o.rounds = s.round + 1;
        o.throttle = plan.throttle;
        strcpy(o.text, plan.text);
        if (plan.step == MIGRATE_STEP_STOP || plan.step == MIGRATE_STEP_LATE || plan.step == MIGRATE_STEP_GIVE_UP)
            break;
    }
    o.downtime_ns = (uint64_t)((double)left / guest->bandwidth * 1e9) + s.fixed_ns;
    o.total_ns = s.elapsed_ns + o.downtime_ns;
    return o;
}

static void test_idle(void **state)
{
    (void)state;
    struct outcome o =
        play(&(struct played){512 * MIB, MIB, 1e5, 1e9}, &(struct migrate_goal){100 * MS, 0, true, false});
    assert_int_equal(o.step, MIGRATE_STEP_STOP);
    assert_true(o.rounds <= 2);
    assert_int_equal(o.throttle, 0);
    assert_true(o.downtime_ns <= 10 * MS); /* far below what is allowed, as it costs nothing */
}

/* Half as fast as the link: rounds shrink by themselves. */
static void test_converges(void **state)
{
    (void)state;
    struct outcome o =
        play(&(struct played){512 * MIB, 512 * MIB, 4e8, 1e9}, &(struct migrate_goal){20 * MS, 0, true, false});
    assert_int_equal(o.step, MIGRATE_STEP_STOP);
    assert_int_equal(o.throttle, 0);
    assert_true(o.rounds > 2 && o.rounds < 10);
    assert_true(o.downtime_ns <= 20 * MS);
    uint64_t error = o.predicted_ns > o.total_ns ? o.predicted_ns - o.total_ns : o.total_ns - o.predicted_ns;
    assert_true(error < o.total_ns / 4);
}

static void test_throttles(void **state)
{
    (void)state;
    struct played busy = {512 * MIB, 128 * MIB, 3e9, 1e9};
    struct outcome o = play(&busy, &(struct migrate_goal){20 * MS, 0, true, false});
    assert_int_equal(o.step, MIGRATE_STEP_STOP);
    assert_true(o.throttle >= 500);
    assert_true(o.downtime_ns <= 20 * MS);
    assert_true(o.rounds < 10);
    assert_true(o.total_ns < 2 * S);
    o = play(&busy, &(struct migrate_goal){200 * MS, 0, true, false}); /* which its working set fits into */
    assert_int_equal(o.step, MIGRATE_STEP_STOP);
    assert_int_equal(o.throttle, 0);
}

static void test_gives_up(void **state)
{
    (void)state;
    struct played busy = {512 * MIB, 128 * MIB, 3e9, 2.5e8};
    struct outcome o = play(&busy, &(struct migrate_goal){20 * MS, 0, false, false});
    assert_int_equal(o.step, MIGRATE_STEP_GIVE_UP);
    assert_true(o.rounds < 20);
    assert_non_null(strstr(o.text, "the link takes 250 MB/s"));
    o = play(&busy, &(struct migrate_goal){20 * MS, 3 * S, false, false});
    assert_int_equal(o.step, MIGRATE_STEP_GIVE_UP);
    assert_non_null(strstr(o.text, "within 3 s"));
    /* what cannot be in that time is not tried for ever either, however hard it is throttled */
    o = play(&(struct played){8192ull * MIB, 4096ull * MIB, 3e9, 1e6},
             &(struct migrate_goal){20 * MS, 10 * S, true, false});
    assert_int_equal(o.step, MIGRATE_STEP_GIVE_UP);
}

/* Whatever guest and link are: it ends, by one step or the other, and a stop keeps what it promised. */
static void test_always_ends(void **state)
{
    (void)state;
    static const double rates[] = {0, 1e3, 1e7, 3e8, 1e9, 2e10}, links[] = {1e5, 1e7, 1e8, 1e9, 1e10};
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++)
        for (unsigned k = 0; k < sizeof links / sizeof *links; k++)
            for (unsigned throttles = 0; throttles < 2; throttles++) {
                struct migrate_goal goal = {50 * MS, 0, throttles, false};
                struct outcome o = play(&(struct played){64 * MIB, 32 * MIB, rates[i], links[k]}, &goal);
                assert_true(o.step == MIGRATE_STEP_STOP || o.step == MIGRATE_STEP_GIVE_UP);
                assert_true(o.step == MIGRATE_STEP_GIVE_UP || o.downtime_ns <= goal.downtime_ns);
                assert_true(o.throttle <= MIGRATE_THROTTLE_MAX);
                assert_true(throttles || !o.throttle);
            }
}

/* Post-copy is for what would be given up, and for nothing else: with it each guest goes, the others as without. */
static void test_late_only_where_given_up(void **state)
{
    (void)state;
    static const double rates[] = {0, 1e3, 1e7, 3e8, 1e9, 2e10}, links[] = {1e5, 1e7, 1e8, 1e9, 1e10};
    unsigned late = 0;
    for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++)
        for (unsigned k = 0; k < sizeof links / sizeof *links; k++)
            for (unsigned how = 0; how < 4; how++) {
                struct migrate_goal goal = {50 * MS, how & 2 ? 5 * S : 0, how & 1, false};
                const struct played guest = {64 * MIB, 32 * MIB, rates[i], links[k]};
                struct outcome without = play(&guest, &goal);
                goal.late = true;
                struct outcome with = play(&guest, &goal);
                assert_int_equal(with.step == MIGRATE_STEP_LATE, without.step == MIGRATE_STEP_GIVE_UP);
                assert_true(with.step == MIGRATE_STEP_LATE || with.step == without.step);
                assert_int_equal(with.rounds, without.rounds);
                assert_string_equal(with.text, without.text);
                late += with.step == MIGRATE_STEP_LATE;
            }
    assert_true(late > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle),        cmocka_unit_test(test_converges),
        cmocka_unit_test(test_throttles),   cmocka_unit_test(test_gives_up),
        cmocka_unit_test(test_always_ends), cmocka_unit_test(test_late_only_where_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
