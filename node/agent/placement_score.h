/* How well spread the nodes would be with one more guest on one of them: the balancer's score (balancer/score.h), as
 * far as one choice of one node changes it.
 *
 *     sum over columns of   weight * standard deviation over the nodes
 *                         + weight * overload_weight * what lies above overload_limit / nodes     (of loads)
 *
 * A column is a part of each node: of its processors, memory and links that guests want, of its memory that is promised
 * to them. Rules of groups come before it (placement.h). It looks at what is measured now: forecasts, with what they
 * are wrong by, are the plans'. Pure. Threads: any. */
#ifndef NODE_AGENT_PLACEMENT_SCORE_H
#define NODE_AGENT_PLACEMENT_SCORE_H

#include "node/agent/placement_policy.h"

/* Of a node; or what a guest adds to it. */
struct placement_row {
    double part[PLACEMENT_COLUMNS];
};

/* Zeroed in the beginning. */
struct placement_score {
    unsigned nodes;
    double sum[PLACEMENT_COLUMNS], squares[PLACEMENT_COLUMNS];
};

void placement_score_add(struct placement_score *score, const struct placement_row *node);
/* One of them is another one now. */
void placement_score_change(struct placement_score *score, const struct placement_row *from,
                            const struct placement_row *to);

/* If it were: less is better. Scores of the same nodes may be compared. */
double placement_score_if(const struct placement_score *score, const struct placement_policy *policy,
                          const struct placement_row *from, const struct placement_row *to);

#endif
