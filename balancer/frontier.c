#include "balancer/frontier.h"

#include <math.h>

#include "balancer/plan_time.h"
#include "balancer/policy.h"

static const int parts[] = {50, 90, 95, 99, 100};                   /* percent */
static const double prices[] = {64, 16, 4, 2, 0.5, 0.25, 1.0 / 16}; /* beside 1 */

enum { PARTS = sizeof parts / sizeof *parts, PRICES = sizeof prices / sizeof *prices };

_Static_assert(PARTS *(PRICES + 1) <= FRONTIER_POINTS_MAX, "a point for each part of each plan");

/* What the first so many moves of the plan take, and bring of the score. */
static void measure(const struct plan *plan, struct frontier_point *p)
{
    struct plan first = *plan;
    first.count = p->moves;
    plan_time_sum(&first);
    p->seconds = first.seconds;
    p->bytes = first.bytes;
    p->gain = p->moves ? plan->before - plan->moves[p->moves - 1].after : 0;
}

/* Its parts; those that are as many moves are one. compare_with() makes parts of their gains. */
static void add(struct frontier *f, const struct plan *plan, double price)
{
    f->rests &= plan->rests;
    for (int i = 0; i < PARTS && plan->count && f->count < FRONTIER_POINTS_MAX; i++) {
        int moves = parts[i] == 100 ? plan->count : plan_prefix(plan, parts[i] / 100.0);
        bool again = i && f->points[f->count - 1].moves == moves;
        struct frontier_point *p = &f->points[again ? f->count - 1 : f->count++];
        *p = (struct frontier_point){.price = price, .part = parts[i], .moves = moves};
        measure(plan, p);
    }
}

/* As parts of what the plan itself brings, or else of the most that any does. */
static void compare_with(struct frontier *f, double whole)
{
    double most = 0;
    for (int i = 0; i < f->count; i++)
        most = f->points[i].gain > most ? f->points[i].gain : most;
    whole = whole > 0 ? whole : most;
    for (int i = 0; i < f->count; i++)
        f->points[i].gain = whole > 0 ? f->points[i].gain / whole : 0;
}

void frontier_of(const struct plan *plan, double price, struct frontier *f)
{
    *f = (struct frontier){.rests = true};
    add(f, plan, price);
    compare_with(f, plan->before - plan->after);
}

/* Of two that are the same the one whose options say less. */
static bool is_plainer(const struct frontier_point *a, const struct frontier_point *b)
{
    double from_usual = fabs(log(a->price)), other = fabs(log(b->price));
    return from_usual < other || (from_usual <= other && (a->part > b->part || (a->part == b->part && a < b)));
}

static bool beats(const struct frontier_point *a, const struct frontier_point *b)
{
    static const double NOISE = 1e-9;
    if (a->gain < b->gain - NOISE || a->moves > b->moves || a->bytes > b->bytes)
        return false;
    bool better = a->gain > b->gain + NOISE || a->moves < b->moves || a->bytes < b->bytes;
    return better || is_plainer(a, b);
}

static void keep_best(struct frontier *f)
{
    struct frontier kept = {.rests = f->rests};
    for (int i = 0; i < f->count; i++) {
        bool beaten = !f->points[i].moves;
        for (int j = 0; j < f->count && !beaten; j++)
            beaten = j != i && beats(&f->points[j], &f->points[i]);
        if (beaten)
            continue;
        int at = kept.count++;
        for (; at > 0 && kept.points[at - 1].moves > f->points[i].moves; at--)
            kept.points[at] = kept.points[at - 1];
        kept.points[at] = f->points[i];
    }
    *f = kept;
}

/* Points that say hardly more than the one before; never the plan itself. */
static void thin_out(struct frontier *f)
{
    static const double STEP = 0.01;
    int count = 0;
    for (int i = 0; i < f->count; i++) {
        const struct frontier_point *p = &f->points[i];
        bool plan = p->price == 1 && p->part == 100;
        if (!count || plan || p->gain >= f->points[count - 1].gain + STEP)
            f->points[count++] = *p;
    }
    f->count = count;
}

int frontier_make(const struct model *m, const struct policy *policy, const struct plan_options *options,
                  const struct plan *plan, void (*begins)(void *data, int left), struct frontier *f, struct err *err)
{
    *f = (struct frontier){.rests = true};
    add(f, plan, 1);
    for (int i = 0; i < PRICES; i++) {
        struct policy priced = *policy;
        struct plan other;
        policy_price(&priced, prices[i]);
        if (begins)
            begins(options->budget.data, PRICES - i);
        int rc = plan_make(m, &priced, options, &other, err);
        if (rc < 0)
            return rc;
        add(f, &other, prices[i]);
        plan_fini(&other);
    }
    compare_with(f, plan->count ? plan->before - plan->after : 0);
    keep_best(f);
    thin_out(f);
    return 0;
}

json_t *frontier_json(const struct frontier *f)
{
    json_t *points = json_array();
    for (int i = 0; i < f->count; i++) {
        const struct frontier_point *p = &f->points[i];
        json_array_append_new(points,
                              json_pack("{s:f, s:i, s:f, s:i, s:f, s:f}", "price", p->price, "part", p->part, "gain",
                                        p->gain, "moves", p->moves, "bytes", p->bytes, "seconds", p->seconds));
    }
    return points;
}
