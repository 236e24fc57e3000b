/* What a migration does next, and how it will end: pure arithmetic on what was measured, without a clock, so that tests
 * can play any guest on any link.
 *
 *     after each round:   STOP       what is left fits into the downtime that is allowed, and another round would not
 *                                    make it much less
 *                         COPY       another round
 *                         THROTTLE   another round, with the vCPUs held for `throttle` of the time: it does not
 *                                    converge otherwise
 *                         LATE       it cannot end as wanted, and pages may follow the guest (post-copy): it goes now
 *                         GIVE_UP    it cannot end as wanted; of both `text` says why in figures
 *
 * A round of B bytes takes B / bandwidth, in which the guest dirties min(dirty rate * that time, what it ever writes
 * to). Rounds shrink if less is dirtied than was sent; the plan follows them until what is left fits.
 *
 * Units: bytes, nanoseconds, bytes a second. Threads: any; no state. */
#ifndef HV_MIGRATE_PLAN_H
#define HV_MIGRATE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MIGRATE_THROTTLE_WHOLE = 1000,
    MIGRATE_THROTTLE_PERCENT = MIGRATE_THROTTLE_WHOLE / 100,
    MIGRATE_THROTTLE_MAX = 996,
    MIGRATE_THROTTLE_PERIOD_US = 10000, /* vCPUs are let go once in it, */
    MIGRATE_THROTTLE_RUN_MIN_US = 200,  /* for no less than this: then once in a longer time */
    MIGRATE_ROUNDS_MAX = 200,
    MIGRATE_PROBE_MS = 20 /* the moment for write_rate */
};

struct migrate_goal {
    uint64_t downtime_ns; /* the guest may stand for that long */
    uint64_t within_ns;   /* since the beginning; 0: no limit */
    bool throttles;       /* vCPUs may be held */
    bool late;            /* pages may come after the guest */
};

/* As measured at the end of a round. */
struct migrate_sample {
    unsigned round;          /* 0: the first, of everything */
    uint64_t elapsed_ns;     /* since the beginning */
    uint64_t left_bytes;     /* dirty now */
    uint64_t sent_bytes;     /* in this round, before compression, */
    uint64_t round_ns;       /* which took */
    uint64_t before_bytes;   /* left at the beginning of this round */
    uint64_t bandwidth;      /* of pages, by the link and both ends; 0: nothing was measured yet */
    uint64_t fixed_ns;       /* what a switch-over takes beside pages: state, disks, answers */
    unsigned throttle;       /* thousandths of the time, during this round */
    uint64_t write_rate;     /* of the guest now, in a moment too short to write anything twice; 0: not measured */
    unsigned stalled_rounds; /* in a row that did not shrink */
};

enum migrate_step {
    MIGRATE_STEP_STOP,
    MIGRATE_STEP_COPY,
    MIGRATE_STEP_THROTTLE,
    MIGRATE_STEP_LATE,
    MIGRATE_STEP_GIVE_UP
};

struct migrate_plan {
    enum migrate_step step;
    unsigned throttle;     /* to be set */
    bool ends;             /* the two below are known */
    uint64_t remaining_ns; /* until the guest runs at its destination */
    uint64_t downtime_ns;
    uint64_t dirty_rate; /* bytes a second */
    char text[320];      /* of LATE and GIVE_UP */
};

/* THROTTLE is likely: measuring write_rate, which takes a moment, would pay. */
bool migrate_plan_wants_rate(const struct migrate_goal *goal, const struct migrate_sample *sample);
void migrate_plan(const struct migrate_goal *goal, const struct migrate_sample *sample, struct migrate_plan *plan);

#endif
