#include "balancer/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/bound.h"
#include "balancer/capacity.h"
#include "balancer/plan_room.h"
#include "balancer/plan_time.h"
#include "balancer/policy.h"
#include "balancer/waves.h"
#include "node/base/err.h"

enum { RESERVE_ROUNDS = 8 };

void plan_fini(struct plan *plan)
{
    free(plan->moves);
    free(plan->at);
    free(plan->mirror);
    free(plan->kept);
    free(plan->closed);
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

/* The plan leads to the state of this score's model. */
static int note_end(const struct score *score, struct plan *plan, struct err *err)
{
    const struct model *m = score->model;
    size_t bytes = ((size_t)m->guest_count + 1) * sizeof *plan->at;
    free(plan->at);
    free(plan->mirror);
    plan->at = malloc(bytes);
    plan->mirror = malloc(bytes);
    if (!plan->at || !plan->mirror)
        return err_set(err, ENOMEM, "no memory for a plan");
    memcpy(plan->at, m->at, bytes - sizeof *plan->at);
    memcpy(plan->mirror, m->mirror, bytes - sizeof *plan->mirror);
    plan->after = score_exact(score);
    plan->spread_after = score_spread(score);
    plan->stranded = 0;
    for (int g = 0; g < m->guest_count; g++)
        plan->stranded += m->at[g] < 0 || (m->nodes[m->at[g]].offline && !m->nodes[m->at[g]].outside);
    return 0;
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
    rc = rc == 0 ? note_end(&score, plan, err) : rc;
    score_fini(&score);
    model_free(from);
    return rc;
}

/* As far as it is said, and no worse than before: at the end of the wave after which the score was least. */
static int cut(const struct model *model, const struct policy *policy, struct plan *plan, int good, struct err *err)
{
    struct model *m = model_copy(model);
    struct score score = {0};
    int best = 0;
    for (int i = 0; i < good; i++) {
        bool ends = i + 1 == plan->count || plan->moves[i + 1].wave != plan->moves[i].wave;
        if (ends && plan->moves[i].after < (best ? plan->moves[best - 1].after : plan->before) - 1e-12)
            best = i + 1;
    }
    for (int i = 0; m && i < best; i++)
        model_place(m, plan->moves[i].guest, plan->moves[i].to, plan->moves[i].to_mirror);
    plan->dropped += plan->count - best;
    plan->count = best;
    plan->waves = best ? plan->moves[best - 1].wave + 1 : 0;
    int rc = m ? score_init(&score, m, policy, err) : err_set(err, ENOMEM, "no memory for a plan");
    rc = rc == 0 ? note_end(&score, plan, err) : rc;
    score_fini(&score);
    model_free(m);
    return rc;
}

/* The room for lost nodes that was there before the plan must be there after each of its waves: the first move that
 * takes it is forbidden and everything planned anew, some times; then, or when looking has taken long or the time is
 * over, only the waves up to there are planned. */
static int search_and_keep(const struct model *model, const struct model *judged, const struct policy *policy,
                           const struct plan_options *options, struct search *s, struct plan *plan, struct err *err)
{
    int tolerated = judged ? capacity_tolerates(judged, policy, policy->lose) : 0;
    uint64_t looks = 0;
    for (int round = 0;; round++) {
        struct plan_room room;
        search_run(s, options->must);
        int rc = order(model, policy, s, plan, err);
        if (rc < 0 || tolerated <= 0)
            return rc;
        if (plan_room_check(judged, policy, plan, tolerated, PLAN_ROOM_WORK - looks, &s->budget, &room) < 0)
            return err_set(err, ENOMEM, "no memory to check a plan");
        if (room.good == plan->count)
            return 0;
        looks += room.looks;
        s->stopped |= room.stopped || looks >= PLAN_ROOM_WORK; /* more might be found with more time */
        if (room.culprit < 0 || round == RESERVE_ROUNDS || s->stopped)
            return cut(model, policy, plan, room.good, err);
        s->stays[plan->moves[room.culprit].guest] = true;
        if (!plan->kept && !(plan->kept = calloc((size_t)model->guest_count + 1, sizeof *plan->kept)))
            return err_set(err, ENOMEM, "no memory for a plan");
        plan->kept[plan->moves[room.culprit].guest] = true;
        for (int g = 0; g < model->guest_count; g++)
            if (s->model->at[g] != model->at[g] || s->model->mirror[g] != model->mirror[g])
                score_commit(&s->score, g, model->at[g], model->mirror[g]);
        score_refresh(&s->score);
        plan->count = plan->waves = plan->dropped = 0;
    }
}

static int search_and_order(const struct model *model, const struct policy *policy, const struct plan_options *options,
                            struct search *s, struct plan *plan, struct err *err)
{
    struct model *judged = policy->lose > 0 ? bound_copy(model, policy) : NULL;
    if (policy->lose > 0 && !judged)
        return err_set(err, ENOMEM, "no memory to check a plan");
    int rc = search_and_keep(model, judged, policy, options, s, plan, err);
    model_free(judged);
    return rc;
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
        if (rc == 0 && plan_time_waves(plan, m, policy) < 0)
            rc = err_set(err, ENOMEM, "no memory for a plan of %d moves", plan->count);
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
    bool unseen = !options->must && model->family == MODEL_DROVER; /* Ganeti's clusters have no measurements */
    struct model *known = unseen ? model_copy(model) : NULL;
    if (!known && unseen)
        return err_set(err, ENOMEM, "no memory for a plan");
    if (known)
        model_shun_unseen(known);
    int rc = make(known ? known : model, policy, options, plan, err);
    model_free(known);
    return rc;
}

/* For those who ask why. */
static int note_closed(struct plan *plan, const int *nodes, int count, int rc, struct err *err)
{
    plan->closed = rc == 0 ? malloc(((size_t)count + 1) * sizeof *plan->closed) : NULL;
    if (rc == 0 && !plan->closed) {
        plan_fini(plan);
        return err_set(err, ENOMEM, "no memory for a plan");
    }
    for (int i = 0; rc == 0 && i < count; i++)
        plan->closed[plan->closed_count++] = nodes[i];
    return rc;
}

int plan_drain(const struct model *model, const struct policy *policy, const struct plan_options *options, int node,
               struct plan *plan, struct err *err)
{
    struct model *m = model_copy(model);
    if (!m)
        return err_set(err, ENOMEM, "no memory for a plan");
    model_set_offline(m, node, true);
    struct plan_options must = *options;
    must.must = true;
    int rc = plan_make(m, policy, &must, plan, err);
    model_free(m);
    return note_closed(plan, &node, 1, rc, err);
}

int plan_lose(const struct model *model, const struct policy *policy, const struct plan_options *options,
              const int *nodes, int count, struct plan *plan, struct err *err)
{
    struct model *m = model_copy(model);
    if (!m)
        return err_set(err, ENOMEM, "no memory for a plan");
    for (int i = 0; i < count; i++) {
        model_set_offline(m, nodes[i], true);
        for (int g = m->first[nodes[i]]; g >= 0; g = m->first[nodes[i]])
            model_place(m, g, m->mirror[g], -1); /* to its mirror, or nowhere */
    }
    struct plan_options must = *options;
    must.must = must.others_stay = true; /* what is lost is started again, and nothing else is moved */
    int rc = plan_make(m, policy, &must, plan, err);
    model_free(m);
    return note_closed(plan, nodes, count, rc, err);
}

int plan_prefix(const struct plan *plan, double part)
{
    double wanted = part * (plan->before - plan->after);
    int count = 0;
    while (count < plan->count && plan->before - (count ? plan->moves[count - 1].after : plan->before) < wanted - 1e-12)
        count++;
    return count;
}
