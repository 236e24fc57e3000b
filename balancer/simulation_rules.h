/* The rules of others, reimplemented from what they publish, to be measured against. Threads: one at a time. */
#ifndef BALANCER_SIMULATION_RULES_H
#define BALANCER_SIMULATION_RULES_H

#include "balancer/simulation.h"

enum { RULE_MOVES_MAX = 64 };

struct rule_move {
    int guest, to;
};

struct rule_memory {
    int *hot_steps, *pause; /* [nodes], the caller's */
    int imbalanced;
};

/* Each: the moves to make in this step, at most RULE_MOVES_MAX, of guests that may move; the model is left as it was.
 */
int simulation_rule_imbalance(struct model *model, const struct policy *policy, struct rule_memory *memory,
                              double step_s, struct rule_move *moves);
int simulation_rule_contention(struct model *model, const struct policy *policy, struct rule_memory *memory,
                               double step_s, struct rule_move *moves);

#endif
