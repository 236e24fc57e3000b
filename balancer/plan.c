#include "balancer/plan.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/capacity.h"
#include "balancer/policy.h"
#include "balancer/waves.h"
#include "node/base/err.h"

enum { RESERVE_ROUNDS = 8 };

void plan_fini(struct plan *plan)
{
    free(plan->moves);
    free(plan->at);
    free(plan->mirror);
    *plan = (struct plan){0};
}

static bool anyone_must_move(const struct search *s)
{
    for (int g = 0; g < s->model->guest_count; g++)
        if (search_must_move(s, g) && !s->stays[g])
            return true;
    return false;
}

/* Overload and broken rules are reasons to act below any threshold of spread. */
static bool is_balanced(const struct search *s, const struct plan_options *options)
{
    const struct model *m = s->model;
    double threshold = options->active ? s->policy->leave : s->policy->enter;
    if (m->family == MODEL_GANETI || threshold <= 0 || score_spread(&s->score) >= threshold)
        return false;
    bool overload = false;
    for (int n = 0; n < m->node_count; n++)
        overload |= !m->nodes[n].offline && s->score.part[n] > 0;
    return !overload && s->score.groups <= 0;
}

/* What the waves cost: each as long as its longest move. */
static void sum_up(struct plan *plan)
{
    double longest = 0;
    plan->seconds = plan->bytes = 0;
    for (int i = 0; i < plan->count; i++) {
        const struct plan_move *move = &plan->moves[i];
        if (i && move->wave != plan->moves[i - 1].wave) {
            plan->seconds += longest;
            longest = 0;
        }
        longest = fmax(longest, move->cost.seconds);
        plan->bytes += move->cost.bytes;
    }
    plan->seconds += longest;
}

/* From the state of `model` to the one the search found. */
static int order(const struct model *model, const struct policy *policy, const struct search *s, struct plan *plan,
                 struct err *err)
{
    struct model *from = model_copy(model);
    struct score score = {0};
    int rc = from ? score_init(&score, from, policy, err) : err_set(err, ENOMEM, "no memory for a plan");
    if (rc == 0 && waves_make(&score, s->model->at, s->model->mirror, plan) < 0)
        rc = err_set(err, ENOMEM, "no memory for a plan of %d moves", plan->count);
    if (rc == 0) {
        size_t bytes = ((size_t)from->guest_count + 1) * sizeof *plan->at;
        plan->after = score_exact(&score);
        plan->spread_after = score_spread(&score);
        plan->at = malloc(bytes);
        plan->mirror = malloc(bytes);
        if (plan->at && plan->mirror) {
            memcpy(plan->at, from->at, bytes - sizeof *plan->at);
            memcpy(plan->mirror, from->mirror, bytes - sizeof *plan->mirror);
        } else {
            rc = err_set(err, ENOMEM, "no memory for a plan");
        }
        plan->stranded = 0;
        for (int g = 0; g < from->guest_count; g++)
            plan->stranded +=
                from->at[g] < 0 || (from->nodes[from->at[g]].offline && !from->nodes[from->at[g]].outside);
    }
    score_fini(&score);
    model_free(from);
    return rc;
}

/* Of a wave after which the room is gone: the move with which it went. Nobody who must move is to blame. */
static int culprit_of(const struct model *before, const struct policy *policy, const struct plan *plan, int first,
                      int last, int tolerated)
{
    struct model *m = model_copy(before);
    int found = -1;
    for (int i = first; m && i <= last && found < 0; i++) {
        const struct plan_move *move = &plan->moves[i];
        bool must = move->from < 0 || m->nodes[move->from].offline;
        model_place(m, move->guest, move->to, move->to_mirror);
        int left = capacity_tolerates(m, policy, tolerated);
        if (!must && left < tolerated)
            found = i;
        tolerated = left; /* what went with one that must move is no later one's doing */
    }
    model_free(m);
    return found;
}

/* The room for lost nodes that was there before the plan must be there after each of its waves. The first move that
 * takes it is forbidden and everything planned anew. True if the plan may stay. */
static bool keeps_reserve(const struct model *model, const struct policy *policy, const struct plan *plan,
                          struct search *s, int tolerated)
{
    struct model *m = model_copy(model), *wave = model_copy(model);
    bool good = m && wave;
    for (int i = 0, first = 0; good && i < plan->count; i++) {
        const struct plan_move *move = &plan->moves[i];
        model_place(m, move->guest, move->to, move->to_mirror);
        if (i + 1 < plan->count && plan->moves[i + 1].wave == move->wave)
            continue;
        int left = capacity_tolerates(m, policy, tolerated);
        int culprit = left < tolerated ? culprit_of(wave, policy, plan, first, i, tolerated) : -1;
        tolerated = left;
        if (culprit >= 0) {
            s->stays[plan->moves[culprit].guest] = true;
            good = false;
        }
        for (; first <= i; first++)
            model_place(wave, plan->moves[first].guest, plan->moves[first].to, plan->moves[first].to_mirror);
    }
    model_free(m);
    model_free(wave);
    return good;
}

static int search_and_order(const struct model *model, const struct policy *policy, const struct plan_options *options,
                            struct search *s, struct plan *plan, struct err *err)
{
    int tolerated = policy->lose > 0 ? capacity_tolerates(model, policy, policy->lose) : 0;
    for (int round = 0;; round++) {
        search_run(s, options->must);
        int rc = order(model, policy, s, plan, err);
        if (rc < 0 || tolerated <= 0 || keeps_reserve(model, policy, plan, s, tolerated))
            return rc;
        if (round == RESERVE_ROUNDS || s->stopped) { /* better no move than one that takes the room */
            memcpy(plan->at, model->at, (size_t)model->guest_count * sizeof *plan->at);
            memcpy(plan->mirror, model->mirror, (size_t)model->guest_count * sizeof *plan->mirror);
            plan->dropped += plan->count;
            plan->count = plan->waves = 0;
            plan->after = plan->before;
            plan->spread_after = plan->spread;
            return 0;
        }
        for (int g = 0; g < model->guest_count; g++)
            if (s->model->at[g] != model->at[g] || s->model->mirror[g] != model->mirror[g])
                score_commit(&s->score, g, model->at[g], model->mirror[g]);
        score_refresh(&s->score);
        free(plan->at);
        free(plan->mirror);
        plan->at = plan->mirror = NULL;
        plan->count = plan->waves = plan->dropped = 0;
    }
}

static int make(const struct model *model, const struct policy *policy, const struct plan_options *options,
                struct plan *plan, struct err *err)
{
    *plan = (struct plan){0};
    struct model *m = model_copy(model);
    struct search s = {0};
    int rc = m ? search_init(&s, m, policy, options->seed, options->budget, err)
               : err_set(err, ENOMEM, "no memory for a plan");
    if (rc == 0) {
        struct plan_options changed = *options;
        s.last = options->last;
        s.others_stay = options->others_stay;
        plan->before = score_exact(&s.score);
        plan->spread = score_spread(&s.score);
        score_spreads(&s.score, plan->spreads);
        bool balanced = is_balanced(&s, options);
        changed.must |= balanced && anyone_must_move(&s);
        if (balanced && !changed.must) {
            search_fini(&s);
            rc = search_init(&s, m, policy, options->seed, (struct search_budget){0}, err);
            rc = rc == 0 ? order(model, policy, &s, plan, err) : rc;
        } else {
            rc = search_and_order(model, policy, &changed, &s, plan, err);
        }
        plan->evaluations = s.evaluations;
        plan->rests = !s.stopped;
        plan->why = plan->count                      ? PLAN_MOVES
                    : !s.score.up || !m->guest_count ? PLAN_EMPTY
                    : balanced                       ? PLAN_BALANCED
                                                     : PLAN_AT_REST;
        sum_up(plan);
    }
    search_fini(&s);
    model_free(m);
    if (rc < 0)
        plan_fini(plan);
    return rc;
}

/* Who must move goes where there is room; everybody else only to nodes that are known. */
int plan_make(const struct model *model, const struct policy *policy, const struct plan_options *options,
              struct plan *plan, struct err *err)
{
    struct model *known = options->must ? NULL : model_copy(model);
    if (!known && !options->must)
        return err_set(err, ENOMEM, "no memory for a plan");
    if (known)
        model_shun_unseen(known);
    int rc = make(known ? known : model, policy, options, plan, err);
    model_free(known);
    return rc;
}

int plan_drain(const struct model *model, const struct policy *policy, const struct plan_options *options, int node,
               struct plan *plan, struct err *err)
{
    struct model *m = model_copy(model);
    if (!m)
        return err_set(err, ENOMEM, "no memory for a plan");
    m->nodes[node].offline = true;
    struct plan_options must = *options;
    must.must = true;
    int rc = plan_make(m, policy, &must, plan, err);
    model_free(m);
    return rc;
}

int plan_lose(const struct model *model, const struct policy *policy, const struct plan_options *options,
              const int *nodes, int count, struct plan *plan, struct err *err)
{
    struct model *m = model_copy(model);
    if (!m)
        return err_set(err, ENOMEM, "no memory for a plan");
    for (int i = 0; i < count; i++) {
        m->nodes[nodes[i]].offline = true;
        for (int g = m->first[nodes[i]]; g >= 0; g = m->first[nodes[i]])
            model_place(m, g, m->mirror[g], -1); /* to its mirror, or nowhere */
    }
    struct plan_options must = *options;
    must.must = must.others_stay = true; /* what is lost is started again, and nothing else is moved */
    int rc = plan_make(m, policy, &must, plan, err);
    model_free(m);
    return rc;
}

int plan_prefix(const struct plan *plan, double part)
{
    double wanted = part * (plan->before - plan->after);
    int count = 0;
    while (count < plan->count && plan->before - (count ? plan->moves[count - 1].after : plan->before) < wanted - 1e-12)
        count++;
    return count;
}
