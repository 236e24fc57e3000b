/* vCPUs that are held for a share of the time: the guest writes less, and a migration keeps up with it. Time goes on
 * for it, as on a processor that is shared. */
#include "hv/guest_inside.h"
#include "node/base/clock.h"
#include "node/base/container.h"

enum { PERIOD_NS = 10000000, HOLD_MAX_NS = 200000000 };

/* A vCPU that has reported something must not be let go before that was looked at. */
static bool may(const struct guest *g)
{
    return g->state == GUEST_RUNNING && !g->busy && !g->quitting && !atomic_load(&g->wishes);
}

static void let_go(struct guest *g)
{
    if (g->throttle_holds && may(g))
        vcpus_go(g->vcpus);
    g->throttle_holds = false;
    g->throttle_since_ns = clock_ns();
}

/* On a busy host the timer is late, and the guest has run for longer than it should: it is held for longer then. */
static uint64_t hold_for(const struct guest *g)
{
    uint64_t ran_ns = clock_ns() - g->throttle_since_ns, held_ns = ran_ns * g->throttle / (100 - g->throttle);
    return held_ns < HOLD_MAX_NS ? held_ns : HOLD_MAX_NS;
}

static void turn(struct loop_timer *timer)
{
    struct guest *g = CONTAINER_OF(timer, struct guest, throttle_timer);
    uint64_t next_ns = (uint64_t)PERIOD_NS / 100 * (100 - g->throttle);
    if (g->throttle_holds && !may(g)) {
        loop_timer_set(g->loop, timer, clock_ns() + PERIOD_NS / 10); /* it goes on when what came is done */
        return;
    }
    bool hold = !g->throttle_holds && may(g) && vcpus_going(g->vcpus);
    if (hold) {
        vcpus_park(g->vcpus);
        next_ns = hold_for(g);
    } else {
        let_go(g);
    }
    g->throttle_holds = hold;
    loop_timer_set(g->loop, timer, clock_ns() + next_ns);
}

void guest_throttle(struct guest *g, unsigned percent)
{
    g->throttle = percent;
    g->throttle_timer.fire = turn;
    if (percent && !g->throttle_timer.slot)
        g->throttle_since_ns = clock_ns() - PERIOD_NS / 100;
    if (percent && !g->throttle_timer.slot)
        loop_timer_set(g->loop, &g->throttle_timer, clock_ns());
    if (percent)
        return;
    loop_timer_clear(g->loop, &g->throttle_timer);
    let_go(g);
}
