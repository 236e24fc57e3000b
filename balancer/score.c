#include "balancer/score.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/groups.h"
#include "balancer/policy.h"
#include "balancer/score_columns.h"
#include "node/base/err.h"

/* How a node would change; a move touches four at most. */
struct touch {
    int node;
    int runs, mirrors; /* the guest runs there, or has its mirror there, from now on: 1, no longer: -1 */
    double reserved;   /* as it would be */
};

enum { TOUCH_MAX = 4 };

int score_init(struct score *s, struct model *model, const struct policy *policy, struct err *err)
{
    *s = (struct score){.model = model, .policy = policy};
    s->part = calloc((size_t)model->node_count + 1, sizeof *s->part);
    if (!s->part || score_columns_make(s) < 0) {
        score_fini(s);
        return err_set(err, ENOMEM, "no memory for the score of %d nodes", model->node_count);
    }
    score_refresh(s);
    return 0;
}

void score_fini(struct score *s)
{
    free(s->unit);
    free(s->base);
    free(s->x);
    free(s->take);
    free(s->copy);
    free(s->part);
    *s = (struct score){0};
}

static bool counts(const struct score *s, int node)
{
    const struct model_node *n = &s->model->nodes[node];
    return !n->offline && !n->outside;
}

/* ---- what only looks at one node ---- */

static double part_ganeti(const struct score *s, int node, double memory_sum, double reserved, int count, int mirrors)
{
    const struct model_node *n = &s->model->nodes[node];
    if (n->outside)
        return 0;
    if (n->offline)
        return 16.0 * count + 4.0 * (count + mirrors);
    double failing = n->free_at_load - memory_sum < reserved ? count + mirrors : 0;
    return failing + 0.25 * reserved / n->memory;
}

/* What lies over the limit, per node of the cluster. */
double score_over(const struct score *s, int k, double x)
{
    return x > s->limit[k] ? s->policy->overload_weight * s->weight[k] * (x - s->limit[k]) / s->up : 0;
}

static double part_drover(const struct score *s, int node, const double *x, int count)
{
    const struct model_node *n = &s->model->nodes[node];
    if (n->outside)
        return 0;
    if (n->offline)
        return s->policy->drain_weight * count;
    double sum = 0;
    for (int k = 0; k < s->columns; k++)
        sum += score_over(s, k, x[k]);
    return sum;
}

static double part_of(const struct score *s, int node, const double *x, double memory, double reserved, int count,
                      int mirrors)
{
    return s->model->family == MODEL_GANETI ? part_ganeti(s, node, memory, reserved, count, mirrors)
                                            : part_drover(s, node, x, count);
}

/* ---- places: what a guest's own node, or two, say of it ---- */

/* It is where its pins do not want it: a reason to go, as a broken group is. */
static double pin_cost(const struct score *s, int guest, int at)
{
    const struct model *m = s->model;
    const struct model_guest *g = &m->guests[guest];
    bool away = g->pins && at >= 0 && !m->nodes[at].offline && !m->nodes[at].outside && model_is_pinned_away(g, at);
    return away ? s->policy->group_weight : 0;
}

static double place_cost(const struct score *s, int guest, int at, int mirror)
{
    const struct model *m = s->model;
    const struct model_guest *g = &m->guests[guest];
    if (!m->tags.count || at < 0 || m->nodes[at].offline || m->nodes[at].outside || g->planned)
        return pin_cost(s, guest, at);
    const struct bits *here = &m->nodes[at].locations;
    int shared = mirror >= 0 ? bits_shared(here, &m->nodes[mirror].locations) : 0;
    return shared + bits_count(&g->desired) - bits_shared(&g->desired, here) + pin_cost(s, guest, at);
}

/* ---- everything anew ---- */

static void row_of(const struct score *s, int node, const double *sum, double reserved, double *x)
{
    const double *unit = s->unit + (size_t)node * (size_t)s->columns,
                 *base = s->base + (size_t)node * (size_t)s->columns;
    for (int k = 0; k < s->columns; k++)
        x[k] = base[k] + unit[k] * (s->sum_of[k] == SCORE_RESERVED ? reserved : sum[s->sum_of[k]]);
}

static double homeless(const struct score *s)
{
    double sum = 0;
    for (int g = 0; g < s->model->guest_count; g++)
        sum += s->model->at[g] < 0 ? s->policy->drain_weight : 0;
    return sum;
}

void score_refresh(struct score *s)
{
    struct model *m = s->model;
    int columns = s->columns;
    s->parts = 0;
    for (int k = 0; k < columns; k++)
        s->shift[k] = s->s1[k] = s->s2[k] = 0;
    for (int n = 0; n < m->node_count; n++) {
        double *x = s->x + (size_t)n * (size_t)columns;
        row_of(s, n, m->sum[n], m->reserved[n], x);
        s->part[n] = part_of(s, n, x, m->sum[n][SUM_MEMORY], m->reserved[n], m->count[n], m->mirrors[n]);
        s->parts += s->part[n];
        for (int k = 0; k < columns && counts(s, n); k++)
            s->shift[k] += x[k] / s->up;
    }
    for (int n = 0; n < m->node_count; n++)
        for (int k = 0; k < columns && counts(s, n); k++) {
            double d = s->x[(size_t)n * (size_t)columns + (size_t)k] - s->shift[k];
            s->s1[k] += d;
            s->s2[k] += d * d;
        }
    for (int k = 0; k < columns; k++)
        s->scaled[k] = s->up > 0 ? s->weight[k] / s->up : 0;
    s->parts += homeless(s);
    s->groups = groups_total(m);
    for (int g = 0; g < m->guest_count; g++)
        s->groups += place_cost(s, g, m->at[g], m->mirror[g]);
    s->changes = 0;
}

static double spread(const struct score *s, int k, double s1, double s2)
{
    double squares = s2 * s->up - s1 * s1;
    return s->scaled[k] * sqrt(squares > 0 ? squares : 0);
}

static double value_of(const struct score *s, const double *s1, const double *s2, double rest)
{
    double sum = rest + s->constant;
    for (int k = 0; k < s->columns && s->up > 0; k++)
        sum += spread(s, k, s1[k], s2[k]);
    return sum;
}

double score_value(const struct score *s)
{
    return value_of(s, s->s1, s->s2, s->parts + s->groups);
}

double score_exact(const struct score *s)
{
    struct score fresh = *s;
    size_t cells = (size_t)s->model->node_count * (size_t)s->columns + 1;
    fresh.x = malloc(cells * sizeof *fresh.x);
    fresh.part = malloc(((size_t)s->model->node_count + 1) * sizeof *fresh.part);
    double value = score_value(s);
    if (fresh.x && fresh.part) {
        score_refresh(&fresh);
        value = score_value(&fresh);
    }
    free(fresh.x);
    free(fresh.part);
    return value;
}

/* ---- a move, the short way: nobody has a mirror ---- */

/* What a guest adds to this column on this node. */
static double take_at(const struct score *s, int guest, int node, int k)
{
    double take = s->take[(size_t)guest * (size_t)s->columns + (size_t)k];
    return k == s->network ? take - model_near(&s->model->guests[guest], node) : take;
}

/* The columns' sums if guest a went from node p to q, and b the other way round. */
static double shifted(const struct score *s, int p, int q, int a, int b, double rest)
{
    int columns = s->columns;
    const double *xp = s->x + (size_t)p * (size_t)columns, *up = s->unit + (size_t)p * (size_t)columns;
    const double *xq = s->x + (size_t)q * (size_t)columns, *uq = s->unit + (size_t)q * (size_t)columns;
    const double *take = s->take + (size_t)a * (size_t)columns, *back = s->take + (size_t)b * (size_t)columns;
    bool with_p = p >= 0 && counts(s, p), with_q = counts(s, q);
    bool near = s->network >= 0 && (s->model->guests[a].storage_count || s->model->guests[b].storage_count);
    double sum = rest + s->constant;
    for (int k = 0; k < columns; k++) {
        double v = take[k] - back[k], w = v, s1 = s->s1[k], s2 = s->s2[k];
        if (near && k == s->network) {
            v = take_at(s, a, p, k) - take_at(s, b, p, k);
            w = take_at(s, a, q, k) - take_at(s, b, q, k);
        }
        if (with_p) {
            double d = -v * up[k], x = xp[k] - s->shift[k];
            s1 += d;
            s2 += d * (2 * x + d);
            if (s->limit[k] < INFINITY)
                sum += score_over(s, k, xp[k] + d) - score_over(s, k, xp[k]);
        }
        if (with_q) {
            double d = w * uq[k], x = xq[k] - s->shift[k];
            s1 += d;
            s2 += d * (2 * x + d);
            if (s->limit[k] < INFINITY)
                sum += score_over(s, k, xq[k] + d) - score_over(s, k, xq[k]);
        }
        sum += spread(s, k, s1, s2);
    }
    return sum;
}

/* How a node's part changes by what has no column: guests that count where they should not be. */
static double part_change(const struct score *s, int node, int guest, int sign)
{
    const struct model *m = s->model;
    const struct model_node *n = &m->nodes[node];
    int one = m->guests[guest].planned ? 0 : sign;
    if (n->outside)
        return 0;
    if (n->offline)
        return m->family == MODEL_GANETI ? 20.0 * one : s->policy->drain_weight * one;
    if (m->family != MODEL_GANETI || m->reserved[node] <= 0)
        return 0;
    double memory = m->sum[node][SUM_MEMORY] + sign * m->use[guest][SUM_MEMORY];
    return part_ganeti(s, node, memory, m->reserved[node], m->count[node] + one, m->mirrors[node]) - s->part[node];
}

void score_leave(const struct score *s, int guest, struct score_away *away)
{
    const struct model *m = s->model;
    int p = m->at[guest], columns = s->columns;
    const double *take = s->take + (size_t)guest * (size_t)columns;
    away->guest = guest;
    away->columns = columns;
    away->rest = s->parts + s->groups + s->constant;
    away->simple = m->group_start[guest] == m->group_start[guest + 1] && !m->tags.count && !m->has_mirrors &&
                   !m->guests[guest].pins;
    memcpy(away->s1, s->s1, sizeof away->s1);
    memcpy(away->s2, s->s2, sizeof away->s2);
    away->near = s->network >= 0 && m->guests[guest].storage_count > 0;
    away->plain = away->simple && !away->near && !s->limited;
    for (int k = 0; k < columns; k++)
        away->take[k] = take[k];
    if (p < 0) {
        away->rest -= s->policy->drain_weight;
        return;
    }
    away->rest += part_change(s, p, guest, -1) - place_cost(s, guest, p, -1);
    if (m->group_start[guest] != m->group_start[guest + 1])
        away->rest -= groups_leave(m, guest, p, -1, -1);
    const double *x = s->x + (size_t)p * (size_t)columns, *unit = s->unit + (size_t)p * (size_t)columns;
    for (int k = 0; k < columns && counts(s, p); k++) {
        double d = -(away->near ? take_at(s, guest, p, k) : take[k]) * unit[k];
        away->s1[k] += d;
        away->s2[k] += d * (2 * (x[k] - s->shift[k]) + d);
        if (s->limit[k] < INFINITY)
            away->rest += score_over(s, k, x[k] + d) - score_over(s, k, x[k]);
    }
}

/* Where nothing but columns tells places apart, which is most of what a search asks. */
static double arrive_plain(const struct score *s, const struct score_away *away, int at)
{
    size_t row = (size_t)at * (size_t)away->columns;
    double sum = away->rest;
    for (int k = 0; k < away->columns; k++) {
        double d = away->take[k] * s->unit[row + (size_t)k];
        double s1 = away->s1[k] + d;
        double s2 = away->s2[k] + d * (2 * (s->x[row + (size_t)k] - s->shift[k]) + d);
        double squares = s2 * s->up - s1 * s1;
        sum += s->scaled[k] * sqrt(squares > 0 ? squares : 0);
    }
    return sum;
}

double score_arrive(const struct score *s, const struct score_away *away, int at)
{
    const struct model *m = s->model;
    double sum = away->rest;
    bool up = counts(s, at);
    if (away->plain && up)
        return arrive_plain(s, away, at);
    if (!away->simple || !up) {
        sum += part_change(s, at, away->guest, 1);
        if (m->group_start[away->guest] != m->group_start[away->guest + 1])
            sum += groups_enter(m, away->guest, at, -1, -1);
        sum += place_cost(s, away->guest, at, -1);
    }
    const double *x = s->x + (size_t)at * (size_t)away->columns, *unit = s->unit + (size_t)at * (size_t)away->columns;
    for (int k = 0; k < away->columns; k++) {
        double take = away->near ? take_at(s, away->guest, at, k) : away->take[k];
        double d = up ? take * unit[k] : 0;
        double s1 = away->s1[k] + d, s2 = away->s2[k] + d * (2 * (x[k] - s->shift[k]) + d);
        double squares = s2 * s->up - s1 * s1;
        sum += s->scaled[k] * sqrt(squares > 0 ? squares : 0);
        if (up && s->limit[k] < INFINITY)
            sum += score_over(s, k, x[k] + d) - score_over(s, k, x[k]);
    }
    return sum;
}

static double after_plain(const struct score *s, int guest, int at)
{
    struct score_away away;
    score_leave(s, guest, &away);
    return score_arrive(s, &away, at);
}

double score_after_swap(const struct score *s, int a, int b)
{
    const struct model *m = s->model;
    int p = m->at[a], q = m->at[b];
    double rest = s->parts + s->groups;
    bool grouped = m->group_start[a] != m->group_start[a + 1] || m->group_start[b] != m->group_start[b + 1];
    if (grouped)
        rest += groups_enter(m, a, q, -1, -1) - groups_leave(m, a, p, -1, -1) + groups_enter(m, b, p, a, q) -
                groups_leave(m, b, q, a, q);
    if (m->tags.count || m->guests[a].pins || m->guests[b].pins)
        rest += place_cost(s, a, q, -1) + place_cost(s, b, p, -1) - place_cost(s, a, p, -1) - place_cost(s, b, q, -1);
    return shifted(s, p, q, a, b, rest);
}

void score_swaps_begin(const struct score *s, int p, int q, struct score_swaps *swaps)
{
    const struct model *m = s->model;
    size_t columns = (size_t)s->columns;
    const double *xp = s->x + (size_t)p * columns, *up = s->unit + (size_t)p * columns;
    const double *xq = s->x + (size_t)q * columns, *uq = s->unit + (size_t)q * columns;
    swaps->any =
        counts(s, p) && counts(s, q) && !s->tied && !s->limited && !m->group_start[m->guest_count] && !m->tags.count;
    swaps->columns = s->columns;
    swaps->take = s->take;
    swaps->rest = s->parts + s->groups + s->constant;
    for (size_t k = 0; k < columns; k++) {
        /* v leaves p and comes to q: s1 and s2 change by v * d1 and by v * b + v * v * c */
        double d1 = uq[k] - up[k], b = 2 * (uq[k] * (xq[k] - s->shift[k]) - up[k] * (xp[k] - s->shift[k]));
        double c = up[k] * up[k] + uq[k] * uq[k], *square = swaps->square[k];
        square[0] = s->s2[k] * s->up - s->s1[k] * s->s1[k];
        square[1] = b * s->up - 2 * s->s1[k] * d1;
        square[2] = c * s->up - d1 * d1;
        swaps->scaled[k] = s->scaled[k];
    }
}

/* ---- a move, the long way: mirrors ---- */

static struct touch *touch(const struct score *s, struct touch *touches, int *count, int node, int runs, int mirrors)
{
    struct touch *t = touches, *end = touches + *count;
    while (t < end && t->node != node)
        t++;
    if (t == end) {
        *t = (struct touch){.node = node, .reserved = s->model->reserved[node]};
        ++*count;
    }
    t->runs += runs;
    t->mirrors += mirrors;
    return t;
}

/* The largest reserve of a node with one entry less and another more; either primary may be -1. */
static double reserved_after(const struct model *m, int node, int less, int more, double memory)
{
    const double *row = m->peers + (size_t)node * (size_t)m->node_count;
    double largest = m->reserved[node];
    if (less >= 0 && less != more && row[less] >= largest) {
        largest = row[less] - memory;
        for (int i = 0; i < m->node_count; i++)
            if (i != less && row[i] > largest)
                largest = row[i];
    }
    double grown = more >= 0 ? row[more] + (less == more ? 0 : memory) : 0;
    return grown > largest ? grown : largest;
}

/* Into the columns' sums goes what the touch changes of them; the change of the node's part comes back. */
static double take_in(const struct score *s, int guest, const struct touch *t, double *s1, double *s2)
{
    const struct model *m = s->model;
    size_t columns = (size_t)s->columns, row = (size_t)t->node * columns;
    const double *was = s->x + row, *unit = s->unit + row, *take = s->take + (size_t)guest * columns,
                 *copy = s->copy + (size_t)guest * columns;
    bool counted = counts(s, t->node);
    double x[SCORE_COLUMNS_MAX];
    for (size_t k = 0; k < columns; k++) {
        double d = unit[k] * (t->runs * take[k] + t->mirrors * copy[k]);
        if (s->sum_of[k] == SCORE_RESERVED)
            d = unit[k] * (t->reserved - m->reserved[t->node]);
        x[k] = was[k] + d;
        if (counted) {
            s1[k] += d;
            s2[k] += d * (2 * (was[k] - s->shift[k]) + d);
        }
    }
    double memory =
        m->sum[t->node][SUM_MEMORY] + t->runs * m->use[guest][SUM_MEMORY] + t->mirrors * m->copy[guest][SUM_MEMORY];
    int one = !m->guests[guest].planned;
    return part_of(s, t->node, x, memory, t->reserved, m->count[t->node] + one * t->runs,
                   m->mirrors[t->node] + one * t->mirrors) -
           s->part[t->node];
}

static double after_mirrored(const struct score *s, int guest, int at, int mirror)
{
    const struct model *m = s->model;
    const struct model_guest *g = &m->guests[guest];
    int p = m->at[guest], old = m->mirror[guest], touched = 0;
    struct touch touches[TOUCH_MAX];
    if (at != p) {
        touch(s, touches, &touched, p, -1, 0);
        touch(s, touches, &touched, at, 1, 0);
    }
    struct touch *less = touch(s, touches, &touched, old, 0, -1), *more = touch(s, touches, &touched, mirror, 0, 1);
    if (g->state != GUEST_OFFLINE && g->balanced && !g->planned) {
        less->reserved = reserved_after(m, old, p, mirror == old ? at : -1, g->memory);
        if (mirror != old)
            more->reserved = reserved_after(m, mirror, -1, at, g->memory);
    }
    double s1[SCORE_COLUMNS_MAX], s2[SCORE_COLUMNS_MAX], rest = s->parts + s->groups;
    memcpy(s1, s->s1, sizeof s1);
    memcpy(s2, s->s2, sizeof s2);
    for (int i = 0; i < touched; i++)
        rest += take_in(s, guest, &touches[i], s1, s2);
    if (at != p)
        rest += groups_enter(m, guest, at, -1, -1) - groups_leave(m, guest, p, -1, -1);
    rest += place_cost(s, guest, at, mirror) - place_cost(s, guest, p, old);
    return value_of(s, s1, s2, rest);
}

double score_after(const struct score *s, int guest, int at, int mirror)
{
    return s->model->mirror[guest] >= 0 ? after_mirrored(s, guest, at, mirror) : after_plain(s, guest, at);
}

/* ---- doing it ---- */

static void update_node(struct score *s, int n)
{
    if (n < 0)
        return;
    const struct model *m = s->model;
    double x[SCORE_COLUMNS_MAX], *was = s->x + (size_t)n * (size_t)s->columns;
    row_of(s, n, m->sum[n], m->reserved[n], x);
    for (int k = 0; k < s->columns; k++) {
        if (counts(s, n)) {
            s->s1[k] += x[k] - was[k];
            s->s2[k] += (x[k] - was[k]) * (x[k] + was[k] - 2 * s->shift[k]);
        }
        was[k] = x[k];
    }
    double part = part_of(s, n, x, m->sum[n][SUM_MEMORY], m->reserved[n], m->count[n], m->mirrors[n]);
    s->parts += part - s->part[n];
    s->part[n] = part;
}

void score_commit(struct score *s, int guest, int at, int mirror)
{
    struct model *m = s->model;
    int p = m->at[guest], old = m->mirror[guest];
    if (at != p)
        s->groups +=
            (at >= 0 ? groups_enter(m, guest, at, -1, -1) : 0) - (p >= 0 ? groups_leave(m, guest, p, -1, -1) : 0);
    s->groups += place_cost(s, guest, at, mirror) - place_cost(s, guest, p, old);
    s->parts += ((at < 0) - (p < 0)) * s->policy->drain_weight;
    model_place(m, guest, at, mirror);
    update_node(s, p);
    update_node(s, old);
    update_node(s, at);
    update_node(s, mirror);
    if (++s->changes >= MODEL_RECOUNT_EVERY)
        score_refresh(s);
}

/* ---- views ---- */

double score_heat(const struct score *s, int node)
{
    double heat = 0;
    const double *x = s->x + (size_t)node * (size_t)s->columns, *unit = s->unit + (size_t)node * (size_t)s->columns;
    for (int k = 0; k < s->columns; k++) {
        double mean = s->s1[k] / s->up, deviation = spread(s, k, s->s1[k], s->s2[k]) / s->weight[k];
        double slope = deviation > 1e-12 ? s->weight[k] * (x[k] - s->shift[k] - mean) / deviation : 0;
        heat += (unit[k] < 0 ? -slope : slope) + (x[k] > s->limit[k] ? s->policy->overload_weight * s->weight[k] : 0);
    }
    return heat;
}

/* Of a column of loads, without what no move changes. */
static double moving_spread(const struct score *s, int k)
{
    const struct model *m = s->model;
    double sum = 0, squares = 0;
    for (int n = 0; n < m->node_count; n++) {
        size_t i = (size_t)n * (size_t)s->columns + (size_t)k;
        double d = s->x[i] - s->unit[i] * m->standing[n][s->sum_of[k] - SUM_LOAD_CPU] - s->shift[k];
        sum += counts(s, n) ? d : 0;
        squares += counts(s, n) ? d * d : 0;
    }
    double variance = s->up > 0 ? (squares - sum * sum / s->up) / s->up : 0;
    return variance > 0 ? sqrt(variance) : 0;
}

double score_spread(const struct score *s)
{
    double largest = 0;
    for (int k = 0; k < s->columns; k++) {
        if (s->sum_of[k] < SUM_LOAD_CPU || s->sum_of[k] > SUM_LOAD_NETWORK)
            continue;
        double deviation = moving_spread(s, k);
        largest = deviation > largest ? deviation : largest;
    }
    return largest;
}
