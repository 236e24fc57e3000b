/* Candidates are tried cheapest first, in batches that grow while they work and are halved when one does not: a large
 * idle cluster takes a few tries and not one a node, and whenever time runs out something was found. A try closes the
 * batch beside what sleeps already, has the planner empty all of it from the state of now, and looks at the end. The
 * room for losses on the way there is looked at once, of the plan that is left; where it is not enough the node that
 * was added last stays on.
 *
 * That is one round. The next begins in the state that the one before has reached, and its waves follow those; the last
 * round finds nothing, which is what makes a cluster in which it was all done a cluster at rest. */
#include "balancer/consolidate.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/policy.h"
#include "balancer/waves.h"
#include "node/base/err.h"

enum {
    FIRST_PART = 16, /* of the candidates: the first batch, so that something is found early */
    CHUNK_MOST = 64, /* waves that are looked at as one */
    CHUNK_LESS = 4,
};

struct candidate {
    int node;
    double seconds; /* of its guests' migrations */
};

struct emptying {
    struct model *model; /* where this round begins; what is not measured is stale */
    const struct policy *policy;
    struct policy planning;
    const struct consolidate_options *options;
    struct consolidation *c;
    struct consolidate_losses *losses;
    struct candidate *candidates;
    int candidate_count;
    int *taken, taken_count; /* nodes that sleep from this round on, in the order of taking */
    struct plan found;       /* that empties them, as the last try made it; none: count is 0 */
};

void consolidate_fini(struct consolidation *c)
{
    free(c->nodes);
    model_free(c->closed);
    plan_fini(&c->plan);
    *c = (struct consolidation){0};
}

double consolidate_load(const struct model *m, int node, enum model_resource resource)
{
    const struct model_node *n = &m->nodes[node];
    double capacity = n->load_capacity[resource];
    double load = capacity > 0 ? model_load(m, node, resource) / capacity : 0;
    if (resource != RESOURCE_MEMORY || n->memory <= 0)
        return load;
    double given = (n->memory - n->free_at_load + m->sum[node][SUM_MEMORY]) / n->memory;
    return given > load ? given : load;
}

bool consolidate_counts(const struct model *m, int node)
{
    const struct model_node *n = &m->nodes[node];
    return !n->offline && !n->outside && !n->stale;
}

int consolidate_lose(const struct policy *p)
{
    return p->lose > p->consolidate.lose ? p->lose : p->consolidate.lose;
}

void consolidate_open(struct model *m, int node)
{
    struct model_node *n = &m->nodes[node];
    const struct model_node *like = NULL;
    for (int i = 0; i < m->node_count; i++)
        if (consolidate_counts(m, i) && m->nodes[i].memory > 0 && (!like || m->nodes[i].memory < like->memory))
            like = &m->nodes[i];
    if (like && (n->vcpus <= 0 || n->memory <= 0)) {
        int name = n->name, rack = n->rack, site = n->site;
        *n = *like;
        n->name = name;
        n->rack = rack;
        n->site = site;
        n->unaccounted = 0;
        n->free_at_load = n->memory - n->memory_own;
        n->disk_at_load = n->disk;
    }
    n->stale = false;
    model_set_offline(m, node, false);
}

static bool is_over(const struct emptying *e)
{
    return e->options->stop && e->options->stop(e->options->stop_data);
}

/* Nothing new is begun. */
static bool is_late(const struct emptying *e)
{
    return is_over(e) || (e->options->late && e->options->late(e->options->stop_data));
}

static void fullest(const struct model *m, double load[RESOURCE_COUNT])
{
    for (int r = 0; r < RESOURCE_COUNT; r++) {
        load[r] = 0;
        for (int n = 0; n < m->node_count; n++)
            if (consolidate_counts(m, n))
                load[r] = fmax(load[r], consolidate_load(m, n, (enum model_resource)r));
    }
}

/* ---- who may be asked at all ---- */

static bool judge_guest(const struct emptying *e, int guest, struct consolidate_node *verdict)
{
    const struct model_guest *g = &e->model->guests[guest];
    enum rule rule = rules_movable(e->model, guest);
    bool resting = g->moved_ago_s >= 0 && g->moved_ago_s < e->policy->cool_down_s;
    verdict->guest = guest;
    verdict->reason = !g->measured                                      ? CONSOLIDATE_UNMEASURED
                      : rule == RULE_FIXED || g->state != GUEST_RUNNING ? CONSOLIDATE_FIXED
                      : rule == RULE_HELD                               ? CONSOLIDATE_HELD
                      : resting                                         ? CONSOLIDATE_RESTING
                                                                        : CONSOLIDATE_NO_REASON;
    return verdict->reason == CONSOLIDATE_NO_REASON;
}

static bool judge_node(const struct emptying *e, int node, struct consolidate_node *verdict)
{
    const struct model_node *n = &e->model->nodes[node];
    verdict->count = n->members;
    verdict->guest = -1;
    verdict->reason = n->members > 0 ? CONSOLIDATE_MEMBERS
                      : n->stays_on  ? CONSOLIDATE_STAYS_ON
                      : n->held      ? CONSOLIDATE_HELD
                                     : CONSOLIDATE_NO_REASON;
    bool good = verdict->reason == CONSOLIDATE_NO_REASON;
    for (int g = e->model->first[node]; good && g >= 0; g = e->model->next[g])
        good = judge_guest(e, g, verdict);
    if (good && n->stale) {
        verdict->reason = CONSOLIDATE_STALE;
        good = false;
    }
    return good;
}

static int compare(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->seconds != y->seconds)
        return x->seconds < y->seconds ? -1 : 1;
    return (x->node < y->node) - (x->node > y->node); /* the last first: who is named first stays on */
}

static void find_candidates(struct emptying *e)
{
    const struct model *m = e->model;
    for (int n = 0; n < m->node_count; n++) {
        struct consolidate_node *verdict = &e->c->nodes[n];
        if (verdict->verdict != CONSOLIDATE_STAYS || !judge_node(e, n, verdict))
            continue;
        struct candidate *c = &e->candidates[e->candidate_count++];
        *c = (struct candidate){.node = n};
        for (int g = m->first[n]; g >= 0; g = m->next[g])
            c->seconds += cost_migration(m, e->policy, g, n, n ? 0 : m->node_count - 1).seconds;
        verdict->reason = CONSOLIDATE_BUDGET; /* until it is looked at */
    }
    qsort(e->candidates, (size_t)e->candidate_count, sizeof *e->candidates, compare);
}

/* ---- one try ---- */

/* Whether it can be at all, from sums: without a plan. */
static bool sums_fit(const struct emptying *e, const struct model *closed, struct consolidate_node *why)
{
    int on = 0;
    for (int n = 0; n < closed->node_count; n++)
        on += consolidate_counts(closed, n);
    if (on < e->policy->consolidate.keep || on < 1) {
        why->reason = CONSOLIDATE_KEEP;
        return false;
    }
    for (int r = 0; r < RESOURCE_COUNT; r++) {
        double load = 0, capacity = 0;
        for (int n = 0; n < closed->node_count; n++) {
            load += consolidate_counts(e->model, n) ? model_load(closed, n, (enum model_resource)r) : 0;
            capacity += consolidate_counts(closed, n) ? closed->nodes[n].load_capacity[r] : 0;
        }
        if (capacity > 0 && load > e->policy->consolidate.limit[r] * capacity) {
            *why = (struct consolidate_node){
                .reason = CONSOLIDATE_LIMIT, .resource = (enum model_resource)r, .node = -1, .value = load / capacity};
            return false;
        }
    }
    return true;
}

/* The commonest reason for which nobody takes this guest. */
static enum rule commonest(const struct emptying *e, const struct model *m, int guest)
{
    int times[RULE_COUNT] = {0}, best = RULE_NONE;
    for (int n = 0; n < m->node_count; n++)
        if (consolidate_counts(m, n))
            times[rules_check(m, e->policy, guest, n, -1)]++;
    for (int r = RULE_NONE + 1; r < RULE_COUNT; r++)
        best = r != RULE_SAME && times[r] > times[best] ? r : best;
    return (enum rule)best;
}

/* The state after the plan: nobody is left behind, nobody above the limits, and room for losses. */
static bool end_is_good(const struct emptying *e, const struct model *m, struct consolidate_node *why)
{
    for (int g = 0; g < m->guest_count; g++)
        if (m->at[g] >= 0 && e->model->nodes[m->at[g]].offline != m->nodes[m->at[g]].offline) {
            *why = (struct consolidate_node){.reason = CONSOLIDATE_RULES, .guest = g, .rule = commonest(e, m, g)};
            return false;
        }
    for (int n = 0; n < m->node_count; n++)
        for (int r = 0; r < RESOURCE_COUNT && consolidate_counts(m, n); r++) {
            double load = consolidate_load(m, n, (enum model_resource)r);
            if (load <= e->policy->consolidate.limit[r])
                continue;
            *why = (struct consolidate_node){
                .reason = CONSOLIDATE_LIMIT, .resource = (enum model_resource)r, .node = n, .value = load};
            return false;
        }
    if (consolidate_room(e->losses, m, e->policy, e->c->lose) >= e->c->lose)
        return true;
    why->reason = CONSOLIDATE_ROOM;
    return false;
}

/* The planner takes members of a group that are on a closed node for gone, which here they are not before they have
 * left: the plan is looked at with everything open, too. */
static bool way_is_good(const struct emptying *e, const struct plan *plan, struct consolidate_node *why)
{
    const struct model *m = e->model;
    int wrong = waves_check(m, e->policy, plan);
    if (wrong <= 0) {
        why->reason = CONSOLIDATE_BUDGET; /* no memory to look at it */
        return wrong == 0;
    }
    int guest = plan->moves[wrong - 1].guest;
    bool together = false;
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++)
        together |= m->groups[m->group_of[i]].hard && m->groups[m->group_of[i]].together;
    *why = (struct consolidate_node){
        .reason = CONSOLIDATE_RULES, .guest = guest, .rule = together ? RULE_TOGETHER : RULE_APART};
    return false;
}

static void apply(struct model *m, const struct plan *plan)
{
    for (int i = 0; i < plan->count; i++)
        model_place(m, plan->moves[i].guest, plan->moves[i].to, plan->moves[i].to_mirror);
}

/* The cluster with what is taken and so many more closed. NULL: no memory. */
static struct model *close_them(const struct emptying *e, const struct candidate *more, int count)
{
    struct model *m = model_copy(e->model);
    for (int i = 0; m && i < e->taken_count; i++)
        model_set_offline(m, e->taken[i], true);
    for (int i = 0; m && i < count; i++)
        model_set_offline(m, more[i].node, true);
    return m;
}

/* stop: of the options. */
static int make_plan(const struct emptying *e, bool (*stop)(void *data), const struct model *closed, struct plan *plan,
                     struct err *err)
{
    const struct plan_options options = {.seed = e->options->seed,
                                         .budget = {.stop = stop, .data = e->options->stop_data},
                                         .must = true,
                                         .others_stay = true};
    return plan_make(closed, &e->planning, &options, plan, err);
}

/* 1: these can sleep, too, and `found` empties all; 0: no, and *why. */
static int try_them(struct emptying *e, const struct candidate *more, int count, struct consolidate_node *why,
                    struct err *err)
{
    struct plan plan = {0};
    struct model *m = close_them(e, more, count);
    if (!m)
        return err_set(err, ENOMEM, "no memory for a plan");
    int rc =
        sums_fit(e, m, why) ? make_plan(e, e->options->late ? e->options->late : e->options->stop, m, &plan, err) : 1;
    bool planned = rc == 0;
    if (planned) {
        apply(m, &plan);
        rc = way_is_good(e, &plan, why) && end_is_good(e, m, why) ? 1 : 0;
    }
    if (planned && rc > 0) {
        plan_fini(&e->found);
        e->found = plan;
        plan = (struct plan){0};
    }
    plan_fini(&plan);
    model_free(m);
    return rc < 0 ? rc : planned && rc > 0;
}

static int choose(struct emptying *e, struct err *err)
{
    int batch = (e->candidate_count + FIRST_PART - 1) / FIRST_PART;
    bool grows = true;
    for (int i = 0; i < e->candidate_count;) {
        struct consolidate_node why = {.verdict = CONSOLIDATE_STAYS};
        if (is_late(e)) {
            e->c->rests = false;
            return 0;
        }
        batch = batch < e->candidate_count - i ? batch : e->candidate_count - i;
        int rc = try_them(e, &e->candidates[i], batch, &why, err);
        if (rc < 0)
            return rc;
        grows &= rc > 0;
        if (!rc && batch > 1) {
            batch /= 2;
            continue;
        }
        for (int k = 0; rc && k < batch; k++) {
            e->c->nodes[e->candidates[i + k].node] = (struct consolidate_node){.verdict = CONSOLIDATE_SLEEPS};
            e->taken[e->taken_count++] = e->candidates[i + k].node;
        }
        if (!rc && is_late(e))
            why.reason = CONSOLIDATE_BUDGET; /* what was found then is no reason */
        if (!rc)
            e->c->nodes[e->candidates[i].node] = why;
        i += batch;
        batch *= grows ? 2 : 1;
    }
    return 0;
}

/* ---- the plan that is left ---- */

static int end_of_wave(const struct plan *plan, int i)
{
    int wave = plan->moves[i].wave;
    while (i < plan->count && plan->moves[i].wave == wave)
        i++;
    return i;
}

/* Where the chunk of moves from `first` on ends: so many waves. */
static int end_of_chunk(const struct plan *plan, int first, int waves)
{
    for (; waves > 0 && first < plan->count; waves--)
        first = end_of_wave(plan, first);
    return first;
}

/* After every wave as many nodes may be lost as before, or as are to be; those that empty still take guests then. Many
 * waves are looked at as one in which nobody has left and everybody has come; only if that is too much, as fewer. */
static bool keeps_room(const struct emptying *e, const struct plan *plan, struct consolidate_node *why)
{
    struct model *m = model_copy(e->model);
    int wanted = m ? consolidate_room(e->losses, m, e->policy, e->c->lose) : 0, waves = CHUNK_MOST;
    bool good = m != NULL;
    *why = (struct consolidate_node){.reason = CONSOLIDATE_ROOM};
    for (int i = 0; good && wanted > 0 && i < plan->count;) {
        int end = end_of_chunk(plan, i, waves);
        if (is_over(e)) {
            why->reason = CONSOLIDATE_BUDGET;
            good = false;
            break;
        }
        bool whole = waves > 1 && consolidate_room_during(e->losses, m, e->policy, plan, i, end, wanted) >= wanted;
        if (!whole && waves > 1) {
            waves /= CHUNK_LESS;
            continue;
        }
        for (; i < end; i++)
            model_place(m, plan->moves[i].guest, plan->moves[i].to, plan->moves[i].to_mirror);
        good = whole || consolidate_room(e->losses, m, e->policy, wanted) >= wanted;
        waves = waves < CHUNK_MOST ? waves * CHUNK_LESS : waves;
    }
    model_free(m);
    return good;
}

/* These stay on after all, the last ones first. */
static void give_back(struct emptying *e, int count, const struct consolidate_node *why)
{
    for (; count > 0 && e->taken_count; count--)
        e->c->nodes[e->taken[--e->taken_count]] = *why;
}

/* The plan of what is taken, and its way. Where that is not good fewer are taken; where the time is over, none. */
static int settle(struct emptying *e, struct plan *plan, struct err *err)
{
    *plan = e->found;
    e->found = (struct plan){0};
    for (int fewer = 1; e->taken_count; fewer *= 2) {
        struct consolidate_node why = {0};
        struct model *closed = close_them(e, NULL, 0);
        int rc = !closed    ? err_set(err, ENOMEM, "no memory for a plan")
                 : plan->at ? 0
                            : make_plan(e, e->options->stop, closed, plan, err);
        bool good = rc == 0 && way_is_good(e, plan, &why);
        if (good) {
            apply(closed, plan);
            good = end_is_good(e, closed, &why) && keeps_room(e, plan, &why);
        }
        model_free(closed);
        if (rc < 0 || good)
            return rc;
        plan_fini(plan);
        if (is_over(e)) {
            e->c->rests = false;
            why.reason = CONSOLIDATE_BUDGET;
            fewer = e->taken_count;
        }
        give_back(e, fewer, &why);
    }
    return 0;
}

/* More waves behind those that are there. */
static int append(struct plan *to, struct plan *more, struct err *err)
{
    struct plan_move *moves = realloc(to->moves, ((size_t)to->count + (size_t)more->count + 1) * sizeof *moves);
    if (!moves)
        return err_set(err, ENOMEM, "no memory for a plan");
    for (int i = 0; i < more->count; i++) {
        moves[to->count + i] = more->moves[i];
        moves[to->count + i].wave += to->waves;
    }
    free(to->at);
    free(to->mirror);
    free(more->moves);
    struct plan sum = *more; /* at and mirror with it: where everybody is at last */
    sum.moves = moves;
    sum.count = sum.room = to->count + more->count;
    sum.waves += to->waves;
    sum.seconds += to->seconds;
    sum.bytes += to->bytes;
    sum.evaluations += to->evaluations;
    sum.before = to->count ? to->before : more->before;
    *to = sum;
    *more = (struct plan){0};
    return 0;
}

/* 1: something more can sleep, and the model has it so. */
static int one_round(struct emptying *e, struct err *err)
{
    struct plan plan = {0};
    e->candidate_count = e->taken_count = 0;
    find_candidates(e);
    int rc = choose(e, err);
    rc = rc == 0 && e->taken_count ? settle(e, &plan, err) : rc;
    if (rc == 0 && e->taken_count) {
        apply(e->model, &plan);
        for (int i = 0; i < e->taken_count; i++) {
            e->model->nodes[e->taken[i]].drained = true;
            model_set_offline(e->model, e->taken[i], true);
        }
        rc = append(&e->c->plan, &plan, err);
        e->c->sleeps += e->taken_count;
    }
    plan_fini(&plan);
    plan_fini(&e->found);
    return rc < 0 ? rc : e->taken_count > 0;
}

/* ---- all of it ---- */

/* Who has no place, or one that is closed, gets one first. -1: nobody. */
static int who_waits(const struct model *m)
{
    for (int g = 0; g < m->guest_count; g++)
        if (m->guests[g].state == GUEST_RUNNING && (m->at[g] < 0 || m->nodes[m->at[g]].offline))
            return g;
    return -1;
}

static void give_verdicts(struct consolidation *c, const struct model *m)
{
    for (int n = 0; n < m->node_count; n++) {
        const struct model_node *node = &m->nodes[n];
        bool is_empty = m->first[n] < 0 && !node->stale; /* with guests that were left out it is not */
        bool sleeps = node->offline && node->drained && !node->outside && is_empty;
        c->asleep += sleeps;
        c->on += !node->offline && !node->outside;
        c->nodes[n].verdict = sleeps                           ? CONSOLIDATE_ASLEEP
                              : node->offline || node->outside ? CONSOLIDATE_CLOSED
                                                               : CONSOLIDATE_STAYS;
    }
}

static void give_all(struct consolidation *c, int nodes, struct consolidate_node why)
{
    for (int n = 0; n < nodes; n++)
        if (c->nodes[n].verdict == CONSOLIDATE_STAYS)
            c->nodes[n] = why;
}

static int empty(struct emptying *e, struct err *err)
{
    struct consolidation *c = e->c;
    int waits = who_waits(e->model), rc = 1;
    if (c->is_full || c->wakes)
        give_all(c, e->model->node_count, (struct consolidate_node){.reason = CONSOLIDATE_FULL});
    else if (!c->rests)
        give_all(c, e->model->node_count, (struct consolidate_node){.reason = CONSOLIDATE_BUDGET});
    else if (waits >= 0)
        give_all(c, e->model->node_count, (struct consolidate_node){.reason = CONSOLIDATE_WAITING, .guest = waits});
    else
        while (rc > 0 && c->rests)
            rc = one_round(e, err);
    return rc < 0 ? rc : 0;
}

/* The planner's weights, with the limits as what it keeps away from, and our own look at the room. */
static struct policy to_plan_with(const struct policy *policy)
{
    struct policy p = *policy;
    p.lose = 0;
    for (int r = 0; r < RESOURCE_COUNT; r++)
        p.overload_limit = fmin(r ? p.overload_limit : 1, policy->consolidate.limit[r]);
    p.overload_weight = fmax(p.overload_weight, policy_default().overload_weight);
    return p;
}

/* What is not measured, or does not run, is left where it is. */
static void mark(struct model *m)
{
    for (int g = 0; g < m->guest_count; g++) {
        struct model_guest *guest = &m->guests[g];
        guest->movable &= guest->state == GUEST_RUNNING;
        if (m->at[g] >= 0 && !guest->measured && guest->state == GUEST_RUNNING)
            m->nodes[m->at[g]].stale = true;
    }
}

static int consolidate_by(const struct model *model, const struct policy *policy,
                          const struct consolidate_options *options, struct consolidation *c, struct err *err)
{
    *c = (struct consolidation){.rests = true, .lose = consolidate_lose(policy)};
    if (model->family != MODEL_DROVER || model->has_mirrors)
        return err_set(err, ENOTSUP, "nodes to sleep are found by Drover's rules only, not by Ganeti's");
    struct model *m = model_copy(model);
    size_t count = (size_t)model->node_count + 1;
    c->closed = model_copy(model);
    struct consolidate_losses losses = {0};
    struct emptying e = {.model = m,
                         .losses = &losses,
                         .policy = policy,
                         .planning = to_plan_with(policy),
                         .options = options,
                         .c = c,
                         .candidates = calloc(count, sizeof *e.candidates),
                         .taken = calloc(count, sizeof *e.taken)};
    c->nodes = calloc(count, sizeof *c->nodes);
    int rc = m && e.candidates && e.taken && c->nodes && c->closed ? 0 : err_set(err, ENOMEM, "no memory for a plan");
    if (rc == 0) {
        mark(m);
        mark(c->closed);
        give_verdicts(c, m);
        fullest(m, c->load);
        rc = consolidate_losses_init(&losses, m, policy, err);
        rc = rc == 0 ? consolidate_wake(m, policy, options, &losses, c, err) : rc;
        rc = rc == 0 ? empty(&e, err) : rc;
        fullest(m, c->load_after);
        for (int n = 0; n < m->node_count; n++)
            model_set_offline(c->closed, n, m->nodes[n].offline);
    }
    consolidate_losses_fini(&losses);
    free(e.candidates);
    free(e.taken);
    model_free(m);
    if (rc < 0)
        consolidate_fini(c);
    return rc;
}

int consolidate(const struct model *model, const struct policy *policy, const struct consolidate_options *options,
                struct consolidation *c, struct err *err)
{
    struct policy p = *policy;
    p.into_per_hour = 0; /* who packs fills nodes */
    return consolidate_by(model, &p, options, c, err);
}
