/* See lapic.h. The timer keeps the time at which it expires; the count follows from it. A periodic one that is masked
 * wakes nobody. */
#include "hv/machine/lapic.h"

/* A guest's period may be shorter, but not ours: it would keep the main loop from its work. */
enum { PERIOD_MIN_NS = 100000 };

static unsigned shift(const struct lapic *l)
{
    uint32_t divide = l->reg[LAPIC_TIMER_DIVIDE];
    return ((divide & 3) + (divide >> 1 & 4) + 1) & 7;
}

static uint32_t mode(const struct lapic *l)
{
    return l->reg[LAPIC_LVT_TIMER] & (LVT_TIMER_PERIODIC | LVT_TIMER_DEADLINE);
}

static uint64_t period_ns(const struct lapic *l)
{
    return (uint64_t)l->reg[LAPIC_TIMER_INITIAL] << shift(l);
}

static bool periodic(const struct lapic *l)
{
    return mode(l) == LVT_TIMER_PERIODIC && period_ns(l);
}

/* Time to the end of this round. */
static uint64_t remaining_ns(const struct lapic *l)
{
    uint64_t now = timers_now_ns(l->timers), period = period_ns(l);
    if (now < l->expires_ns)
        return periodic(l) ? (l->expires_ns - now - 1) % period + 1 : l->expires_ns - now;
    return periodic(l) ? period - (now - l->expires_ns) % period : 0;
}

uint32_t lapic_timer_count(const struct lapic *l)
{
    if (!l->counting || mode(l) & LVT_TIMER_DEADLINE)
        return 0;
    uint64_t count = (remaining_ns(l) + (1ull << shift(l)) - 1) >> shift(l);
    return (uint32_t)(count ? count : 1); /* 0 would say that it has fired */
}

/* Nothing fires while time stands still: what is due then fires when it goes on. */
static void arm(struct lapic *l)
{
    if (timers_running(l->timers) && l->expires_ns <= timers_now_ns(l->timers))
        lapic_timer_fired(l);
    else
        timer_set(l->timers, &l->timer, l->expires_ns);
}

static bool sleeps(const struct lapic *l)
{
    return periodic(l) && l->reg[LAPIC_LVT_TIMER] & LVT_MASKED;
}

void lapic_timer_fired(struct lapic *l)
{
    if (!l->counting)
        return;
    if (periodic(l)) {
        uint64_t next = timers_now_ns(l->timers) + remaining_ns(l), soonest = l->expires_ns + PERIOD_MIN_NS;
        l->expires_ns = next > soonest ? next : soonest;
        if (!sleeps(l))
            timer_set(l->timers, &l->timer, l->expires_ns);
    } else {
        l->counting = false;
    }
    lapic_deliver_lvt(l, LAPIC_LVT_TIMER);
}

void lapic_timer_stop(struct lapic *l)
{
    l->counting = false;
    timer_clear(l->timers, &l->timer);
}

void lapic_timer_start(struct lapic *l, uint32_t count)
{
    lapic_timer_stop(l);
    if (!count || mode(l) & LVT_TIMER_DEADLINE)
        return;
    l->counting = true;
    l->expires_ns = timers_now_ns(l->timers) + ((uint64_t)count << shift(l));
    if (!sleeps(l))
        arm(l);
}

bool lapic_timer_deadline(struct lapic *l, uint64_t at_ns)
{
    if (mode(l) != LVT_TIMER_DEADLINE)
        return false;
    lapic_timer_stop(l);
    if (at_ns) {
        l->counting = true;
        l->expires_ns = at_ns;
        arm(l);
    }
    return true;
}

void lapic_timer_set_lvt(struct lapic *l, uint32_t lvt)
{
    bool deadline = lvt & LVT_TIMER_DEADLINE;
    if (deadline != !!(l->reg[LAPIC_LVT_TIMER] & LVT_TIMER_DEADLINE)) {
        lapic_timer_stop(l);
        l->reg[LAPIC_TIMER_INITIAL] = 0;
        l->reg[LAPIC_LVT_TIMER] = lvt;
        return;
    }
    uint64_t rest_ns = remaining_ns(l);
    l->reg[LAPIC_LVT_TIMER] = lvt;
    if (!deadline && l->counting) {
        timer_clear(l->timers, &l->timer);
        l->expires_ns = timers_now_ns(l->timers) + rest_ns;
        if (!sleeps(l))
            timer_set(l->timers, &l->timer, l->expires_ns);
    }
}

void lapic_timer_set_divide(struct lapic *l, uint32_t divide)
{
    uint32_t count = lapic_timer_count(l);
    l->reg[LAPIC_TIMER_DIVIDE] = divide;
    if (count)
        lapic_timer_start(l, count);
}
