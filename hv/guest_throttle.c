/* vCPUs that are held for a share of the time: the guest writes less, and a migration keeps up with it. Time goes on
 * for it, as on a processor that is shared.
 *
 * What counts is what its vCPUs had of the processor, not how long they were allowed to: of a moment of 0.2 ms a thread
 * needs a part to wake up, more or less of it as the host is busy, and a guest that waits needs nothing. */
#include <assert.h>

#include "hv/guest_inside.h"
#include "hv/migrate_plan.h"
#include "node/base/clock.h"
#include "node/base/container.h"

/* The longest that a guest stands in one piece is what it stands for before a switch-over, too, in which that is not
 * counted. */
enum { NS_PER_US = 1000, PERIOD_NS = MIGRATE_THROTTLE_PERIOD_US * NS_PER_US };
enum { RUN_MIN_NS = MIGRATE_THROTTLE_RUN_MIN_US * NS_PER_US, HOLD_MAX_NS = 50000000 };
static_assert((uint64_t)RUN_MIN_NS * MIGRATE_THROTTLE_MAX / (MIGRATE_THROTTLE_WHOLE - MIGRATE_THROTTLE_MAX) <=
                  HOLD_MAX_NS,
              "the hardest throttle is not what it says");

/* Nobody else holds it. A vCPU that has reported something must not be let go before that was looked at. */
static bool may(const struct guest *g)
{
    return guest_is_going(g) && !g->busy && !g->quitting && !atomic_load(&g->wishes);
}

static void let_go(struct guest *g)
{
    if (g->throttle_holds && may(g)) {
        vcpus_used_ns(g->vcpus); /* it counts from here */
        vcpus_go(g->vcpus);
    }
    g->throttle_holds = false;
}

static uint64_t run_for(const struct guest *g)
{
    uint64_t run_ns = (uint64_t)PERIOD_NS / MIGRATE_THROTTLE_WHOLE * (MIGRATE_THROTTLE_WHOLE - g->throttle);
    return run_ns > RUN_MIN_NS ? run_ns : RUN_MIN_NS;
}

/* One that waited meanwhile is held, too, but for half as long at most: as it is not known what it will do next. */
static uint64_t hold_for(struct guest *g)
{
    uint64_t least_ns = (uint64_t)PERIOD_NS / 2 / MIGRATE_THROTTLE_WHOLE * g->throttle;
    uint64_t hold_ns = vcpus_used_ns(g->vcpus) * g->throttle / (MIGRATE_THROTTLE_WHOLE - g->throttle);
    hold_ns = hold_ns > least_ns ? hold_ns : least_ns;
    return hold_ns < HOLD_MAX_NS ? hold_ns : HOLD_MAX_NS;
}

static void turn(struct loop_timer *timer)
{
    struct guest *g = CONTAINER_OF(timer, struct guest, throttle_timer);
    uint64_t next_ns = run_for(g);
    if (g->throttle_holds && !may(g)) {
        loop_timer_set(g->loop, timer, clock_ns() + PERIOD_NS / 10); /* it goes on when what came is done */
        return;
    }
    if (!g->throttle) {
        let_go(g);
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

void guest_throttle(struct guest *g, unsigned throttle)
{
    g->throttle = throttle;
    g->throttle_timer.fire = turn;
    if (throttle && !g->throttle_timer.slot) {
        vcpus_used_ns(g->vcpus);
        loop_timer_set(g->loop, &g->throttle_timer, clock_ns());
    }
    bool reported = g->throttle_holds && !g->busy && guest_is_going(g) && !may(g); /* it waits to be let go */
    if (throttle || reported)
        return;
    loop_timer_clear(g->loop, &g->throttle_timer);
    let_go(g);
}
