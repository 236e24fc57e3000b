#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "balancer/command.h"
#include "balancer/command_traces.h"
#include "balancer/simulation.h"
#include "balancer/simulation_report.h"
#include "node/base/err.h"

enum key {
    KEY_TRACE = 256,
    KEY_TRACE_MEMORY, /* the others as the resources are numbered */
    KEY_TRACE_DISK,
    KEY_TRACE_NETWORK,
    KEY_GENERATE,
    KEY_WRITE_TRACE,
    KEY_SHADOW,
    KEY_REPORT,
    KEY_SEED,
    KEY_STEPS,
    KEY_DAYS,
    KEY_FAILURES,
    KEY_ONLY,
    KEY_BEGIN
};

struct arguments {
    struct command_files files;
    struct command_traces traces;
    const char *report, *only, *shadow;
    int steps, days, begin_hour;
    double failures;
};

static const struct argp_option options[] = {
    {"trace", KEY_TRACE, "FILE", 0,
     "loads of processors in percent of a guest's vCPUs, a line a guest, a value each five minutes; without it, made",
     0},
    {"trace-memory", KEY_TRACE_MEMORY, "FILE", 0,
     "the same of memory, in percent of the guest's; without it, and likewise of disks and networks, every guest keeps "
     "what it has in the cluster",
     0},
    {"trace-disk", KEY_TRACE_DISK, "FILE", 0, "the same of its disks, in bytes a second or as 2M", 0},
    {"trace-network", KEY_TRACE_NETWORK, "FILE", 0, "the same of its networks", 0},
    {"generate", KEY_GENERATE, "PATTERN", 0,
     "make the loads of processors: daily, bursts or growth (around what guests have in the cluster), mixed (of the "
     "seed alone; the default), or still (just what they have)",
     0},
    {"write-trace", KEY_WRITE_TRACE, "FILE", 0, "write what was made, as --trace reads it", 0},
    {"steps", KEY_STEPS, "N", 0, "how long, in steps of five minutes (default: the trace, or a day)", 0},
    {"days", KEY_DAYS, "N", 0, "how long, in days", 0},
    {"shadow", KEY_SHADOW, "FILE", 0, "another policy: the same with the balancer under it, as `shadow`", 0},
    {"failures", KEY_FAILURES, "N", 0, "nodes that fail in a day (default 0)", 0},
    {"only", KEY_ONLY, "WHO", 0,
     "none, drover, imbalance, contention, foresight or shadow; default: all of them, one after the other", 0},
    {"begin", KEY_BEGIN, "HOUR", 0,
     "of the day (UTC) at which it begins, for the policy's quiet hours and patterns of a day (0)", 0},
    {"seed", KEY_SEED, "N", 0, "of failures and of a trace that is made (default 1)", 0},
    {"report", KEY_REPORT, "DIR", 0, "write report.json and report.svg there", 0},
    {0},
};

/* Options that say what another one says already. */
static void check(const struct arguments *a, struct argp_state *state)
{
    const struct command_traces *t = &a->traces;
    if (a->steps && a->days)
        argp_error(state, "--steps and --days both say how long: give one of them");
    if (t->files[RESOURCE_CPU] && (t->pattern || t->write))
        argp_error(state, "--trace has the loads of processors: --%s is for loads that are made",
                   t->pattern ? "generate" : "write-trace");
    if (t->pattern && !command_traces_know(t->pattern))
        argp_error(state, "--generate '%s': mixed, daily, bursts, growth or still is needed", t->pattern);
    if (t->pattern && t->write && !strcmp(t->pattern, "still"))
        argp_error(state, "--generate still makes no trace that --write-trace could write");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->files;
        break;
    case KEY_TRACE:
    case KEY_TRACE_MEMORY:
    case KEY_TRACE_DISK:
    case KEY_TRACE_NETWORK:
        a->traces.files[key - KEY_TRACE] = arg;
        break;
    case KEY_GENERATE:
        a->traces.pattern = arg;
        break;
    case KEY_WRITE_TRACE:
        a->traces.write = arg;
        break;
    case KEY_SHADOW:
        a->shadow = arg;
        break;
    case KEY_REPORT:
        a->report = arg;
        break;
    case KEY_ONLY:
        a->only = arg;
        break;
    case KEY_SEED:
        a->traces.seed = command_number(arg, state, "seed", 1000000000);
        break;
    case KEY_STEPS:
        a->steps = (int)command_number(arg, state, "steps", 1000000);
        break;
    case KEY_DAYS:
        a->days = (int)command_number(arg, state, "days", 1000000 / TRACE_STEPS_A_DAY);
        break;
    case KEY_BEGIN:
        a->begin_hour = (int)command_number(arg, state, "begin", 23);
        break;
    case KEY_FAILURES:
        a->failures = (double)command_number(arg, state, "failures", 100000);
        break;
    case ARGP_KEY_END:
        check(a, state);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int report(const struct arguments *a, const struct simulation_result *results, const bool *ran, struct err *err)
{
    char path[4096];
    if (mkdir(a->report, 0755) < 0 && errno != EEXIST)
        return err_set(err, errno, "--report %s: %s", a->report, strerror(errno));
    char *json = simulation_report_json(results, ran);
    snprintf(path, sizeof path, "%s/report.json", a->report);
    int rc = command_write_file(path, json, json ? strlen(json) : 0, err);
    free(json);
    size_t len = 0;
    char *svg = rc == 0 ? simulation_report_svg(results, ran, &len) : NULL;
    snprintf(path, sizeof path, "%s/report.svg", a->report);
    rc = rc == 0 ? command_write_file(path, svg, len, err) : rc;
    free(svg);
    return rc;
}

static void print(const struct simulation_result *r, enum simulation_mind mind)
{
    printf(
        "%-11s overload %8.0f node minutes, lost %8.1f core minutes, spread %.4f, moves %6d, returns %d, down %.1f s\n",
        simulation_mind_name(mind), r->overload_minutes[RESOURCE_CPU], r->lost_core_minutes, r->imbalance[RESOURCE_CPU],
        r->moves, r->returns, r->down_s);
    if (r->moves)
        printf("%-11s its moves: %.1f GiB in %.0f s, %.1f core minutes\n", "", r->moved_bytes / (1 << 30),
               r->migration_s, r->migration_core_s / 60);
    for (int i = RESOURCE_MEMORY; i < RESOURCE_COUNT; i++)
        if (r->known[i])
            printf("%-11s %s: overload %.0f node minutes, spread %.4f\n", "",
                   simulation_resource_name((enum model_resource)i), r->overload_minutes[i], r->imbalance[i]);
}

static int run(void *context, const struct command_cluster *c, const struct policy *policy, struct err *err)
{
    struct arguments *a = context;
    struct simulation_result results[SIMULATION_MINDS] = {0};
    bool ran[SIMULATION_MINDS] = {false};
    struct policy shadow = *policy;
    int known = 0;
    a->traces.steps = a->days ? a->days * TRACE_STEPS_A_DAY : a->steps;
    a->traces.begin = a->begin_hour * (TRACE_STEPS_A_DAY / 24);
    int rc = a->shadow ? command_load_policy(&shadow, a->shadow, c, err) : 0;
    rc = rc == 0 ? command_traces_load(&a->traces, c, policy, err) : rc;
    for (int k = 0; rc == 0 && k < SIMULATION_MINDS; k++) {
        if (a->only && strcmp(a->only, simulation_mind_name((enum simulation_mind)k)) != 0)
            continue;
        if (k == SIMULATION_SHADOW && !a->shadow)
            continue;
        known++;
        struct simulation_config config = {.mind = (enum simulation_mind)k,
                                           .policy = k == SIMULATION_SHADOW ? &shadow : policy,
                                           .margin = policy->error_factor,
                                           .step_s = 300,
                                           .steps = a->traces.steps,
                                           .begin_s = a->begin_hour * 3600.0,
                                           .seed = a->traces.seed,
                                           .failures_per_day = a->failures};
        for (int r = 0; r < RESOURCE_COUNT; r++)
            config.traces[r] = a->traces.has[r] ? &a->traces.traces[r] : NULL;
        rc = simulation_run(c->model, &config, &results[k], err);
        ran[k] = rc == 0;
        if (rc == 0)
            print(&results[k], config.mind);
    }
    if (rc == 0 && !known)
        rc = err_set(err, EINVAL,
                     "--only '%s': none, drover, imbalance, contention, foresight, or with --shadow shadow is needed",
                     a->only);
    if (rc == 0 && a->report)
        rc = report(a, results, ran, err);
    for (int k = 0; k < SIMULATION_MINDS; k++)
        simulation_fini(&results[k]);
    command_traces_fini(&a->traces);
    return rc;
}

int command_simulate(int argc, char **argv)
{
    struct arguments a = {.traces.seed = 1, .files.score = "drover"};
    const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Runs a cluster through a trace of loads under Drover's balancer and under others' rules.",
        .children = command_files_argp};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return command_run(&a.files, run, &a);
}
