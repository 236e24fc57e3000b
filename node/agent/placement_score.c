#include "node/agent/placement_score.h"

#include <math.h>

void placement_score_add(struct placement_score *s, const struct placement_row *node)
{
    s->nodes++;
    for (int k = 0; k < PLACEMENT_COLUMNS; k++) {
        s->sum[k] += node->part[k];
        s->squares[k] += node->part[k] * node->part[k];
    }
}

void placement_score_change(struct placement_score *s, const struct placement_row *from, const struct placement_row *to)
{
    for (int k = 0; k < PLACEMENT_COLUMNS; k++) {
        s->sum[k] += to->part[k] - from->part[k];
        s->squares[k] += to->part[k] * to->part[k] - from->part[k] * from->part[k];
    }
}

static double excess(const struct placement_policy *p, int k, double part)
{
    return k < PLACEMENT_LOADS && part > p->overload_limit ? part - p->overload_limit : 0;
}

double placement_score_if(const struct placement_score *s, const struct placement_policy *p,
                          const struct placement_row *from, const struct placement_row *to)
{
    struct placement_score after = *s;
    double score = 0;
    placement_score_change(&after, from, to);
    for (int k = 0; k < PLACEMENT_COLUMNS && s->nodes; k++) {
        double mean = after.sum[k] / s->nodes, variance = after.squares[k] / s->nodes - mean * mean;
        double more = excess(p, k, to->part[k]) - excess(p, k, from->part[k]);
        score += p->weight[k] * (sqrt(fmax(variance, 0)) + p->overload_weight * more / s->nodes);
    }
    return score;
}
