/* The judge is judged: small histories with a known verdict; thousands of random ones against an oracle that takes
 * the rules of judge.h word by word, image by image; and faults worked into a history that holds.
 *
 * usage: power_judge [SEED] */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>

#include "tests/power/dice.h"
#include "tests/power/history.h"
#include "tests/power/judge.h"
#include "tests/power/mutation.h"
#include "tests/power/stamp.h"

enum { SMALL_SECTORS = 3, SMALL_HISTORIES = 8000, SMALL_STEPS = 30, PIECES_MAX = 10, REQUESTS_MAX = 4096 };
enum { LARGE_SECTORS = 64, LARGE_STEPS = 3000, TRIES_MAX = 500 };

static uint64_t seed = 1;

/* ---- histories with a known verdict ---- */

static void begin(struct history *h)
{
    assert_int_equal(history_init(h, SMALL_SECTORS, 64, 64), 0);
}

static void put(struct history *h, uint32_t sector, uint32_t value)
{
    history_add_put(h, sector, 1, &value);
}

static void sync_all(struct history *h, uint32_t id)
{
    history_add_sync(h, HISTORY_SYNC_BEGIN, id);
    history_add_sync(h, HISTORY_SYNC_END, id);
}

static void flush(struct history *h, uint32_t id)
{
    history_add_issue(h, id, HISTORY_FLUSH, false, 0, 0);
    history_add_ack(h, id);
}

/* One sector, one value, from ISSUE to ACK. */
static void write_one(struct history *h, uint32_t id, bool fua)
{
    history_add_issue(h, id, HISTORY_WRITE, fua, 0, 1);
    put(h, 0, id);
    history_add_ack(h, id);
}

/* The verdict falls on the event added last, or never. */
static void expect(struct history *h, enum judge_rule rule)
{
    struct judge_finding f;
    struct judge_tally t;
    assert_int_equal(judge_history(h, &f, &t), 0);
    assert_string_equal(judge_rule_name(f.rule), judge_rule_name(rule));
    if (rule != JUDGE_HOLDS)
        assert_int_equal(f.event, h->event_count - 1);
}

static void end(struct history *h)
{
    history_fini(h);
}

static void test_a_flush_promises(void **state)
{
    struct history h;
    (void)state;
    begin(&h);
    write_one(&h, 1, false);
    expect(&h, JUDGE_HOLDS); /* not flushed: may be lost */
    flush(&h, 2);
    expect(&h, JUDGE_POWER);
    end(&h);

    begin(&h);
    write_one(&h, 1, false);
    sync_all(&h, 0);
    flush(&h, 2);
    expect(&h, JUDGE_HOLDS);
    end(&h);
}

static void test_a_sync_covers_what_was_before_it(void **state)
{
    struct history h;
    (void)state;
    begin(&h);
    history_add_issue(&h, 1, HISTORY_WRITE, true, 0, 1);
    history_add_sync(&h, HISTORY_SYNC_BEGIN, 0);
    put(&h, 0, 1);
    history_add_sync(&h, HISTORY_SYNC_END, 0);
    expect(&h, JUDGE_HOLDS);
    history_add_ack(&h, 1);
    expect(&h, JUDGE_POWER);
    end(&h);

    begin(&h);
    history_add_issue(&h, 1, HISTORY_WRITE, true, 0, 1);
    put(&h, 0, 1);
    history_add_sync(&h, HISTORY_SYNC_BEGIN, 0);
    history_add_ack(&h, 1); /* begun is not ended */
    expect(&h, JUDGE_POWER);
    end(&h);
}

static void test_a_flush_beside_a_write_promises_nothing(void **state)
{
    struct history h;
    (void)state;
    begin(&h);
    history_add_issue(&h, 1, HISTORY_WRITE, false, 0, 1);
    put(&h, 0, 1);
    history_add_issue(&h, 2, HISTORY_FLUSH, false, 0, 0);
    history_add_ack(&h, 1);
    history_add_ack(&h, 2);
    expect(&h, JUDGE_HOLDS);
    end(&h);
}

static void test_writes_at_the_same_time_come_in_any_order(void **state)
{
    struct history h;
    (void)state;
    begin(&h);
    history_add_issue(&h, 1, HISTORY_WRITE, true, 0, 1);
    history_add_issue(&h, 2, HISTORY_WRITE, true, 0, 1);
    put(&h, 0, 2);
    put(&h, 0, 1);
    sync_all(&h, 0);
    history_add_ack(&h, 1);
    history_add_ack(&h, 2);
    expect(&h, JUDGE_HOLDS);
    write_one(&h, 3, false);
    expect(&h, JUDGE_HOLDS);
    put(&h, 0, 2); /* but not after a third */
    expect(&h, JUDGE_KILL);
    end(&h);
}

static void test_every_sector_counts(void **state)
{
    struct history h;
    (void)state;
    begin(&h);
    history_add_issue(&h, 1, HISTORY_WRITE, false, 0, 2);
    put(&h, 0, 1);
    expect(&h, JUDGE_HOLDS);
    history_add_ack(&h, 1);
    expect(&h, JUDGE_KILL);
    end(&h);
}

static void test_zeroes_and_trims(void **state)
{
    struct history h;
    (void)state;
    begin(&h);
    write_one(&h, 1, false);
    history_add_issue(&h, 2, HISTORY_TRIM, true, 0, 1);
    history_add_ack(&h, 2);
    sync_all(&h, 0);
    flush(&h, 3);
    expect(&h, JUDGE_HOLDS); /* a trim may be missing */
    write_one(&h, 4, false);
    expect(&h, JUDGE_HOLDS);
    put(&h, 0, 0); /* but not come after the next write */
    expect(&h, JUDGE_KILL);
    end(&h);

    begin(&h);
    write_one(&h, 1, false);
    history_add_issue(&h, 2, HISTORY_ZERO, false, 0, 1);
    history_add_ack(&h, 2); /* a zero may not be missing */
    expect(&h, JUDGE_KILL);
    end(&h);

    begin(&h);
    write_one(&h, 1, false);
    sync_all(&h, 0);
    flush(&h, 2);
    write_one(&h, 3, false);
    sync_all(&h, 1);
    flush(&h, 4);
    history_add_issue(&h, 5, HISTORY_TRIM, false, 0, 1);
    put(&h, 0, 1); /* nor bring back what was before */
    expect(&h, JUDGE_KILL);
    end(&h);
}

static void test_a_dead_servers_writes(void **state)
{
    struct history h;
    (void)state;
    begin(&h);
    history_add_start(&h);
    history_add_issue(&h, 1, HISTORY_WRITE, false, 0, 1);
    put(&h, 0, 1);
    history_add_start(&h);
    expect(&h, JUDGE_HOLDS);
    history_add_issue(&h, 2, HISTORY_WRITE, true, 0, 1);
    put(&h, 0, 2);
    expect(&h, JUDGE_HOLDS);
    history_add_ack(&h, 2); /* the sync is missing: the old server's would survive */
    expect(&h, JUDGE_POWER);
    end(&h);

    begin(&h);
    history_add_issue(&h, 1, HISTORY_WRITE, false, 0, 1);
    history_add_start(&h);
    put(&h, 0, 1);
    expect(&h, JUDGE_LATE);
    end(&h);
}

static void test_foreign_sectors(void **state)
{
    uint32_t values[] = {STAMP_FOREIGN, 7, 1};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct history h;
        begin(&h);
        history_add_issue(&h, 1, HISTORY_WRITE, false, 0, 1);
        put(&h, 1, values[i]);
        expect(&h, JUDGE_FOREIGN);
        end(&h);
    }
}

static void test_nonsense_is_refused(void **state)
{
    struct history h;
    struct judge_finding f;
    struct judge_tally t;
    (void)state;
    begin(&h);
    history_add_ack(&h, 3);
    assert_int_equal(judge_history(&h, &f, &t), -EINVAL);
    end(&h);
    begin(&h);
    history_add_sync(&h, HISTORY_SYNC_END, 3);
    assert_int_equal(judge_history(&h, &f, &t), -EINVAL);
    end(&h);
    begin(&h);
    history_add_issue(&h, 1, HISTORY_WRITE, false, SMALL_SECTORS, 1);
    assert_int_equal(judge_history(&h, &f, &t), -EINVAL);
    end(&h);
}

static void test_stamps(void **state)
{
    uint8_t bytes[SECTOR_BYTES] = {0};
    (void)state;
    assert_int_equal(stamp_read(bytes, 5), 0);
    stamp_write(bytes, 5, 9);
    assert_int_equal(stamp_read(bytes, 5), 9);
    assert_int_equal(stamp_read(bytes, 6), STAMP_FOREIGN);
    bytes[SECTOR_BYTES - 1] ^= 1;
    assert_int_equal(stamp_read(bytes, 5), STAMP_FOREIGN);
}

/* ---- random histories: a server that is honest most of the time ---- */

struct asked {
    struct history_event issue;
    bool put, over; /* over: acknowledged, or its server died */
};

struct faker {
    struct history h;
    struct dice dice;
    uint32_t lies_percent;
    struct asked asked[REQUESTS_MAX];
    uint32_t ids, syncs, pieces;
};

static bool lies(struct faker *f)
{
    return dice_percent(&f->dice, f->lies_percent);
}

static void fake_sync(struct faker *f)
{
    history_add_sync(&f->h, HISTORY_SYNC_BEGIN, f->syncs);
    history_add_sync(&f->h, HISTORY_SYNC_END, f->syncs++);
    f->pieces = 0;
}

static void fake_issue(struct faker *f)
{
    struct asked a = {.issue = {.op = (enum history_op)dice_roll(&f->dice, 4), .fua = dice_percent(&f->dice, 30)}};
    if (f->ids + 1 == REQUESTS_MAX)
        return;
    if (dice_percent(&f->dice, 40))
        a.issue.op = HISTORY_WRITE;
    if (a.issue.op != HISTORY_FLUSH) {
        a.issue.first = dice_roll(&f->dice, f->h.sector_count);
        a.issue.count = 1 + dice_roll(&f->dice, f->h.sector_count - a.issue.first);
        if (a.issue.count > 4)
            a.issue.count = 4;
    }
    f->asked[++f->ids] = a;
    history_add_issue(&f->h, f->ids, a.issue.op, a.issue.fua, a.issue.first, a.issue.count);
}

static void fake_put(struct faker *f, uint32_t id)
{
    struct asked *a = f->asked + id;
    uint32_t values[4] = {0};
    if (a->issue.op == HISTORY_FLUSH || ((a->over || a->put) && !lies(f)))
        return;
    for (uint32_t i = 0; i < a->issue.count && a->issue.op == HISTORY_WRITE; i++)
        values[i] = id;
    history_add_put(&f->h, a->issue.first, a->issue.count, values);
    a->put = true;
    f->pieces += a->issue.count;
}

static void fake_ack(struct faker *f, uint32_t id)
{
    struct asked *a = f->asked + id;
    if (a->over)
        return;
    if (!a->put && !lies(f))
        fake_put(f, id);
    if ((a->issue.fua || a->issue.op == HISTORY_FLUSH) && !lies(f))
        fake_sync(f);
    a->over = true;
    history_add_ack(&f->h, id);
}

static void fake_start(struct faker *f)
{
    for (uint32_t id = 1; id <= f->ids; id++)
        f->asked[id].over = true;
    history_add_start(&f->h);
}

static void fake_half_sync(struct faker *f)
{
    history_add_sync(&f->h, HISTORY_SYNC_BEGIN, f->syncs);
    if (f->ids)
        fake_put(f, 1 + dice_roll(&f->dice, f->ids));
    history_add_sync(&f->h, HISTORY_SYNC_END, f->syncs++);
}

/* Of the last eight: the others are mostly over. */
static uint32_t recent(struct faker *f)
{
    uint32_t n = f->ids < 8 ? f->ids : 8;
    return f->ids - dice_roll(&f->dice, n);
}

static void fake(struct faker *f, uint32_t sectors, uint32_t steps, uint32_t pieces_max)
{
    assert_int_equal(history_init(&f->h, sectors, steps * 8, steps * 16), 0);
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t roll = dice_roll(&f->dice, 100);
        if (f->pieces + 8 > pieces_max)
            fake_sync(f);
        if (roll < 35 || !f->ids)
            fake_issue(f);
        else if (roll < 60)
            fake_put(f, recent(f));
        else if (roll < 93)
            fake_ack(f, recent(f));
        else if (roll < 99 || dice_percent(&f->dice, 50))
            fake_half_sync(f);
        else
            fake_start(f);
    }
    assert_false(f->h.full);
}

/* ---- the oracle: everything by definition, nothing remembered ---- */

static bool oracle_covers(const struct history_event *e, uint32_t sector)
{
    return e->count && sector >= e->first && sector < e->first + e->count;
}

/* Where request `id` was acknowledged, in the first n events; n if it was not. */
static uint32_t oracle_ack(const struct history *h, uint32_t n, uint32_t id)
{
    uint32_t i = 0;
    while (i < n && !(h->events[i].kind == HISTORY_ACK && h->events[i].id == id))
        i++;
    return i;
}

/* Where it could take effect no more; n if it still can. */
static uint32_t oracle_over(const struct history *h, uint32_t n, uint32_t issue)
{
    uint32_t i = issue;
    while (i < n && h->events[i].kind != HISTORY_START &&
           !(h->events[i].kind == HISTORY_ACK && h->events[i].id == h->events[issue].id))
        i++;
    return i;
}

static bool oracle_required(const struct history *h, uint32_t n, uint32_t issue, bool power)
{
    const struct history_event *d = h->events + issue;
    uint32_t ack = oracle_ack(h, n, d->id);
    if (ack == n || (d->op != HISTORY_WRITE && d->op != HISTORY_ZERO))
        return false;
    if (!power || d->fua)
        return true;
    for (uint32_t i = ack + 1; i < n; i++)
        if (h->events[i].kind == HISTORY_ISSUE && h->events[i].op == HISTORY_FLUSH &&
            oracle_ack(h, n, h->events[i].id) < n)
            return true;
    return false;
}

/* No required change of the sector was issued after `over`. */
static bool oracle_may_be_last(const struct history *h, uint32_t n, uint32_t sector, bool power, uint32_t over)
{
    for (uint32_t i = over; i < n; i++)
        if (h->events[i].kind == HISTORY_ISSUE && oracle_covers(h->events + i, sector) &&
            oracle_required(h, n, i, power))
            return false;
    return true;
}

static bool oracle_allows(const struct history *h, uint32_t n, uint32_t sector, uint32_t value, bool power)
{
    if (!value && oracle_may_be_last(h, n, sector, power, 0))
        return true;
    for (uint32_t i = 0; i < n; i++) {
        const struct history_event *e = h->events + i;
        if (e->kind == HISTORY_ISSUE && oracle_covers(e, sector) && (e->op == HISTORY_WRITE ? e->id : 0) == value &&
            oracle_may_be_last(h, n, sector, power, oracle_over(h, n, i)))
            return true;
    }
    return false;
}

static bool oracle_synced(const struct history *h, uint32_t n, uint32_t put_event)
{
    for (uint32_t i = put_event; i < n; i++)
        for (uint32_t k = i; k < n && h->events[i].kind == HISTORY_SYNC_BEGIN; k++)
            if (h->events[k].kind == HISTORY_SYNC_END && h->events[k].id == h->events[i].id)
                return true;
    return false;
}

static bool oracle_image(const struct history *h, uint32_t n, uint32_t mask, uint32_t pieces, bool power)
{
    uint32_t image[SMALL_SECTORS] = {0}, piece = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct history_event *e = h->events + i;
        if (e->kind != HISTORY_PUT)
            continue;
        bool synced = oracle_synced(h, n, i);
        for (uint32_t s = e->first; s < e->first + e->count; s++)
            if (synced || mask >> piece++ & 1)
                image[s] = history_value(h, i, s);
    }
    assert_true(piece == pieces);
    for (uint32_t s = 0; s < SMALL_SECTORS; s++)
        if (!oracle_allows(h, n, s, image[s], power))
            return false;
    return true;
}

static bool oracle_origin(const struct history *h, uint32_t event)
{
    const struct history_event *e = h->events + event;
    for (uint32_t s = e->first; e->kind == HISTORY_PUT && s < e->first + e->count; s++) {
        uint32_t value = history_value(h, event, s);
        for (uint32_t i = 0; value && i < event; i++)
            if (h->events[i].kind == HISTORY_ISSUE && h->events[i].id == value)
                for (uint32_t k = i; k < event; k++)
                    if (h->events[k].kind == HISTORY_START)
                        return false;
    }
    return true;
}

static bool oracle_holds(const struct history *h, uint32_t n)
{
    uint32_t pieces = 0;
    for (uint32_t i = 0; i < n; i++)
        if (h->events[i].kind == HISTORY_PUT && !oracle_synced(h, n, i))
            pieces += h->events[i].count;
    assert_true(pieces < 20);
    if ((n && !oracle_origin(h, n - 1)) || !oracle_image(h, n, (1u << pieces) - 1, pieces, false))
        return false;
    for (uint32_t mask = 0; mask < 1u << pieces; mask++)
        if (!oracle_image(h, n, mask, pieces, true))
            return false;
    return true;
}

static void test_the_oracle_agrees(void **state)
{
    uint32_t seen[JUDGE_POWER + 1] = {0};
    struct faker *f = malloc(sizeof *f);
    (void)state;
    assert_non_null(f);
    for (uint32_t i = 0; i < SMALL_HISTORIES; i++) {
        struct judge_finding finding;
        struct judge_tally tally;
        *f = (struct faker){.dice = {seed + i}, .lies_percent = i % 3 * 10};
        fake(f, SMALL_SECTORS, SMALL_STEPS, PIECES_MAX);
        assert_int_equal(judge_history(&f->h, &finding, &tally), 0);
        seen[finding.rule]++;
        uint32_t sound = finding.rule == JUDGE_HOLDS ? f->h.event_count : finding.event;
        bool agrees = finding.rule == JUDGE_HOLDS || !oracle_holds(&f->h, finding.event + 1);
        for (uint32_t n = 0; n <= sound && agrees; n++)
            agrees = oracle_holds(&f->h, n);
        if (!agrees)
            fail_msg("seed %llu: the judge says %s at event %u, the oracle does not", (unsigned long long)seed + i,
                     judge_rule_name(finding.rule), finding.event);
        history_fini(&f->h);
    }
    printf("%u holds, %u late, %u kill, %u power\n", seen[JUDGE_HOLDS], seen[JUDGE_LATE], seen[JUDGE_KILL],
           seen[JUDGE_POWER]);
    assert_true(seen[JUDGE_HOLDS] > 100 && seen[JUDGE_LATE] > 10 && seen[JUDGE_KILL] > 100 && seen[JUDGE_POWER] > 100);
    free(f);
}

/* ---- faults in a history that holds ---- */

static void test_faults_are_found(void **state)
{
    struct faker *f = malloc(sizeof *f);
    struct judge_finding finding = {.rule = JUDGE_HOLDS};
    struct judge_tally tally;
    (void)state;
    assert_non_null(f);
    *f = (struct faker){.dice = {seed}};
    fake(f, LARGE_SECTORS, LARGE_STEPS, LARGE_SECTORS);
    assert_int_equal(judge_history(&f->h, &finding, &tally), 0);
    assert_int_equal(finding.rule, JUDGE_HOLDS);
    for (int i = 0; i < MUTATION_COUNT; i++) {
        int tries = 0;
        for (finding.rule = JUDGE_HOLDS; finding.rule != mutations[i].rule && tries < TRIES_MAX; tries++) {
            struct history copy;
            assert_int_equal(history_copy(&copy, &f->h), 0);
            if (mutations[i].apply(&copy, &f->dice))
                assert_int_equal(judge_history(&copy, &finding, &tally), 0);
            history_fini(&copy);
        }
        if (finding.rule != mutations[i].rule)
            fail_msg("if %s, the judge does not find it", mutations[i].fault);
        printf("if %s: found, try %d\n", mutations[i].fault, tries);
    }
    history_fini(&f->h);
    free(f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_flush_promises),
        cmocka_unit_test(test_a_sync_covers_what_was_before_it),
        cmocka_unit_test(test_a_flush_beside_a_write_promises_nothing),
        cmocka_unit_test(test_writes_at_the_same_time_come_in_any_order),
        cmocka_unit_test(test_every_sector_counts),
        cmocka_unit_test(test_zeroes_and_trims),
        cmocka_unit_test(test_a_dead_servers_writes),
        cmocka_unit_test(test_foreign_sectors),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_stamps),
        cmocka_unit_test(test_the_oracle_agrees),
        cmocka_unit_test(test_faults_are_found),
    };
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 0);
    printf("seed %llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
