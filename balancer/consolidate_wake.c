/* How many of the sleeping nodes the others need. What the planner could make of the nodes that are on comes first: a
 * hot node beside a cold one is work for a plan, not for a further node. Then one more is opened at a time, the largest
 * first, and everything planned anew, until all are within the limits to sleep by; or, if that cannot be had, for as
 * long as it helps. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "balancer/consolidate.h"
#include "balancer/policy.h"
#include "node/base/err.h"

static const double WHOLE = 10; /* a guest without a place, a loss that cannot be borne, against parts of a load */
static const double LEAST = 1e-6;

struct waking {
    const struct model *model;
    const struct policy *policy;
    struct policy planning;
    const struct consolidate_options *options;
    struct consolidate_losses *losses;
    struct consolidation *c;
    int *asleep, count;
    bool all_known; /* nobody's measurements are missing: the room for losses can be judged */
};

/* How much of it is too full, by these limits; *what: the worst. */
static double excess(const struct waking *w, const struct model *m, const double *limit, struct consolidate_node *what)
{
    double sum = 0, worst = 0;
    for (int n = 0; n < m->node_count; n++)
        for (int r = 0; r < RESOURCE_COUNT && consolidate_counts(m, n); r++) {
            double load = consolidate_load(m, n, (enum model_resource)r), over = load - limit[r];
            sum += over > LEAST ? over : 0;
            if (over > LEAST && over > worst) {
                worst = over;
                *what = (struct consolidate_node){
                    .reason = CONSOLIDATE_LIMIT, .resource = (enum model_resource)r, .node = n, .value = load};
            }
        }
    int tolerated = w->all_known ? consolidate_room(w->losses, m, w->policy, w->c->lose) : w->c->lose;
    if (tolerated < w->c->lose) {
        sum += WHOLE * (w->c->lose - tolerated);
        *what = (struct consolidate_node){.reason = CONSOLIDATE_ROOM};
    }
    for (int g = 0; g < m->guest_count; g++) {
        bool nowhere = m->at[g] < 0 || m->nodes[m->at[g]].offline;
        if (!nowhere || m->guests[g].state != GUEST_RUNNING || rules_movable(m, g) != RULE_NONE)
            continue;
        sum += WHOLE;
        *what = (struct consolidate_node){.reason = CONSOLIDATE_RULES, .guest = g};
    }
    return sum;
}

/* What the planner makes of it with so many opened. */
static int plan_with(const struct waking *w, int opened, struct model **after, struct err *err)
{
    const struct plan_options options = {.seed = w->options->seed,
                                         .budget = {.stop = w->options->stop, .data = w->options->stop_data}};
    struct plan plan = {0};
    struct model *m = model_copy(w->model);
    if (!m)
        return err_set(err, ENOMEM, "no memory for a plan");
    for (int i = 0; i < opened; i++)
        consolidate_open(m, w->asleep[i]);
    int rc = plan_make(m, &w->planning, &options, &plan, err);
    for (int i = 0; rc == 0 && i < plan.count; i++)
        model_place(m, plan.moves[i].guest, plan.moves[i].to, plan.moves[i].to_mirror);
    plan_fini(&plan);
    if (rc == 0)
        *after = m;
    else
        model_free(m);
    return rc;
}

/* The largest first; what is not known counts as nothing. */
static void list_sleepers(struct waking *w)
{
    for (int n = 0; n < w->model->node_count; n++) {
        if (w->c->nodes[n].verdict != CONSOLIDATE_ASLEEP)
            continue;
        int i = w->count++;
        for (; i > 0 && w->model->nodes[w->asleep[i - 1]].vcpus < w->model->nodes[n].vcpus; i--)
            w->asleep[i] = w->asleep[i - 1];
        w->asleep[i] = n;
    }
}

/* As sums have it fewer would not be enough in any case. */
static int fewest(const struct waking *w)
{
    struct model *m = model_copy(w->model);
    int opened = 0;
    for (int r = 0; m && r < RESOURCE_COUNT; r++) {
        double load = 0, capacity = 0;
        for (int n = 0; n < m->node_count; n++) {
            load += consolidate_counts(m, n) ? model_load(m, n, (enum model_resource)r) : 0;
            capacity += consolidate_counts(m, n) ? m->nodes[n].load_capacity[r] : 0;
        }
        while (opened < w->count && load > w->policy->consolidate.limit[r] * capacity) {
            consolidate_open(m, w->asleep[opened]);
            capacity += m->nodes[w->asleep[opened++]].load_capacity[r];
        }
    }
    model_free(m);
    return opened > 1 ? opened : 1;
}

static int open_one_by_one(struct waking *w, struct err *err)
{
    double least = INFINITY;
    for (int opened = 0; opened <= w->count; opened = opened ? opened + 1 : fewest(w)) {
        struct model *after = NULL;
        struct consolidate_node what = {0};
        int rc = plan_with(w, opened, &after, err);
        if (rc < 0)
            return rc;
        if (w->options->stop && w->options->stop(w->options->stop_data)) {
            w->c->rests = false; /* what half a search has left is no reason to wake one more */
            model_free(after);
            return 0;
        }
        double full = excess(w, after, w->policy->consolidate.wake, &what);
        if (!opened) {
            w->c->is_full = full > LEAST;
            w->c->full = what;
        }
        if (full < least - LEAST) {
            least = full;
            w->c->wakes = opened;
        }
        bool enough = excess(w, after, w->policy->consolidate.limit, &what) <= LEAST;
        model_free(after);
        if (enough)
            w->c->wakes = opened;
        if (enough || (!opened && !w->c->is_full))
            return 0;
    }
    return 0;
}

int consolidate_wake(const struct model *m, const struct policy *policy, const struct consolidate_options *options,
                     struct consolidate_losses *losses, struct consolidation *c, struct err *err)
{
    struct waking w = {.model = m,
                       .policy = policy,
                       .planning = *policy,
                       .options = options,
                       .losses = losses,
                       .c = c,
                       .all_known = true};
    struct consolidate_node what = {0};
    struct policy *p = &w.planning;
    p->lose = 0;
    p->enter = p->leave = p->cool_down_s = p->return_s = 0;
    p->move_cost = p->second_cost = p->downtime_cost = p->gib_cost = 0;
    for (int r = 0; r < RESOURCE_COUNT; r++)
        p->overload_limit = fmin(r ? p->overload_limit : 1, policy->consolidate.limit[r]);
    p->overload_weight = fmax(p->overload_weight, policy_default().overload_weight);
    for (int n = 0; n < m->node_count; n++)
        w.all_known &= !m->nodes[n].stale;
    if (excess(&w, m, policy->consolidate.wake, &what) <= LEAST)
        return 0;
    w.asleep = calloc((size_t)m->node_count + 1, sizeof *w.asleep);
    if (!w.asleep)
        return err_set(err, ENOMEM, "no memory for a plan");
    list_sleepers(&w);
    int rc = open_one_by_one(&w, err);
    for (int i = 0; rc == 0 && i < c->wakes; i++)
        c->nodes[w.asleep[i]].verdict = CONSOLIDATE_WAKES;
    free(w.asleep);
    return rc;
}
