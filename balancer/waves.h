/* From two placements to waves of moves between them, every state in between within the hard rules.
 * Threads: one at a time. */
#ifndef BALANCER_WAVES_H
#define BALANCER_WAVES_H

#include "balancer/plan.h"

/* score: of a model in the state to begin with; it is moved to the state that is reached. at, mirror: [guests] the
 * state that is wanted. Adds moves to the plan; what cannot be reached is counted in plan->dropped. -ENOMEM. */
int waves_make(struct score *score, const int *at, const int *mirror, struct plan *plan);

/* The state after each wave and every mixture of a wave's moves obeys the rules: plan against model, for tests and for
 * whoever got a plan from a file. 0, or the number of the first move that does not, from 1. */
int waves_check(const struct model *model, const struct policy *policy, const struct plan *plan);

#endif
