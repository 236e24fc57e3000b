#include "balancer/simulation.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/flows.h"
#include "balancer/forecast.h"
#include "balancer/plan.h"
#include "balancer/simulation_loads.h"
#include "balancer/simulation_rules.h"
#include "node/base/err.h"

enum { HOUR_S = 3600, DAY_S = 86400, EVALUATIONS_PER_GUEST = 60, FAILURE_STEPS = 12 };

static const double RULE_MOVE_EVERY_S = 30;
static const uint64_t DICE_SPREAD = UINT64_C(0x9E3779B97F4A7C15); /* the first values of small seeds are small */

struct world {
    const struct simulation_config *config;
    struct simulation_result *result;
    struct model *m;
    struct simulation_loads loads;
    struct flows flows;
    struct rule_memory memory;
    int *back_in;                   /* [nodes] steps until a failed node returns */
    double (*load)[RESOURCE_COUNT]; /* [nodes] of this step, in seconds times the resource's unit */
    double *left_at;                /* [guests] when it left a node last; negative: never */
    uint64_t dice;
    bool active;
    int step, moves_now, begun_now;
    double second; /* of the step: so far it is played */
};

static const char *const mind_names[SIMULATION_MINDS] = {"none",       "drover",    "imbalance",
                                                         "contention", "foresight", "shadow"};

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

static void show_loads(struct world *w)
{
    struct model *m = w->m;
    bool forecasts = w->config->mind == SIMULATION_DROVER || w->config->mind == SIMULATION_SHADOW;
    for (int g = 0; g < m->guest_count; g++) {
        struct model_guest *guest = &m->guests[g];
        guest->measured = !forecasts || w->step >= FORECAST_STEPS_NEEDED;
        for (int i = 0; i < guest->left_count; i++)
            guest->left[i].ago_s += w->step ? (float)w->config->step_s : 0;
        guest->moved_ago_s = w->left_at[g] >= 0 ? w->step * w->config->step_s - w->left_at[g] : -1;
    }
    simulation_loads_show(&w->loads, m, w->step);
    model_recount(m);
}

/* ---- moves ---- */

/* From this second of the step to its end the guest's loads are on another node, and what it exchanges with its members
 * goes over that one's link. */
static void shift_load(struct world *w, int guest, int from, int to, double from_second)
{
    double rest = fmax(0, w->config->step_s - from_second);
    if (from >= 0)
        simulation_loads_add(&w->loads, w->m, guest, from, w->step, -rest, w->load);
    simulation_loads_add(&w->loads, w->m, guest, to, w->step, rest, w->load);
}

static void pay(struct world *w, const struct cost *cost)
{
    w->result->moved_bytes += cost->bytes;
    w->result->migration_s += cost->seconds;
    w->result->migration_core_s += 2 * FLOW_CORES * cost->seconds;
    w->result->down_s += cost->downtime_s;
}

static void arrive(struct world *w, const struct flow *flow)
{
    int g = flow->guest;
    double now = w->step * w->config->step_s;
    pay(w, &flow->all);
    w->result->moves++;
    w->moves_now++;
    if (flow->from != flow->to) {
        double ago = model_left_ago(&w->m->guests[g], flow->to);
        w->result->returns += ago >= 0 && ago < w->config->policy->return_s;
        model_note_left(&w->m->guests[g], flow->from, 0);
        w->left_at[g] = now;
        shift_load(w, g, flow->from, flow->to, w->second);
    }
    model_place(w->m, g, flow->to, flow->mirror);
}

/* Plays until this second of the step; what is under way arrives on the way. */
static void pass_until(struct world *w, double second)
{
    while (w->second < second) {
        struct flow ended;
        double passed = flows_run(&w->flows, second - w->second, w->load, &ended);
        w->second = ended.guest >= 0 ? w->second + passed : second;
        if (ended.guest >= 0)
            arrive(w, &ended);
    }
}

/* True if the step is not over when all have arrived. */
static bool pass_until_through(struct world *w)
{
    while (w->flows.count && w->second < w->config->step_s) {
        struct flow ended;
        w->second += flows_run(&w->flows, w->config->step_s - w->second, w->load, &ended);
        if (ended.guest >= 0)
            arrive(w, &ended);
    }
    return w->second < w->config->step_s;
}

static void restart(struct world *w, int guest, int to, int mirror)
{
    double up_s = w->second + SIMULATION_RESTART_S;
    w->result->restarts++;
    w->result->down_s += up_s;
    shift_load(w, guest, -1, to, up_s);
    model_place(w->m, guest, to, mirror);
}

/* Do the rules allow it now, whatever was planned? */
static bool is_allowed(const struct world *w, int guest, int to, int mirror)
{
    return !flows_has(&w->flows, guest) && rules_check(w->m, w->config->policy, guest, to, mirror) == RULE_NONE;
}

static int begin_move(struct world *w, int guest, int to, int mirror, struct err *err)
{
    struct model *m = w->m;
    int from = m->at[guest];
    if (from < 0) {
        restart(w, guest, to, mirror);
        return 0;
    }
    w->begun_now++;
    if (from == to || m->guests[guest].state != GUEST_RUNNING) { /* there is no memory to send */
        arrive(w, &(struct flow){.guest = guest, .from = from, .to = to, .mirror = mirror});
        return 0;
    }
    if (flows_begin(&w->flows, guest, to, mirror) < 0)
        return err_set(err, ENOMEM, "no memory for moves of %d guests", w->flows.count + 1);
    return 0;
}

/* ---- who decides ---- */

/* As conductor.c has it: none in quiet hours, and what the last hour's moves leave. */
static int moves_allowed(const struct world *w)
{
    const struct policy *p = w->config->policy;
    double now = w->config->begin_s + w->step * w->config->step_s;
    int lately = 0;
    if (policy_is_quiet(p, (int64_t)now))
        return 0;
    for (int s = w->step - 1; s >= 0 && (w->step - s) * w->config->step_s < HOUR_S; s--)
        lately += (int)w->result->timeline[s].begun;
    int left = p->per_hour - lately;
    return !p->per_hour || p->moves_max < left ? p->moves_max : left > 0 ? left : 0;
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
            restart(w, g, best, -1);
    }
}

/* Waves one after the other, as far as the step goes. A move that the rules forbid by now ends the plan. */
static int run_waves(struct world *w, const struct plan *plan, struct err *err)
{
    for (int i = 0; i < plan->count; i++) {
        const struct plan_move *v = &plan->moves[i];
        if (i && v->wave != plan->moves[i - 1].wave && !pass_until_through(w))
            return 0;
        if (w->m->at[v->guest] != v->from) /* it waited for its wave, and was started meanwhile */
            continue;
        if (!is_allowed(w, v->guest, v->to, v->to_mirror))
            return 0;
        int rc = begin_move(w, v->guest, v->to, v->to_mirror, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int run_plan(struct world *w, struct err *err)
{
    struct plan plan;
    struct policy policy = *w->config->policy;
    if (w->flows.count)
        restart_lost(w);
    policy.moves_max = moves_allowed(w);
    if (!policy.moves_max || !pass_until_through(w))
        return 0;
    struct plan_options options = {.seed = w->config->seed, .active = w->active};
    options.budget.evaluations = (uint64_t)w->m->guest_count * EVALUATIONS_PER_GUEST;
    int rc = plan_make(w->m, &policy, &options, &plan, err);
    if (rc < 0)
        return rc;
    w->active = plan.why == PLAN_MOVES;
    for (int i = 0; i < plan.count; i++) { /* who is down waits for no wave */
        const struct plan_move *v = &plan.moves[i];
        if (v->from < 0 && w->m->at[v->guest] < 0 && is_allowed(w, v->guest, v->to, v->to_mirror))
            restart(w, v->guest, v->to, v->to_mirror);
    }
    restart_lost(w);
    rc = run_waves(w, &plan, err);
    plan_fini(&plan);
    return rc;
}

/* Others' rules: one move each half minute; those that the step has no time for begin with the last. */
static int run_rule(struct world *w, struct err *err)
{
    struct rule_move moves[RULE_MOVES_MAX];
    int count = 0, rc = 0;
    double step_s = w->config->step_s;
    for (int i = 0; i < w->flows.count; i++)
        w->m->guests[w->flows.list[i].guest].held = true;
    if (w->config->mind == SIMULATION_IMBALANCE)
        count = simulation_rule_imbalance(w->m, w->config->policy, &w->memory, step_s, moves);
    else if (w->config->mind == SIMULATION_CONTENTION)
        count = simulation_rule_contention(w->m, w->config->policy, &w->memory, step_s, moves);
    for (int i = 0; i < w->flows.count; i++)
        w->m->guests[w->flows.list[i].guest].held = false;
    restart_lost(w);
    for (int i = 0; i < count && rc == 0; i++) {
        pass_until(w, fmin(i * RULE_MOVE_EVERY_S, fmax(0, step_s - RULE_MOVE_EVERY_S)));
        if (is_allowed(w, moves[i].guest, moves[i].to, -1))
            rc = begin_move(w, moves[i].guest, moves[i].to, -1, err);
    }
    return rc;
}

static int decide(struct world *w, struct err *err)
{
    enum simulation_mind mind = w->config->mind;
    bool plans = mind == SIMULATION_DROVER || mind == SIMULATION_FORESIGHT || mind == SIMULATION_SHADOW;
    int rc = plans ? run_plan(w, err) : run_rule(w, err);
    if (rc == 0)
        restart_lost(w);
    return rc;
}

/* ---- a step ---- */

static void fail_node(struct world *w, int node)
{
    struct model *m = w->m;
    model_set_offline(m, node, true);
    w->back_in[node] = FAILURE_STEPS;
    w->result->failures++;
    for (int i = w->flows.count - 1; i >= 0; i--) {
        const struct flow *flow = &w->flows.list[i];
        if (flow->from != node && flow->to != node)
            continue;
        pay(w, &flow->all);
        w->result->failed_moves++;
        flows_drop(&w->flows, i);
    }
    for (int g = m->first[node]; g >= 0; g = m->first[node])
        model_place(m, g, -1, -1);
}

static void fail_nodes(struct world *w)
{
    struct model *m = w->m;
    double chance = w->config->failures_per_day * w->config->step_s / DAY_S / (m->node_count ? m->node_count : 1);
    for (int n = 0; n < m->node_count; n++) {
        if (w->back_in[n] > 0 && --w->back_in[n] == 0)
            model_set_offline(m, n, false);
        if (w->config->failures_per_day > 0 && !m->nodes[n].offline && roll(w) < chance)
            fail_node(w, n);
    }
}

/* The spread; *over: nodes above the limit. */
static double measure_one(const struct world *w, int r, int *over)
{
    const struct model *m = w->m;
    double sum = 0, squares = 0;
    int up = 0;
    *over = 0;
    for (int n = 0; n < m->node_count; n++) {
        double capacity = m->nodes[n].load_capacity[r];
        if (m->nodes[n].offline || capacity <= 0)
            continue;
        double load = w->load[n][r] / w->config->step_s / capacity;
        sum += load;
        squares += load * load;
        up++;
        *over += load > SIMULATION_OVERLOAD;
        if (r == RESOURCE_CPU && load > 1)
            w->result->lost_core_minutes += (load - 1) * capacity * w->config->step_s / 60;
    }
    double mean = up ? sum / up : 0;
    return up ? sqrt(fmax(0, squares / up - mean * mean)) : 0;
}

static void measure(struct world *w)
{
    struct simulation_step *now = &w->result->timeline[w->step];
    *now = (struct simulation_step){.moves = (float)w->moves_now, .begun = (float)w->begun_now};
    for (int r = 0; r < RESOURCE_COUNT; r++) {
        int over;
        double spread = measure_one(w, r, &over);
        w->result->overload_minutes[r] += over * w->config->step_s / 60;
        w->result->imbalance[r] += spread / w->config->steps;
        now->over[r] = (float)over;
        if (r == RESOURCE_CPU)
            now->imbalance = (float)spread;
    }
    for (int g = 0; w->step > 0 && g < w->m->guest_count; g++)
        w->result->stranded_steps += w->m->at[g] < 0;
}

static int one_step(struct world *w, struct err *err)
{
    struct model *m = w->m;
    double step_s = w->config->step_s;
    fail_nodes(w);
    memset(w->load, 0, (size_t)m->node_count * sizeof *w->load);
    for (int g = 0; g < m->guest_count; g++)
        if (m->at[g] >= 0)
            simulation_loads_add(&w->loads, m, g, m->at[g], w->step, step_s, w->load);
    w->moves_now = w->begun_now = 0;
    w->second = 0;
    int rc = 0;
    if (w->step > 0) {
        show_loads(w);
        rc = decide(w, err);
    }
    pass_until(w, step_s);
    measure(w);
    simulation_loads_learn(&w->loads, m, w->step);
    return rc;
}

/* Networks carry migrations, even if nobody says what guests use of them. */
static void look_what_is_known(struct world *w)
{
    const struct model *m = w->m;
    for (int r = 0; r < RESOURCE_COUNT; r++) {
        bool capacity = false;
        for (int n = 0; n < m->node_count && !capacity; n++)
            capacity = m->nodes[n].load_capacity[r] > 0;
        w->result->known[r] = capacity && (w->loads.has[r] || r == RESOURCE_NETWORK);
    }
}

static int run_world(struct world *w, const struct model *model, struct err *err)
{
    size_t guests = (size_t)model->guest_count + 1, nodes = (size_t)model->node_count + 1;
    w->m = model_copy(model);
    w->memory.hot_steps = calloc(nodes, sizeof *w->memory.hot_steps);
    w->memory.pause = calloc(nodes, sizeof *w->memory.pause);
    w->back_in = calloc(nodes, sizeof *w->back_in);
    w->load = calloc(nodes, sizeof *w->load);
    w->left_at = malloc(guests * sizeof *w->left_at);
    w->result->timeline = calloc((size_t)w->config->steps + 1, sizeof *w->result->timeline);
    if (!w->m || !w->memory.hot_steps || !w->memory.pause || !w->back_in || !w->load || !w->left_at ||
        !w->result->timeline || simulation_loads_init(&w->loads, model, w->config) < 0 ||
        flows_init(&w->flows, w->m, w->config->policy) < 0)
        return err_set(err, ENOMEM, "no memory for a simulation of %d guests", model->guest_count);
    for (int g = 0; g < model->guest_count; g++) { /* nobody has moved before */
        w->left_at[g] = -1;
        w->m->guests[g].came_from = -1;
        w->m->guests[g].left_count = 0;
    }
    for (int n = 0; n < model->node_count; n++)
        w->m->nodes[n].arrived = 0;
    for (int n = 0; n < w->m->node_count; n++)
        w->m->nodes[n].stale = false;
    look_what_is_known(w);
    int rc = 0;
    for (w->step = 0; rc == 0 && w->step < w->config->steps; w->step++)
        rc = one_step(w, err);
    for (int i = 0; i < w->flows.count; i++)
        pay(w, &w->flows.list[i].all);
    return rc;
}

int simulation_run(const struct model *model, const struct simulation_config *config, struct simulation_result *result,
                   struct err *err)
{
    *result = (struct simulation_result){.steps = config->steps};
    struct world w = {.config = config, .result = result, .dice = (config->seed * 2 + 1) * DICE_SPREAD};
    int rc = run_world(&w, model, err);
    flows_fini(&w.flows);
    simulation_loads_fini(&w.loads);
    model_free(w.m);
    free(w.memory.hot_steps);
    free(w.memory.pause);
    free(w.back_in);
    free(w.load);
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
