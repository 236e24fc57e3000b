/* Which columns a score has: made from the family and the policy, alike ones joined, constant ones dropped.
 * Threads: one at a time. */
#ifndef BALANCER_SCORE_COLUMNS_H
#define BALANCER_SCORE_COLUMNS_H

#include "balancer/score.h"

/* Fills columns, weights, limits, unit, base and take. -ENOMEM. */
int score_columns_make(struct score *score);

#endif
