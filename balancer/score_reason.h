/* What a score is made of, so that a move can say for the sake of what it is made. Threads: any. */
#ifndef BALANCER_SCORE_REASON_H
#define BALANCER_SCORE_REASON_H

#include "balancer/model.h"

struct score;

/* The first ones are enum model_resource. */
enum score_reason {
    REASON_CPU = RESOURCE_CPU,
    REASON_MEMORY = RESOURCE_MEMORY,
    REASON_DISK = RESOURCE_DISK,
    REASON_NETWORK = RESOURCE_NETWORK,
    REASON_RESERVED, /* memory given out, and whatever else is counted of a guest but not measured */
    REASON_GROUPS,
    REASON_PLACE, /* it was nowhere, or where it must not stay */
    REASON_COUNT
};

/* The parts of the score that a move between these nodes (-1: nowhere) can change. The difference of two calls, before
 * and after it, is what it brings by reason. */
void score_reasons(const struct score *score, int from, int to, double by[REASON_COUNT]);
/* Which of them fell most. */
enum score_reason score_reason_most(const double before[REASON_COUNT], const double after[REASON_COUNT]);

/* The spread of each load over the nodes, without its weight; 0 for what does not differ. */
void score_spreads(const struct score *score, double spread[RESOURCE_COUNT]);

/* "cpu", "memory", ...: a word of files and tables. */
const char *score_reason_word(enum score_reason reason);

#endif
