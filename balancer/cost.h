/* What a migration costs: seconds, bytes and downtime, from the guest's memory, how fast it writes, and the link.
 *
 * Pre-copy: the memory is sent, then what was written meanwhile, and so on, until the rest takes no longer than the
 * downtime that is allowed; a guest that writes faster than the link carries never gets there and is stopped after
 * COST_ROUNDS_MAX rounds. Threads: any. */
#ifndef BALANCER_COST_H
#define BALANCER_COST_H

struct model;
struct policy;

enum { COST_ROUNDS_MAX = 30 };

struct cost {
    double seconds, bytes, downtime_s;
};

struct cost cost_migration(const struct model *model, const struct policy *policy, int guest, int from, int to);

/* The gain in score at which a move of this guest begins to pay. */
double cost_threshold(const struct model *model, const struct policy *policy, int guest, int nodes);

/* The speed that past migrations reached: the median of bytes/seconds; 0 if count is 0. Sorts speeds[]. */
double cost_learn_speed(double *speeds, int count);

#endif
