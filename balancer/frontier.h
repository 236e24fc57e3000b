/* Gain against cost, not one point: what few moves bring, and what more of them would.
 *
 * A point is a plan: the one that is made when moves cost `price` times what the policy says, or as many of its first
 * moves as bring `part` of its gain. Each can be had, by its price and its part. Of several prices only those points
 * are kept than which no other brings as much with no more moves and no more bytes, and which bring a hundredth more
 * than the one before. Threads: any, one model each. */
#ifndef BALANCER_FRONTIER_H
#define BALANCER_FRONTIER_H

#include <jansson.h>

#include "balancer/plan.h"

enum { FRONTIER_POINTS_MAX = 40 };

struct frontier {
    struct frontier_point {
        double price;
        int part;    /* percent of its plan's gain */
        double gain; /* of that of the plan at the policy's own price, 1: as much; of the largest if it has none */
        int moves;
        double bytes, seconds;
    } points[FRONTIER_POINTS_MAX]; /* with more moves each */
    int count;
    bool rests; /* false: a search was ended by the budget */
};

/* Of one plan, its parts; price: at which it was made. */
void frontier_of(const struct plan *plan, double price, struct frontier *frontier);

/* Of plans at several prices. plan: the one at the policy's own, made with these options. begins(): with the budget's
 * data, before each of the searches, and how many are left; NULL: nobody shares out a time. Errors: as plan_make(). */
int frontier_make(const struct model *model, const struct policy *policy, const struct plan_options *options,
                  const struct plan *plan, void (*begins)(void *data, int left), struct frontier *frontier,
                  struct err *err);

/* [{"price", "part", "gain", "moves", "bytes", "seconds"}]; a new reference. */
json_t *frontier_json(const struct frontier *frontier);

#endif
