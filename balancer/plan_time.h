/* How long a plan takes and what it sends: each wave's moves begun together, on the links that they share (flows.h).
 * A guest that is just started, or does not run, or only gets another mirror, sends nothing. Threads: one at a time. */
#ifndef BALANCER_PLAN_TIME_H
#define BALANCER_PLAN_TIME_H

#include "balancer/plan.h"

/* What each move costs beside the others of its wave into its cost, which is what it would cost alone before, and
 * the sums into the plan. model: anybody may be anywhere in it, and those of the plan are where it takes them from
 * afterwards; nobody else holds anything in it. -ENOMEM. */
int plan_time_waves(struct plan *plan, struct model *model, const struct policy *policy);

/* The sums alone, of a plan with fewer moves: a wave takes as long as its longest. */
void plan_time_sum(struct plan *plan);

#endif
