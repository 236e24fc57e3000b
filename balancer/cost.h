/* What a migration costs: seconds, bytes and downtime, from the guest's memory, how fast it writes, and the link.
 *
 * Pre-copy: the memory is sent, then what was written meanwhile, and so on, until the rest takes no longer than the
 * downtime that is allowed; a guest that writes faster than the link carries never gets there and is stopped after
 * COST_ROUNDS_MAX rounds. Threads: any. */
#ifndef BALANCER_COST_H
#define BALANCER_COST_H

#include <stdbool.h>

struct model;
struct policy;

enum { COST_ROUNDS_MAX = 30 };

static const double COST_SWITCH_S = 0.02; /* to stop here and start there */

/* A guest's memory, and before it a disk that is its node's alone, on their way: `left` is what this round has to send.
 */
struct cost_copy {
    double memory, dirty_bytes_per_s, left;
    int round;
    bool stuck; /* it writes faster than it is sent */
};

struct cost {
    double seconds, bytes, downtime_s;
};

struct cost cost_migration(const struct model *model, const struct policy *policy, int guest, int from, int to);

/* The same a round at a time, for whoever's rate changes on the way (flows.h). */
struct cost_copy cost_copy_begin(const struct model *model, int guest);
/* Is what is left another round, or the last, for which the guest is stopped? */
bool cost_copy_goes_on(const struct cost_copy *copy, const struct policy *policy, double rate);
/* A round is over that took so long: left is what was written meanwhile. */
void cost_copy_round(struct cost_copy *copy, double seconds, double rate);

/* What one migration between two nodes gets if nobody else uses their links, and what a node's link carries. */
double cost_link(const struct model *model, const struct policy *policy, int from, int to);
double cost_link_of(const struct model *model, const struct policy *policy, int node);

/* The gain in score at which this move begins to pay; COST_TOO_LONG if that would be over before the move is, and the
 * guest may stay. */
static const double COST_TOO_LONG = 1e6;
double cost_price(const struct model *model, const struct policy *policy, int guest, int from, int to, int nodes);
/* From where it is, to the node that is reached fastest. */
double cost_threshold(const struct model *model, const struct policy *policy, int guest, int nodes);

/* The speed that past migrations reached: the median of bytes/seconds; 0 if count is 0. Sorts speeds[]. */
double cost_learn_speed(double *speeds, int count);

#endif
