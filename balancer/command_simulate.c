#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "balancer/command.h"
#include "balancer/simulation.h"
#include "node/base/err.h"

enum key { KEY_TRACE = 256, KEY_REPORT, KEY_SEED, KEY_STEPS, KEY_FAILURES, KEY_ONLY, KEY_BEGIN };
enum { TRACE_BYTES_MAX = 1 << 30, STEPS_OF_A_DAY = 288, PLOT_WIDTH = 960, PLOT_HEIGHT = 200 };

struct arguments {
    struct command_files files;
    const char *trace, *report, *only;
    uint64_t seed;
    int steps, begin_hour;
    double failures;
};

static const struct argp_option options[] = {
    {"trace", KEY_TRACE, "FILE", 0, "CPU loads in percent, a line a guest, a value each five minutes; without it, made",
     0},
    {"steps", KEY_STEPS, "N", 0, "how long, in steps of five minutes (default: the trace, or a day)", 0},
    {"failures", KEY_FAILURES, "N", 0, "nodes that fail in a day (default 0)", 0},
    {"only", KEY_ONLY, "WHO", 0,
     "none, drover, imbalance, contention or foresight; default: all of them, one after the other", 0},
    {"begin", KEY_BEGIN, "HOUR", 0, "of the day (UTC) at which it begins, for the policy's quiet hours (0)", 0},
    {"seed", KEY_SEED, "N", 0, "of failures and of a trace that is made (default 1)", 0},
    {"report", KEY_REPORT, "DIR", 0, "write report.json and report.svg there", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->files;
        break;
    case KEY_TRACE:
        a->trace = arg;
        break;
    case KEY_REPORT:
        a->report = arg;
        break;
    case KEY_ONLY:
        a->only = arg;
        break;
    case KEY_SEED:
        a->seed = command_number(arg, state, "seed", 1000000000);
        break;
    case KEY_STEPS:
        a->steps = (int)command_number(arg, state, "steps", 1000000);
        break;
    case KEY_BEGIN:
        a->begin_hour = (int)command_number(arg, state, "begin", 23);
        break;
    case KEY_FAILURES:
        a->failures = (double)command_number(arg, state, "failures", 100000);
        break;
    default:
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static int load_trace(const struct arguments *a, const struct model *m, struct trace *trace, struct err *err)
{
    if (!a->trace)
        return trace_make(trace, m->guest_count ? m->guest_count : 1, a->steps ? a->steps : STEPS_OF_A_DAY, a->seed,
                          err);
    char *text;
    size_t len;
    int rc = command_read_file(a->trace, TRACE_BYTES_MAX, &text, &len, err);
    if (rc < 0)
        return rc;
    rc = trace_read(trace, a->trace, text, len, err);
    free(text);
    return rc;
}

static json_t *result_json(const struct simulation_result *r, enum simulation_mind mind)
{
    json_t *series = json_array();
    for (int i = 0; i < r->steps; i++)
        json_array_append_new(series, json_pack("[f, i, i]", (double)r->timeline[i].imbalance,
                                                (int)r->timeline[i].overload_nodes, (int)r->timeline[i].moves));
    return json_pack("{s:s, s:f, s:f, s:f, s:i, s:i, s:f, s:f, s:f, s:i, s:i, s:i, s:o}", "balancer",
                     simulation_mind_name(mind), "overload_node_minutes", r->overload_minutes, "lost_core_minutes",
                     r->lost_core_minutes, "imbalance", r->imbalance, "moves", r->moves, "returns", r->returns,
                     "moved_bytes", r->moved_bytes, "migration_seconds", r->migration_s, "down_seconds", r->down_s,
                     "failures", r->failures, "restarts", r->restarts, "stranded_steps", r->stranded_steps, "steps",
                     series);
}

static const char *const colours[SIMULATION_MINDS] = {"#888888", "#1f6fb2", "#c8641e", "#7a3fa0", "#2e8b57"};

static void plot(FILE *out, const struct simulation_result *results, const bool *ran, bool overload, int top,
                 const char *title)
{
    double most = 1e-9;
    for (int k = 0; k < SIMULATION_MINDS; k++)
        for (int i = 0; ran[k] && i < results[k].steps; i++) {
            double v = (double)(overload ? results[k].timeline[i].overload_nodes : results[k].timeline[i].imbalance);
            most = v > most ? v : most;
        }
    fprintf(out, "<text x=\"40\" y=\"%d\" font-size=\"13\">%s (top: %.3g)</text>\n", top - 6, title, most);
    fprintf(out, "<rect x=\"40\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#cccccc\"/>\n", top,
            PLOT_WIDTH, PLOT_HEIGHT);
    for (int k = 0; k < SIMULATION_MINDS; k++) {
        if (!ran[k])
            continue;
        fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" points=\"", colours[k]);
        for (int i = 0; i < results[k].steps; i++) {
            double v = (double)(overload ? results[k].timeline[i].overload_nodes : results[k].timeline[i].imbalance);
            double span = results[k].steps > 1 ? results[k].steps - 1 : 1;
            fprintf(out, "%.1f,%.1f ", 40 + PLOT_WIDTH * i / span, top + PLOT_HEIGHT * (1 - v / most));
        }
        fputs("\"/>\n", out);
    }
}

static char *draw(const struct simulation_result *results, const bool *ran, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    if (!out)
        return NULL;
    fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\">\n",
            PLOT_WIDTH + 60, 2 * PLOT_HEIGHT + 130);
    fputs("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n", out);
    for (int k = 0, x = 40; k < SIMULATION_MINDS; k++) {
        if (!ran[k])
            continue;
        fprintf(out, "<text x=\"%d\" y=\"20\" font-size=\"13\" fill=\"%s\">%s: %.0f min, %d moves</text>\n", x,
                colours[k], simulation_mind_name((enum simulation_mind)k), results[k].overload_minutes,
                results[k].moves);
        x += 195;
    }
    plot(out, results, ran, true, 60, "nodes above the limit");
    plot(out, results, ran, false, 60 + PLOT_HEIGHT + 50, "spread of the CPU load");
    fputs("</svg>\n", out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static int report(const struct arguments *a, const struct simulation_result *results, const bool *ran, struct err *err)
{
    char path[4096];
    if (mkdir(a->report, 0755) < 0 && errno != EEXIST)
        return err_set(err, errno, "--report %s: %s", a->report, strerror(errno));
    json_t *list = json_array();
    for (int k = 0; k < SIMULATION_MINDS; k++)
        if (ran[k])
            json_array_append_new(list, result_json(&results[k], (enum simulation_mind)k));
    char *json = json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(list);
    snprintf(path, sizeof path, "%s/report.json", a->report);
    int rc = command_write_file(path, json, json ? strlen(json) : 0, err);
    free(json);
    size_t len = 0;
    char *svg = rc == 0 ? draw(results, ran, &len) : NULL;
    snprintf(path, sizeof path, "%s/report.svg", a->report);
    rc = rc == 0 ? command_write_file(path, svg, len, err) : rc;
    free(svg);
    return rc;
}

static int run(void *context, const struct command_cluster *c, const struct policy *policy, struct err *err)
{
    const struct arguments *a = context;
    const struct model *m = c->model;
    struct trace trace = {0};
    struct simulation_result results[SIMULATION_MINDS] = {0};
    bool ran[SIMULATION_MINDS] = {false};
    int rc = load_trace(a, m, &trace, err), known = 0;
    for (int k = 0; rc == 0 && k < SIMULATION_MINDS; k++) {
        if (a->only && strcmp(a->only, simulation_mind_name((enum simulation_mind)k)) != 0)
            continue;
        known++;
        struct simulation_config config = {.mind = (enum simulation_mind)k,
                                           .trace = &trace,
                                           .policy = policy,
                                           .step_s = 300,
                                           .steps = a->steps ? a->steps : trace.steps,
                                           .begin_s = a->begin_hour * 3600.0,
                                           .seed = a->seed,
                                           .failures_per_day = a->failures};
        rc = simulation_run(m, &config, &results[k], err);
        ran[k] = rc == 0;
        if (rc == 0)
            printf("%-11s overload %8.0f node minutes, lost %8.1f core minutes, spread %.4f, moves %6d, returns %d, "
                   "down %.1f "
                   "s\n",
                   simulation_mind_name(config.mind), results[k].overload_minutes, results[k].lost_core_minutes,
                   results[k].imbalance, results[k].moves, results[k].returns, results[k].down_s);
    }
    if (rc == 0 && !known)
        rc = err_set(err, EINVAL, "--only '%s': none, drover, imbalance, contention or foresight is needed", a->only);
    if (rc == 0 && a->report)
        rc = report(a, results, ran, err);
    for (int k = 0; k < SIMULATION_MINDS; k++)
        simulation_fini(&results[k]);
    trace_fini(&trace);
    return rc;
}

int command_simulate(int argc, char **argv)
{
    struct arguments a = {.seed = 1, .files.score = "drover"};
    const struct argp argp = {
        .options = options,
        .parser = parse,
        .doc = "Runs a cluster through a trace of loads under Drover's balancer and under others' rules.",
        .children = command_files_argp};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    return command_run(&a.files, run, &a);
}
