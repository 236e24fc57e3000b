#include "balancer/simulation.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/cost.h"
#include "balancer/forecast.h"
#include "balancer/plan.h"
#include "balancer/simulation_rules.h"
#include "node/base/err.h"

enum { HOUR_S = 3600, DAY_S = 86400, EVALUATIONS_PER_GUEST = 60, FAILURE_STEPS = 12 };

struct world {
    const struct simulation_config *config;
    struct simulation_result *result;
    struct model *m;
    struct forecast *forecasts; /* [guests] */
    struct rule_memory memory;
    int *back_in;    /* [nodes] steps until a failed node returns */
    double *load;    /* [nodes] core seconds of this step */
    int *left_node;  /* [guests] the node it left last, -1 */
    double *left_at; /* [guests] and when */
    uint64_t dice;
    bool active;
    int step, moves_now;
};

static const char *const mind_names[SIMULATION_MINDS] = {"none", "drover", "imbalance", "contention", "foresight"};

const char *simulation_mind_name(enum simulation_mind mind)
{
    return mind_names[mind];
}

static double roll(struct world *w)
{
    w->dice ^= w->dice << 13;
    w->dice ^= w->dice >> 7;
    w->dice ^= w->dice << 17;
    return (double)(w->dice >> 11) / 9007199254740992.0;
}

static double day_ago(const struct world *w, int guest, int step)
{
    int day = (int)(DAY_S / w->config->step_s);
    return step >= day ? trace_at(w->config->trace, guest, step - day) : -1;
}

/* What the balancer knows: the forecast for those that decide by it, the last value for rules, the next for who sees
 * it.
 */
static void show_loads(struct world *w)
{
    struct model *m = w->m;
    for (int g = 0; g < m->guest_count; g++) {
        struct model_guest *guest = &m->guests[g];
        bool sees = w->config->mind == SIMULATION_FORESIGHT;
        double error = 0, value = trace_at(w->config->trace, g, sees ? w->step : w->step - 1);
        if (w->config->mind == SIMULATION_DROVER)
            value = forecast_next(&w->forecasts[g], day_ago(w, g, w->step), &error);
        value += w->config->policy->error_factor * error;
        guest->load[RESOURCE_CPU] = (value < 1 ? value : 1) * guest->vcpus;
        guest->load_std[RESOURCE_CPU] = error * guest->vcpus;
        guest->measured = w->config->mind != SIMULATION_DROVER || w->step >= FORECAST_STEPS_NEEDED;
        guest->came_from = w->left_node[g];
        guest->moved_ago_s = w->left_node[g] >= 0 ? w->step * w->config->step_s - w->left_at[g] : -1;
        model_guest_changed(m, g);
    }
    model_recount(m);
}

static double true_load(const struct world *w, int guest)
{
    return trace_at(w->config->trace, guest, w->step) * w->m->guests[guest].vcpus;
}

/* From this second of the step to its end the guest's load is on another node. */
static void shift_load(struct world *w, int guest, int from, int to, double from_second)
{
    double rest = w->config->step_s - from_second, cores = true_load(w, guest);
    if (from >= 0)
        w->load[from] -= cores * rest;
    w->load[to] += cores * rest;
}

static void move(struct world *w, int guest, int to, double begin_s)
{
    struct model *m = w->m;
    int from = m->at[guest];
    double now = w->step * w->config->step_s;
    struct cost cost = cost_migration(m, w->config->policy, guest, from, to);
    double end_s = begin_s + (from >= 0 ? cost.seconds : SIMULATION_RESTART_S);
    if (from >= 0) {
        double overhead = SIMULATION_MIGRATION_CORES * cost.seconds;
        w->load[from] += overhead;
        w->load[to] += overhead;
        w->result->moves++;
        w->moves_now++;
        w->result->moved_bytes += cost.bytes;
        w->result->migration_s += cost.seconds;
        w->result->down_s += cost.downtime_s;
        w->result->returns += w->left_node[guest] == to && now - w->left_at[guest] < w->config->policy->return_s;
        w->left_node[guest] = from;
        w->left_at[guest] = now;
    } else {
        w->result->restarts++;
        w->result->down_s += end_s;
    }
    shift_load(w, guest, from, to, end_s < w->config->step_s ? end_s : w->config->step_s);
    model_place(m, guest, to, -1);
}

/* As conductor.c has it: none in quiet hours, and what the last hour's moves leave. */
static int moves_allowed(const struct world *w)
{
    const struct policy *p = w->config->policy;
    double now = w->config->begin_s + w->step * w->config->step_s;
    int lately = 0;
    if (policy_is_quiet(p, (int64_t)now))
        return 0;
    for (int s = w->step - 1; s >= 0 && (w->step - s) * w->config->step_s < HOUR_S; s--)
        lately += (int)w->result->timeline[s].moves;
    int left = p->per_hour - lately;
    return !p->per_hour || p->moves_max < left ? p->moves_max : left > 0 ? left : 0;
}

/* Waves one after the other; those that would begin after the step's end are planned anew in the next. */
static int run_plan(struct world *w, struct err *err)
{
    struct plan plan;
    struct policy policy = *w->config->policy;
    policy.moves_max = moves_allowed(w);
    if (!policy.moves_max)
        return 0;
    struct plan_options options = {.seed = w->config->seed, .active = w->active};
    options.budget.evaluations = (uint64_t)w->m->guest_count * EVALUATIONS_PER_GUEST;
    int rc = plan_make(w->m, &policy, &options, &plan, err);
    if (rc < 0)
        return rc;
    w->active = plan.why == PLAN_MOVES;
    double begin = 0, longest = 0;
    for (int i = 0; i < plan.count; i++) {
        const struct plan_move *v = &plan.moves[i];
        if (i && v->wave != plan.moves[i - 1].wave) {
            begin += longest;
            longest = 0;
        }
        if (begin > 0 && begin + v->cost.seconds > w->config->step_s)
            break; /* one that takes longer than a step alone arrives at its end */
        longest = fmax(longest, v->cost.seconds);
        move(w, v->guest, v->to, begin);
    }
    plan_fini(&plan);
    return 0;
}

/* Whoever lost its node is started where there is room, whatever the mind; only the balancer chooses well. */
static void restart_lost(struct world *w)
{
    struct model *m = w->m;
    for (int g = 0; g < m->guest_count; g++) {
        int best = -1;
        for (int n = 0; m->at[g] < 0 && n < m->node_count; n++)
            if (rules_check(m, w->config->policy, g, n, -1) == RULE_NONE &&
                (best < 0 || m->sum[n][SUM_LOAD_CPU] < m->sum[best][SUM_LOAD_CPU]))
                best = n;
        if (best >= 0)
            move(w, g, best, 0);
        w->result->stranded_steps += m->at[g] < 0;
    }
}

static int decide(struct world *w, struct err *err)
{
    struct rule_move moves[RULE_MOVES_MAX];
    int count = 0, rc = 0;
    double step_s = w->config->step_s;
    if (w->config->mind == SIMULATION_DROVER || w->config->mind == SIMULATION_FORESIGHT)
        rc = run_plan(w, err);
    else if (w->config->mind == SIMULATION_IMBALANCE)
        count = simulation_rule_imbalance(w->m, w->config->policy, &w->memory, step_s, moves);
    else if (w->config->mind == SIMULATION_CONTENTION)
        count = simulation_rule_contention(w->m, w->config->policy, &w->memory, step_s, moves);
    for (int i = 0; i < count; i++)
        move(w, moves[i].guest, moves[i].to, i * 3 * 10.0 < step_s ? i * 3 * 10.0 : 0);
    if (rc == 0)
        restart_lost(w);
    return rc;
}

static void fail_nodes(struct world *w)
{
    struct model *m = w->m;
    double chance = w->config->failures_per_day * w->config->step_s / DAY_S / (m->node_count ? m->node_count : 1);
    for (int n = 0; n < m->node_count; n++) {
        if (w->back_in[n] > 0 && --w->back_in[n] == 0)
            m->nodes[n].offline = false;
        if (w->config->failures_per_day <= 0 || m->nodes[n].offline || roll(w) >= chance)
            continue;
        m->nodes[n].offline = true;
        w->back_in[n] = FAILURE_STEPS;
        w->result->failures++;
        for (int g = m->first[n]; g >= 0; g = m->first[n])
            model_place(m, g, -1, -1);
    }
}

static void measure(struct world *w)
{
    struct model *m = w->m;
    double sum = 0, squares = 0, step_s = w->config->step_s;
    int up = 0, over = 0;
    for (int n = 0; n < m->node_count; n++) {
        if (m->nodes[n].offline)
            continue;
        double capacity = m->nodes[n].load_capacity[RESOURCE_CPU], load = w->load[n] / step_s / capacity;
        sum += load;
        squares += load * load;
        up++;
        over += load > SIMULATION_OVERLOAD;
        w->result->lost_core_minutes += load > 1 ? (load - 1) * capacity * step_s / 60 : 0;
    }
    double mean = up ? sum / up : 0, spread = up ? sqrt(fmax(0, squares / up - mean * mean)) : 0;
    w->result->overload_minutes += over * step_s / 60;
    w->result->imbalance += spread / w->config->steps;
    w->result->timeline[w->step] = (struct simulation_step){(float)spread, (float)over, (float)w->moves_now};
}

static int one_step(struct world *w, struct err *err)
{
    struct model *m = w->m;
    double step_s = w->config->step_s;
    fail_nodes(w);
    for (int n = 0; n < m->node_count; n++)
        w->load[n] = 0;
    for (int g = 0; g < m->guest_count; g++)
        if (m->at[g] >= 0)
            w->load[m->at[g]] += true_load(w, g) * step_s;
    w->moves_now = 0;
    int rc = 0;
    if (w->step > 0) {
        show_loads(w);
        rc = decide(w, err);
    }
    measure(w);
    for (int g = 0; g < m->guest_count; g++)
        forecast_add(&w->forecasts[g], trace_at(w->config->trace, g, w->step), day_ago(w, g, w->step));
    return rc;
}

static int run_world(struct world *w, const struct model *model, struct err *err)
{
    size_t guests = (size_t)model->guest_count + 1, nodes = (size_t)model->node_count + 1;
    w->m = model_copy(model);
    w->forecasts = calloc(guests, sizeof *w->forecasts);
    w->memory.hot_steps = calloc(nodes, sizeof *w->memory.hot_steps);
    w->memory.pause = calloc(nodes, sizeof *w->memory.pause);
    w->back_in = calloc(nodes, sizeof *w->back_in);
    w->load = calloc(nodes, sizeof *w->load);
    w->left_node = malloc(guests * sizeof *w->left_node);
    w->left_at = calloc(guests, sizeof *w->left_at);
    w->result->timeline = calloc((size_t)w->config->steps + 1, sizeof *w->result->timeline);
    if (!w->m || !w->forecasts || !w->memory.hot_steps || !w->memory.pause || !w->back_in || !w->load ||
        !w->left_node || !w->left_at || !w->result->timeline)
        return err_set(err, ENOMEM, "no memory for a simulation of %d guests", model->guest_count);
    for (size_t g = 0; g < guests; g++)
        w->left_node[g] = -1;
    for (int n = 0; n < w->m->node_count; n++)
        w->m->nodes[n].stale = false;
    for (int g = 0; g < w->m->guest_count; g++)
        for (int r = 0; r < RESOURCE_COUNT; r++)
            w->m->guests[g].load[r] = 0;
    int rc = 0;
    for (w->step = 0; rc == 0 && w->step < w->config->steps; w->step++)
        rc = one_step(w, err);
    return rc;
}

int simulation_run(const struct model *model, const struct simulation_config *config, struct simulation_result *result,
                   struct err *err)
{
    *result = (struct simulation_result){.steps = config->steps};
    struct world w = {.config = config, .result = result, .dice = config->seed * 2 + 1};
    int rc = run_world(&w, model, err);
    model_free(w.m);
    free(w.forecasts);
    free(w.memory.hot_steps);
    free(w.memory.pause);
    free(w.back_in);
    free(w.load);
    free(w.left_node);
    free(w.left_at);
    if (rc < 0)
        simulation_fini(result);
    return rc;
}

void simulation_fini(struct simulation_result *result)
{
    free(result->timeline);
    *result = (struct simulation_result){0};
}
