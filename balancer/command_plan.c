#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/command.h"
#include "balancer/deadline.h"
#include "balancer/plan_file.h"
#include "balancer/plan_last.h"
#include "balancer/plan_time.h"
#include "node/base/err.h"
#include "node/base/units.h"

enum key {
    KEY_UTILIZATION = 256,
    KEY_SCORE,
    KEY_BUDGET,
    KEY_EVALUATIONS,
    KEY_SEED,
    KEY_EXPLAIN,
    KEY_JSON,
    KEY_WRITE_PLAN,
    KEY_WRITE_AFTER,
    KEY_DRAIN,
    KEY_LOSE,
    KEY_PART,
    KEY_PRICE,
    KEY_FRONTIER,
    KEY_LAST_PLAN
};

enum { LAST_PLAN_BYTES_MAX = 64 << 20 };

struct arguments {
    struct command_files files;
    const char *write_plan, *write_after, *drain, *lose, *last_plan;
    struct plan_options options;
    bool explain, json, frontier;
    double part, price;
    uint64_t budget_ns; /* 0: none */
    struct deadline deadline;
};

static const struct argp_option options[] = {
    {"utilization", KEY_UTILIZATION, "FILE", 0, "measured loads, a line a guest: NAME CPU MEMORY DISK NETWORK", 0},
    {"score", KEY_SCORE, "drover|ganeti", 0, "whose score (default: ganeti for a .data file)", 0},
    {"budget", KEY_BUDGET, "TIME", 0, "stop searching after this time, for example 10s", 0},
    {"evaluations", KEY_EVALUATIONS, "N", 0, "stop after looking at so many placements: the same on every machine", 0},
    {"seed", KEY_SEED, "N", 0, "of what is tried at random (default 1)", 0},
    {"last-plan", KEY_LAST_PLAN, "FILE", 0, "begin where this plan ends, as --write-plan has written it", 0},
    {"part", KEY_PART, "P", 0, "only the first moves that bring this percentage of the gain", 0},
    {"price", KEY_PRICE, "FACTOR", 0, "as if moves cost so many times what the policy says, 0.001 to 1000 (1)", 0},
    {"frontier", KEY_FRONTIER, NULL, 0, "what fewer and more moves would bring, by plans at other prices, too", 0},
    {"drain", KEY_DRAIN, "NODE", 0, "plan to empty this node", 0},
    {"lose", KEY_LOSE, "NODE", 0, "plan for the loss of this node", 0},
    {"explain", KEY_EXPLAIN, NULL, 0, "say of every guest why it moves or stays", 0},
    {"json", KEY_JSON, NULL, 0, "print the plan as JSON", 0},
    {"write-plan", KEY_WRITE_PLAN, "FILE", 0, "write the plan as JSON", 0},
    {"write-after", KEY_WRITE_AFTER, "FILE", 0, "write the cluster as it is after the plan, in the format it came in",
     0},
    {0},
};

static double price_of(const char *arg, struct argp_state *state)
{
    char *end;
    double price = strtod(arg, &end);
    if (end == arg || *end || !(price >= POLICY_PRICE_MIN && price <= POLICY_PRICE_MAX))
        argp_error(state, "--price: '%s' is no number from %g to %g", arg, POLICY_PRICE_MIN, POLICY_PRICE_MAX);
    return price;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct err err;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->files;
        break;
    case KEY_UTILIZATION:
        a->files.utilization = arg;
        break;
    case KEY_SCORE:
        if (strcmp(arg, "drover") != 0 && strcmp(arg, "ganeti") != 0)
            argp_error(state, "--score: '%s' is neither drover nor ganeti", arg);
        a->files.score = arg;
        break;
    case KEY_BUDGET:
        if (units_parse_duration(arg, &a->budget_ns, &err) < 0)
            argp_error(state, "--budget: %s", err.text);
        break;
    case KEY_EVALUATIONS:
        a->options.budget.evaluations = command_number(arg, state, "evaluations", UINT64_MAX);
        break;
    case KEY_SEED:
        a->options.seed = command_number(arg, state, "seed", UINT64_MAX);
        break;
    case KEY_PART:
        a->part = (double)command_number(arg, state, "part", 100) / 100;
        if (a->part <= 0)
            argp_error(state, "--part: 1 to 100");
        break;
    case KEY_PRICE:
        a->price = price_of(arg, state);
        break;
    case KEY_FRONTIER:
        a->frontier = true;
        break;
    case KEY_LAST_PLAN:
        a->last_plan = arg;
        break;
    case KEY_DRAIN:
        a->drain = arg;
        break;
    case KEY_LOSE:
        a->lose = arg;
        break;
    case KEY_EXPLAIN:
        a->explain = true;
        break;
    case KEY_JSON:
        a->json = true;
        break;
    case KEY_WRITE_PLAN:
        a->write_plan = arg;
        break;
    case KEY_WRITE_AFTER:
        a->write_after = arg;
        break;
    case ARGP_KEY_END:
        if (a->frontier && (a->drain || a->lose || a->part < 1 || a->price != 1))
            argp_error(state, "--frontier is of a whole plan at the policy's own price: "
                              "leave out --drain, --lose, --part and --price");
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Only the first moves: the rest never happens. Whole waves are not needed, a wave's moves are free of each other. */
static void cut(struct plan *plan, const struct model *m, double part)
{
    plan->count = plan_prefix(plan, part);
    plan->after = plan->count ? plan->moves[plan->count - 1].after : plan->before;
    for (int g = 0; g < m->guest_count; g++) {
        plan->at[g] = m->at[g];
        plan->mirror[g] = m->mirror[g];
    }
    plan->waves = plan->count ? plan->moves[plan->count - 1].wave + 1 : 0;
    for (int i = 0; i < plan->count; i++) {
        plan->at[plan->moves[i].guest] = plan->moves[i].to;
        plan->mirror[plan->moves[i].guest] = plan->moves[i].to_mirror;
    }
    plan_time_sum(plan);
}

/* The last plan, if one was named. */
static int read_last(struct arguments *a, const struct command_cluster *c, struct plan_last *last, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    if (!a->last_plan)
        return 0;
    int rc = command_read_file(a->last_plan, LAST_PLAN_BYTES_MAX, &text, &len, err);
    rc = rc == 0 ? plan_last_read(last, a->last_plan, text, len, c->model, err) : rc;
    free(text);
    a->options.last = last;
    return rc;
}

static int make(struct arguments *a, const struct command_cluster *c, const struct policy *policy, struct plan *plan,
                struct err *err)
{
    const char *name = a->drain ? a->drain : a->lose;
    int node = name ? names_find(&c->model->node_names, name, strlen(name)) : -1;
    if (name && node < 0)
        return err_set(err, 2, "%s: there is no node '%s'", a->files.cluster, name);
    if (a->budget_ns) {
        deadline_begin(&a->deadline, a->frontier ? a->budget_ns / 2 : a->budget_ns);
        a->options.budget.stop = deadline_is_over;
        a->options.budget.data = &a->deadline;
    }
    int rc = a->drain  ? plan_drain(c->model, policy, &a->options, node, plan, err)
             : a->lose ? plan_lose(c->model, policy, &a->options, &node, 1, plan, err)
                       : plan_make(c->model, policy, &a->options, plan, err);
    if (rc == 0 && a->part < 1)
        cut(plan, c->model, a->part);
    return rc;
}

static int write_after(const struct arguments *a, const struct command_cluster *c, const struct plan *plan,
                       struct err *err)
{
    struct model *after = model_copy(c->model);
    size_t len = 0;
    char *text = NULL;
    if (after) {
        for (int g = 0; g < after->guest_count; g++)
            if (plan->at[g] != after->at[g] || plan->mirror[g] != after->mirror[g])
                model_place(after, g, plan->at[g], plan->mirror[g]);
        text = c->is_ganeti ? ganeti_text_write(&c->ganeti, after, &len) : cluster_json_write(c->text, c->len, after);
        len = text && !c->is_ganeti ? strlen(text) : len;
    }
    int rc = command_write_file(a->write_after, text, len, err);
    free(text);
    model_free(after);
    return rc;
}

static int put_out(const struct arguments *a, const struct command_cluster *c, const struct policy *policy,
                   const struct plan *plan, const struct frontier *frontier, struct err *err)
{
    int rc = 0;
    json_t *said = a->json || a->write_plan
                       ? plan_json(plan, c->model, policy, frontier, a->price, a->explain ? SIZE_MAX : 0)
                       : NULL;
    char *json = said ? json_dumps(said, JSON_INDENT(1)) : NULL;
    json_decref(said);
    if (a->json && json)
        puts(json);
    else if (!a->json)
        plan_print(stdout, plan, c->model, policy, frontier, a->price, a->explain);
    if (a->write_plan)
        rc = command_write_file(a->write_plan, json, json ? strlen(json) : 0, err);
    free(json);
    return rc == 0 && a->write_after ? write_after(a, c, plan, err) : rc;
}

static int act(void *context, const struct command_cluster *c, const struct policy *policy, struct err *err)
{
    struct arguments *a = context;
    struct plan plan = {0};
    struct plan_last last = {0};
    struct frontier frontier;
    struct policy priced = *policy;
    policy_price(&priced, a->price);
    int rc = read_last(a, c, &last, err);
    rc = rc == 0 ? make(a, c, &priced, &plan, err) : rc;
    deadline_begin(&a->deadline, a->budget_ns / 2);
    if (rc == 0 && a->frontier)
        rc = frontier_make(c->model, policy, &a->options, &plan, a->budget_ns ? deadline_share : NULL, &frontier, err);
    rc = rc == 0 ? put_out(a, c, &priced, &plan, a->frontier ? &frontier : NULL, err) : rc;
    plan_fini(&plan);
    plan_last_fini(&last);
    return rc;
}

int command_plan(int argc, char **argv)
{
    struct arguments a = {.options.seed = 1, .part = 1, .price = 1};
    const struct argp argp = {.options = options,
                              .parser = parse,
                              .doc = "Plans who should run where, and prints the moves in the order that is safe.",
                              .children = command_files_argp};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return command_run(&a.files, act, &a);
}
