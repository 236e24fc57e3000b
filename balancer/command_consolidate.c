#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/command.h"
#include "balancer/consolidate_file.h"
#include "balancer/deadline.h"
#include "node/base/err.h"
#include "node/base/units.h"

enum key { KEY_BUDGET = 256, KEY_SEED, KEY_EXPLAIN, KEY_JSON, KEY_WRITE_PLAN };

struct arguments {
    struct command_files files;
    const char *write_plan;
    struct consolidate_options options;
    bool explain, json;
    uint64_t budget_ns;
    struct deadline deadline;
};

static const struct argp_option options[] = {
    {"budget", KEY_BUDGET, "TIME", 0, "stop searching after this time, for example 10s", 0},
    {"seed", KEY_SEED, "N", 0, "of what is tried at random (default 1)", 0},
    {"explain", KEY_EXPLAIN, NULL, 0, "say of every guest why it moves or stays", 0},
    {"json", KEY_JSON, NULL, 0, "print JSON", 0},
    {"write-plan", KEY_WRITE_PLAN, "FILE", 0, "write what is advised as JSON, with the waves of moves", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct err err;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->files;
        break;
    case KEY_BUDGET:
        if (units_parse_duration(arg, &a->budget_ns, &err) < 0)
            argp_error(state, "--budget: %s", err.text);
        break;
    case KEY_SEED:
        a->options.seed = command_number(arg, state, "seed", UINT64_MAX);
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
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int put_out(const struct arguments *a, const struct consolidation *c, const struct policy *policy,
                   struct err *err)
{
    json_t *root = a->json || a->write_plan ? consolidate_json(c, policy, a->explain) : NULL;
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    int rc = 0;
    json_decref(root);
    if ((a->json || a->write_plan) && !text)
        return err_set(err, ENOMEM, "no memory for the answer");
    if (a->json)
        puts(text);
    else
        consolidate_print(stdout, c, policy, a->explain);
    if (a->write_plan)
        rc = command_write_file(a->write_plan, text, strlen(text), err);
    free(text);
    return rc;
}

static int act(void *context, const struct command_cluster *cluster, const struct policy *policy, struct err *err)
{
    struct arguments *a = context;
    struct consolidation c;
    if (a->budget_ns) {
        deadline_begin(&a->deadline, a->budget_ns);
        a->options.stop = deadline_is_over;
        a->options.late = deadline_is_half_over; /* what was found is put into an order then */
        a->options.stop_data = &a->deadline;
    }
    int rc = consolidate(cluster->model, policy, &a->options, &c, err);
    if (rc < 0)
        return err_prefix(err, "%s", a->files.cluster);
    rc = put_out(a, &c, policy, err);
    consolidate_fini(&c);
    return rc;
}

int command_consolidate(int argc, char **argv)
{
    struct arguments a = {.options.seed = 1};
    const struct argp argp = {.options = options,
                              .parser = parse,
                              .doc =
                                  "Says which nodes could be emptied and switched off now, with the moves that empty "
                                  "them, and which sleeping nodes must be woken. It switches nothing.",
                              .children = command_files_argp};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return command_run(&a.files, act, &a);
}
