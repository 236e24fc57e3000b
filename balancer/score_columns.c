/* Joining matters: on a cluster without local disks and without measured loads, ten of Ganeti's columns are three. */
#include "balancer/score_columns.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/policy.h"

struct wanted {
    int sum;
    double weight, limit;
};

static int wanted_ganeti(const struct model *m, struct wanted *w)
{
    static const struct wanted all[] = {
        {SUM_MEMORY, 0.5, INFINITY},       {SUM_DISK, 0.5, INFINITY},          {SUM_VCPUS, 0.5, INFINITY},
        {SUM_SPINDLES, 0.5, INFINITY},     {SUM_LOAD_CPU, 1, INFINITY},        {SUM_LOAD_MEMORY, 1, INFINITY},
        {SUM_LOAD_DISK, 1, INFINITY},      {SUM_LOAD_NETWORK, 1, INFINITY},    {SUM_PLANNED_MEMORY, 0.5, INFINITY},
        {SUM_PLANNED_DISK, 0.5, INFINITY}, {SUM_PLANNED_VCPUS, 0.5, INFINITY}, {SUM_PLANNED_SPINDLES, 0.5, INFINITY},
        {SCORE_RESERVED, 1, INFINITY},
    };
    int count = sizeof all / sizeof *all - (m->has_mirrors ? 0 : 1);
    memcpy(w, all, (size_t)count * sizeof *w);
    return count;
}

static int wanted_drover(const struct policy *p, struct wanted *w)
{
    int count = 0;
    for (int r = 0; r < RESOURCE_COUNT; r++)
        if (p->weight[r] > 0)
            w[count++] =
                (struct wanted){SUM_LOAD_CPU + r, p->weight[r], p->overload_weight > 0 ? p->overload_limit : INFINITY};
    if (p->reserved_weight > 0)
        w[count++] = (struct wanted){SUM_MEMORY, p->reserved_weight, INFINITY};
    return count;
}

/* x = base + unit * sum: Ganeti counts what is free, as a part of the whole, and disk as all free where there is none.
 */
static void scale_ganeti(const struct model *m, int n, int sum, double *unit, double *base)
{
    const struct model_node *node = &m->nodes[n];
    double spindles = node->spindle_ratio * node->spindles;
    *unit = 0;
    *base = 0;
    switch (sum) {
    case SUM_MEMORY:
    case SUM_PLANNED_MEMORY:
        *unit = -1 / node->memory;
        *base = (sum == SUM_MEMORY ? node->free_at_load : node->planned_at_load) / node->memory;
        break;
    case SUM_DISK:
    case SUM_PLANNED_DISK:
        *base = node->disk > 0 ? node->disk_at_load / node->disk : 1;
        *unit = node->disk > 0 ? -1 / node->disk : 0;
        break;
    case SUM_VCPUS:
    case SUM_PLANNED_VCPUS:
        *unit = 1 / node->vcpus / node->speed;
        *base = node->vcpus_own * *unit;
        break;
    case SUM_SPINDLES:
    case SUM_PLANNED_SPINDLES:
        *unit = spindles > 0 && !node->exclusive_storage ? 1 / spindles : 0;
        break;
    case SCORE_RESERVED:
        *unit = 1 / node->memory;
        break;
    default:
        *unit = 1;
    }
}

static void scale_drover(const struct model *m, int n, int sum, double *unit, double *base)
{
    const struct model_node *node = &m->nodes[n];
    double capacity = sum == SUM_MEMORY ? node->memory - node->memory_own : node->load_capacity[sum - SUM_LOAD_CPU];
    *unit = capacity > 0 ? 1 / capacity : 0;
    *base = 0;
}

static bool counts(const struct model *m, int n)
{
    return !m->nodes[n].offline && !m->nodes[n].outside;
}

/* The same number on every node whoever goes where, then it has nothing to say. */
static bool is_constant(const struct model *m, int sum)
{
    if (sum == SCORE_RESERVED)
        return false;
    for (int g = 0; g < m->guest_count; g++)
        if (m->use[g][sum] != 0 || (m->copy && m->copy[g][sum] != 0))
            return false;
    return true;
}

static bool is_alike(const struct score *s, const double *unit, const double *base, int a, int sum_b, int b)
{
    const struct model *m = s->model;
    int sum_a = s->sum_of[a];
    if (sum_a == SCORE_RESERVED || sum_b == SCORE_RESERVED || isfinite(s->limit[a]))
        return false;
    for (int n = 0; n < m->node_count; n++) {
        const double *u = unit + n * SCORE_COLUMNS_MAX, *v = base + n * SCORE_COLUMNS_MAX;
        if (counts(m, n) && (u[a] != u[b] || fabs(v[a] - v[b]) > 1e-15))
            return false;
    }
    for (int g = 0; g < m->guest_count; g++)
        if (m->use[g][sum_a] != m->use[g][sum_b] || (m->copy && m->copy[g][sum_a] != m->copy[g][sum_b]))
            return false;
    return true;
}

/* What a column that guests do not change adds to the score: members of volumes work where they are. */
static void add_constant(struct score *s, const struct wanted *w, const double *unit, const double *base, int k)
{
    const struct model *m = s->model;
    double mean = 0, squares = 0;
    for (int n = 0; n < m->node_count; n++) {
        int i = n * SCORE_COLUMNS_MAX + k;
        double x = base[i] + unit[i] * m->sum[n][w->sum], over = x - w->limit;
        mean += counts(m, n) ? x / s->up : 0;
        s->constant += counts(m, n) && over > 0 ? s->policy->overload_weight * w->weight * over / s->up : 0;
    }
    for (int n = 0; n < m->node_count; n++) {
        int i = n * SCORE_COLUMNS_MAX + k;
        double d = base[i] + unit[i] * m->sum[n][w->sum] - mean;
        squares += counts(m, n) ? d * d : 0;
    }
    s->constant += w->weight * sqrt(squares / s->up);
    if (w->sum >= SUM_LOAD_CPU && w->sum <= SUM_LOAD_NETWORK)
        s->still[w->sum - SUM_LOAD_CPU] = sqrt(squares / s->up);
}

static void choose(struct score *s, const struct wanted *w, int count, double *unit, double *base)
{
    struct model *m = s->model;
    for (int i = 0; i < count; i++) {
        int k = s->columns, alike = -1;
        for (int n = 0; n < m->node_count; n++) {
            double *u = unit + n * SCORE_COLUMNS_MAX + k, *b = base + n * SCORE_COLUMNS_MAX + k;
            if (m->family == MODEL_GANETI)
                scale_ganeti(m, n, w[i].sum, u, b);
            else
                scale_drover(m, n, w[i].sum, u, b);
        }
        if (is_constant(m, w[i].sum)) {
            if (s->up > 0)
                add_constant(s, &w[i], unit, base, k);
            continue;
        }
        for (int a = 0; a < k && alike < 0 && !isfinite(w[i].limit); a++)
            if (is_alike(s, unit, base, a, w[i].sum, k))
                alike = a;
        if (alike >= 0) {
            s->weight[alike] += w[i].weight;
            continue;
        }
        s->sum_of[k] = w[i].sum;
        s->weight[k] = w[i].weight;
        s->limit[k] = w[i].limit;
        s->limited |= isfinite(w[i].limit);
        if (w[i].sum == SUM_LOAD_NETWORK)
            s->network = k;
        s->columns++;
    }
}

int score_columns_make(struct score *s)
{
    const struct model *m = s->model;
    size_t nodes = (size_t)m->node_count + 1, guests = (size_t)m->guest_count + 1;
    double *unit = calloc(nodes * SCORE_COLUMNS_MAX, sizeof *unit),
           *base = calloc(nodes * SCORE_COLUMNS_MAX, sizeof *base);
    int rc = -ENOMEM;
    if (!unit || !base)
        goto out;
    struct wanted w[SCORE_COLUMNS_MAX];
    s->up = 0;
    for (int n = 0; n < m->node_count; n++)
        s->up += counts(m, n);
    s->columns = 0;
    s->limited = s->tied = false;
    for (int g = 0; g < m->guest_count; g++)
        s->tied |= m->guests[g].pins || m->guests[g].storage_count > 0;
    s->constant = 0;
    s->network = -1;
    choose(s, w, m->family == MODEL_GANETI ? wanted_ganeti(m, w) : wanted_drover(s->policy, w), unit, base);
    size_t columns = (size_t)s->columns;
    s->unit = calloc(nodes * columns + 1, sizeof *s->unit);
    s->base = calloc(nodes * columns + 1, sizeof *s->base);
    s->x = calloc(nodes * columns + 1, sizeof *s->x);
    s->take = calloc(guests * columns + 1, sizeof *s->take);
    s->copy = m->copy ? calloc(guests * columns + 1, sizeof *s->copy) : NULL;
    if (!s->unit || !s->base || !s->x || !s->take || (m->copy && !s->copy))
        goto out;
    for (size_t k = 0; k < columns; k++) {
        for (size_t n = 0; n + 1 < nodes; n++) {
            s->unit[n * columns + k] = unit[n * SCORE_COLUMNS_MAX + k];
            s->base[n * columns + k] = base[n * SCORE_COLUMNS_MAX + k];
        }
        for (size_t g = 0; g + 1 < guests && s->sum_of[k] != SCORE_RESERVED; g++) {
            s->take[g * columns + k] = m->use[g][s->sum_of[k]];
            if (s->copy)
                s->copy[g * columns + k] = m->copy[g][s->sum_of[k]];
        }
    }
    rc = 0;
out:
    free(unit);
    free(base);
    return rc;
}
