#include "hv/migrate_plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { NS_PER_MS = 1000000, STALLS_MAX = 4, MB = 1000000 };
#define NS_PER_S UINT64_C(1000000000)

/* A round that leaves more than this share of what it began with does not converge fast enough to wait for. */
enum { SHRINKS_PERCENT = 50, LEAVES_PERCENT = 25 };

/* What fits already is made less as long as rounds pay: until it takes no longer than this, or shrinks no more. */
enum { QUICK_MS = 5, PAYS_PERCENT = 70 };

static uint64_t time_of(uint64_t bytes, uint64_t bandwidth)
{
    return bandwidth ? (uint64_t)((double)bytes / (double)bandwidth * (double)NS_PER_S) : UINT64_MAX;
}

static bool fits(const struct migrate_goal *goal, uint64_t take_ns, uint64_t fixed_ns)
{
    return take_ns != UINT64_MAX && take_ns + fixed_ns <= goal->downtime_ns;
}

static bool pays(uint64_t take_ns, double left, double before)
{
    return take_ns > (uint64_t)QUICK_MS * NS_PER_MS && left < before / 100 * PAYS_PERCENT;
}

/* Of rounds to come, if each dirties what the last one did per time, but never more than what is dirty now: a guest
 * that writes to the same places has written to all of them once. */
static void predict(const struct migrate_goal *goal, const struct migrate_sample *s, struct migrate_plan *p)
{
    double left = (double)s->left_bytes, before = (double)s->before_bytes, total = 0, cap = left;
    p->dirty_rate = s->round_ns ? (uint64_t)((double)s->left_bytes * (double)NS_PER_S / (double)s->round_ns) : 0;
    p->ends = false;
    for (unsigned i = 0; i < MIGRATE_ROUNDS_MAX && s->bandwidth; i++) {
        double take = left / (double)s->bandwidth, dirtied = (double)p->dirty_rate * take;
        uint64_t take_ns = (uint64_t)(take * (double)NS_PER_S);
        if (fits(goal, take_ns, s->fixed_ns) && !pays(take_ns, left, before)) {
            p->ends = true;
            p->downtime_ns = take_ns + s->fixed_ns;
            p->remaining_ns = (uint64_t)(total * (double)NS_PER_S) + p->downtime_ns;
            return;
        }
        total += take;
        before = left;
        left = dirtied < cap ? dirtied : cap;
    }
    p->downtime_ns = time_of(s->left_bytes, s->bandwidth);
    p->downtime_ns += p->downtime_ns == UINT64_MAX ? 0 : s->fixed_ns;
    p->remaining_ns = UINT64_MAX;
}

/* As hard as it takes for the next round to leave a quarter; where the rate is not known, half of what it may now. */
static unsigned harder(const struct migrate_sample *s, const struct migrate_plan *p)
{
    unsigned now = s->throttle, next = now + (MIGRATE_THROTTLE_WHOLE - now) / 2;
    uint64_t rate = s->write_rate > p->dirty_rate ? s->write_rate : p->dirty_rate;
    if (s->write_rate && s->bandwidth) {
        double runs = (double)(MIGRATE_THROTTLE_WHOLE - now);
        double may = runs * (double)s->bandwidth / 100 * LEAVES_PERCENT / (double)rate;
        next = may >= MIGRATE_THROTTLE_MAX ? 1 : MIGRATE_THROTTLE_WHOLE - (unsigned)may;
    }
    next = next > now ? next : now + MIGRATE_THROTTLE_PERCENT;
    return next > MIGRATE_THROTTLE_MAX ? MIGRATE_THROTTLE_MAX : next;
}

static void give_up(const struct migrate_goal *goal, const struct migrate_sample *s, struct migrate_plan *p)
{
    char within[64] = "";
    p->step = goal->late ? MIGRATE_STEP_LATE : MIGRATE_STEP_GIVE_UP;
    if (goal->within_ns)
        snprintf(within, sizeof within, " within %" PRIu64 " s", goal->within_ns / NS_PER_S);
    snprintf(p->text, sizeof p->text,
             "the guest dirties %" PRIu64 " MB/s and the link takes %" PRIu64
             " MB/s: it cannot end%s with a downtime of "
             "%" PRIu64 " ms (it would be %" PRIu64 " ms now)",
             p->dirty_rate / MB, s->bandwidth / MB, within, goal->downtime_ns / NS_PER_MS, p->downtime_ns / NS_PER_MS);
}

static bool stalls(const struct migrate_sample *s, const struct migrate_plan *p)
{
    return !p->ends || (s->round && s->left_bytes > s->before_bytes / 100 * SHRINKS_PERCENT);
}

bool migrate_plan_wants_rate(const struct migrate_goal *goal, const struct migrate_sample *s)
{
    struct migrate_plan p;
    predict(goal, s, &p);
    return goal->throttles && s->throttle < MIGRATE_THROTTLE_MAX && stalls(s, &p) &&
           !fits(goal, time_of(s->left_bytes, s->bandwidth), s->fixed_ns);
}

static bool is_late(const struct migrate_goal *goal, const struct migrate_sample *s, const struct migrate_plan *p)
{
    if (!goal->within_ns)
        return false;
    return s->elapsed_ns >= goal->within_ns || !p->ends || p->remaining_ns > goal->within_ns - s->elapsed_ns;
}

void migrate_plan(const struct migrate_goal *goal, const struct migrate_sample *s, struct migrate_plan *p)
{
    memset(p, 0, sizeof *p);
    p->throttle = s->throttle;
    predict(goal, s, p);
    bool over = goal->within_ns && s->elapsed_ns >= goal->within_ns, fits_now;
    fits_now = fits(goal, time_of(s->left_bytes, s->bandwidth), s->fixed_ns);
    p->step = MIGRATE_STEP_COPY;
    if (fits_now && (over || s->round >= MIGRATE_ROUNDS_MAX || (p->ends && p->remaining_ns == p->downtime_ns))) {
        p->step = MIGRATE_STEP_STOP;
        return;
    }
    bool late = is_late(goal, s, p), can = goal->throttles && s->throttle < MIGRATE_THROTTLE_MAX;
    if (!fits_now && can && (stalls(s, p) || late)) {
        p->step = MIGRATE_STEP_THROTTLE;
        p->throttle = harder(s, p);
        late = over;
    } else if (!s->round || fits_now) { /* a round of everything says little about the next */
        late = over;
    } else if (stalls(s, p) && s->stalled_rounds >= STALLS_MAX) {
        late = true;
    }
    if (late || s->round >= MIGRATE_ROUNDS_MAX)
        give_up(goal, s, p);
}
