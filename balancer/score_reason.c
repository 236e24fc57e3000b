#include "balancer/score_reason.h"

#include <math.h>
#include <string.h>

#include "balancer/score.h"

const char *score_reason_word(enum score_reason reason)
{
    static const char *const words[REASON_COUNT] = {"cpu", "memory", "disk", "network", "reserved", "groups", "place"};
    return words[reason];
}

static enum score_reason reason_of(int sum)
{
    return sum >= SUM_LOAD_CPU && sum <= SUM_LOAD_NETWORK ? (enum score_reason)(sum - SUM_LOAD_CPU) : REASON_RESERVED;
}

static double deviation(const struct score *s, int k)
{
    double variance = s->up > 0 ? (s->s2[k] - s->s1[k] * s->s1[k] / s->up) / s->up : 0;
    return variance > 0 ? sqrt(variance) : 0;
}

/* What only looks at one node: its overload by resource, or that it should be empty. */
static void add_node(const struct score *s, int node, double by[REASON_COUNT])
{
    double left = node >= 0 ? s->part[node] : 0;
    if (node < 0)
        return;
    for (int k = 0; k < s->columns && !s->model->nodes[node].offline; k++) {
        double over = isfinite(s->limit[k]) ? score_over(s, k, s->x[(size_t)node * (size_t)s->columns + (size_t)k]) : 0;
        by[reason_of(s->sum_of[k])] += over;
        left -= over;
    }
    by[REASON_PLACE] += left;
}

void score_reasons(const struct score *s, int from, int to, double by[REASON_COUNT])
{
    double nodes = 0;
    memset(by, 0, REASON_COUNT * sizeof *by);
    for (int k = 0; k < s->columns; k++)
        by[reason_of(s->sum_of[k])] += s->weight[k] * deviation(s, k);
    add_node(s, from, by);
    if (to != from)
        add_node(s, to, by);
    nodes = (from >= 0 ? s->part[from] : 0) + (to >= 0 && to != from ? s->part[to] : 0);
    by[REASON_GROUPS] = s->groups;
    by[REASON_PLACE] += s->parts - nodes; /* guests that are nowhere are in the sum alone */
}

enum score_reason score_reason_most(const double before[REASON_COUNT], const double after[REASON_COUNT])
{
    int most = 0;
    for (int r = 1; r < REASON_COUNT; r++)
        if (before[r] - after[r] > before[most] - after[most])
            most = r;
    return (enum score_reason)most;
}

void score_spreads(const struct score *s, double spread[RESOURCE_COUNT])
{
    for (int r = 0; r < RESOURCE_COUNT; r++)
        spread[r] = s->still[r];
    for (int k = 0; k < s->columns; k++)
        if (reason_of(s->sum_of[k]) != REASON_RESERVED)
            spread[reason_of(s->sum_of[k])] = deviation(s, k);
}
