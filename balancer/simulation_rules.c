#include "balancer/simulation_rules.h"

#include <math.h>

#include "balancer/rules.h"

static const double IMBALANCE_LIMIT = 0.3, IMBALANCE_MARGIN = 0.1, ROUND_S = 10, CONTENTION_LIMIT = 0.85,
                    CONTENTION_S = 900, PAUSE_S = 1800;

enum { HOLD_ROUNDS = 3 };

static double load_of(const struct model *m, int n)
{
    return m->sum[n][SUM_LOAD_CPU] / m->nodes[n].load_capacity[RESOURCE_CPU];
}

/* Coefficient of variation, with what would change on two nodes. */
static double imbalance(const struct model *m, int from, int to, double cpu)
{
    double sum = 0, squares = 0;
    int up = 0;
    for (int n = 0; n < m->node_count; n++) {
        if (m->nodes[n].offline)
            continue;
        double load = load_of(m, n);
        load += n == from ? -cpu / m->nodes[n].load_capacity[RESOURCE_CPU] : 0;
        load += n == to ? cpu / m->nodes[n].load_capacity[RESOURCE_CPU] : 0;
        sum += load;
        squares += load * load;
        up++;
    }
    double mean = up ? sum / up : 0, variance = up ? squares / up - mean * mean : 0;
    return mean > 0 ? sqrt(variance > 0 ? variance : 0) / mean : 0;
}

static int hottest(const struct model *m, const int *skip)
{
    int hot = -1;
    for (int n = 0; n < m->node_count; n++)
        if (!m->nodes[n].offline && (!skip || skip[n] <= 0) && (hot < 0 || load_of(m, n) > load_of(m, hot)))
            hot = n;
    return hot;
}

static int coldest_for(const struct model *m, const struct policy *p, int guest)
{
    int cold = -1;
    for (int n = 0; n < m->node_count; n++)
        if (!m->nodes[n].offline && (cold < 0 || load_of(m, n) < load_of(m, cold)) &&
            rules_check(m, p, guest, n, -1) == RULE_NONE)
            cold = n;
    return cold;
}

static void undo(struct model *m, const struct rule_move *moves, const int *from, int count)
{
    while (count-- > 0)
        model_place(m, moves[count].guest, from[count], -1);
}

int simulation_rule_imbalance(struct model *m, const struct policy *p, struct rule_memory *memory, double step_s,
                              struct rule_move *moves)
{
    int count = 0, from[RULE_MOVES_MAX], rounds = (int)(step_s / ROUND_S);
    for (int round = 0; round < rounds && count < RULE_MOVES_MAX; round++) {
        double now = imbalance(m, -1, -1, 0);
        memory->imbalanced = now > IMBALANCE_LIMIT ? memory->imbalanced + 1 : 0;
        if (memory->imbalanced < HOLD_ROUNDS)
            continue;
        memory->imbalanced = 0;
        int best = -1, best_to = -1, hot = hottest(m, NULL);
        double least = now;
        for (int g = hot >= 0 ? m->first[hot] : -1; g >= 0; g = m->next[g]) {
            int to = rules_movable(m, g) == RULE_NONE ? coldest_for(m, p, g) : -1;
            double then = to >= 0 ? imbalance(m, hot, to, m->use[g][SUM_LOAD_CPU]) : now;
            if (then < least) {
                least = then;
                best = g;
                best_to = to;
            }
        }
        /* one move of a hundred nodes seldom takes a tenth of the whole: the margin is of what one move could */
        if (best < 0 || now - least < IMBALANCE_MARGIN * now / m->node_count)
            continue;
        from[count] = hot;
        moves[count++] = (struct rule_move){best, best_to};
        model_place(m, best, best_to, -1);
    }
    undo(m, moves, from, count);
    return count;
}

int simulation_rule_contention(struct model *m, const struct policy *p, struct rule_memory *memory, double step_s,
                               struct rule_move *moves)
{
    int count = 0, from[RULE_MOVES_MAX];
    for (int n = 0; n < m->node_count; n++) {
        bool hot = !m->nodes[n].offline && load_of(m, n) > CONTENTION_LIMIT;
        memory->hot_steps[n] = hot ? memory->hot_steps[n] + 1 : 0;
        memory->pause[n] -= memory->pause[n] > 0;
        if (memory->hot_steps[n] * step_s < CONTENTION_S || memory->pause[n])
            continue;
        while (load_of(m, n) > CONTENTION_LIMIT && count < RULE_MOVES_MAX) {
            double excess = (load_of(m, n) - CONTENTION_LIMIT) * m->nodes[n].load_capacity[RESOURCE_CPU];
            int best = -1;
            double nearest = INFINITY; /* the smallest that is enough, or else the largest */
            for (int g = m->first[n]; g >= 0; g = m->next[g]) {
                double cpu = m->use[g][SUM_LOAD_CPU], distance = cpu >= excess ? cpu - excess : 1e6 - cpu;
                if (distance < nearest && rules_movable(m, g) == RULE_NONE) {
                    nearest = distance;
                    best = g;
                }
            }
            int to = best >= 0 ? coldest_for(m, p, best) : -1;
            if (to < 0 || to == n || load_of(m, to) > CONTENTION_LIMIT)
                break;
            from[count] = n;
            moves[count++] = (struct rule_move){best, to};
            model_place(m, best, to, -1);
        }
        memory->pause[n] = (int)(PAUSE_S / step_s);
    }
    undo(m, moves, from, count);
    return count;
}
