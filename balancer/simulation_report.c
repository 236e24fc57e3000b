#include "balancer/simulation_report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEGEND_COLUMNS = 3, LEGEND_WIDTH = 320 };
enum { PLOT_WIDTH = 960, PLOT_HEIGHT = 200, PLOT_LEFT = 40, PLOT_TOP = 60, PLOT_EVERY = PLOT_HEIGHT + 50 };

const char *simulation_resource_name(enum model_resource resource)
{
    static const char *const names[RESOURCE_COUNT] = {"cpu", "memory", "disk", "network"};
    return names[resource];
}

/* ---- JSON ---- */

/* Each resource by its name; null: nothing is known of it. */
static json_t *by_resource(const struct simulation_result *r, const double *values)
{
    json_t *object = json_object();
    for (int i = 0; i < RESOURCE_COUNT; i++)
        json_object_set_new(object, simulation_resource_name((enum model_resource)i),
                            r->known[i] ? json_real(values[i]) : json_null());
    return object;
}

static json_t *series_json(const struct simulation_result *r)
{
    json_t *series = json_array();
    for (int i = 0; i < r->steps; i++) {
        const struct simulation_step *s = &r->timeline[i];
        json_array_append_new(series, json_pack("[f, i, i, i, i, i]", (double)s->imbalance, (int)s->over[RESOURCE_CPU],
                                                (int)s->moves, (int)s->over[RESOURCE_MEMORY],
                                                (int)s->over[RESOURCE_DISK], (int)s->over[RESOURCE_NETWORK]));
    }
    return series;
}

static json_t *result_json(const struct simulation_result *r, enum simulation_mind mind)
{
    json_t *object = json_pack("{s:s, s:f, s:o, s:f, s:f, s:o}", "balancer", simulation_mind_name(mind),
                               "overload_node_minutes", r->overload_minutes[RESOURCE_CPU], "overload_node_minutes_of",
                               by_resource(r, r->overload_minutes), "lost_core_minutes", r->lost_core_minutes,
                               "imbalance", r->imbalance[RESOURCE_CPU], "imbalance_of", by_resource(r, r->imbalance));
    json_t *cost = json_pack("{s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:i, s:i, s:i, s:o}", "moves", r->moves,
                             "failed_moves", r->failed_moves, "returns", r->returns, "moved_bytes", r->moved_bytes,
                             "migration_seconds", r->migration_s, "migration_core_minutes", r->migration_core_s / 60,
                             "down_seconds", r->down_s, "failures", r->failures, "restarts", r->restarts,
                             "stranded_steps", r->stranded_steps, "steps", series_json(r));
    json_object_update(object, cost);
    json_decref(cost);
    return object;
}

char *simulation_report_json(const struct simulation_result *results, const bool *ran)
{
    json_t *list = json_array();
    for (int k = 0; k < SIMULATION_MINDS; k++)
        if (ran[k])
            json_array_append_new(list, result_json(&results[k], (enum simulation_mind)k));
    char *text = json_dumps(list, JSON_COMPACT | JSON_REAL_PRECISION(9));
    json_decref(list);
    return text;
}

/* ---- SVG ---- */

static const char *const colours[SIMULATION_MINDS] = {"#888888", "#1f6fb2", "#c8641e", "#7a3fa0", "#2e8b57", "#b01e3c"};

enum curve { CURVE_OVER, CURVE_SPREAD, CURVE_MOVES, CURVE_OVER_OTHERS, CURVES };

static const char *const titles[CURVES] = {"nodes above the limit of processors", "spread of the CPU load",
                                           "moves until then",
                                           "nodes above the limit of memory, disks or networks, each counted"};

/* Of a step; `before` is the value of the step before it. */
static double value_at(const struct simulation_step *s, enum curve curve, double before)
{
    switch (curve) {
    case CURVE_OVER:
        return (double)s->over[RESOURCE_CPU];
    case CURVE_SPREAD:
        return (double)s->imbalance;
    case CURVE_MOVES:
        return before + (double)s->moves;
    default:
        return (double)(s->over[RESOURCE_MEMORY] + s->over[RESOURCE_DISK] + s->over[RESOURCE_NETWORK]);
    }
}

static double largest(const struct simulation_result *results, const bool *ran, enum curve curve)
{
    double most = 1e-9;
    for (int k = 0; k < SIMULATION_MINDS; k++) {
        double v = 0;
        for (int i = 0; ran[k] && i < results[k].steps; i++) {
            v = value_at(&results[k].timeline[i], curve, v);
            most = v > most ? v : most;
        }
    }
    return most;
}

static void plot(FILE *out, const struct simulation_result *results, const bool *ran, enum curve curve, int top)
{
    double most = largest(results, ran, curve);
    fprintf(out, "<text x=\"%d\" y=\"%d\" font-size=\"13\">%s (top: %.3g)</text>\n", PLOT_LEFT, top - 6, titles[curve],
            most);
    fprintf(out, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#cccccc\"/>\n", PLOT_LEFT,
            top, PLOT_WIDTH, PLOT_HEIGHT);
    for (int k = 0; k < SIMULATION_MINDS; k++) {
        if (!ran[k])
            continue;
        double v = 0, span = results[k].steps > 1 ? results[k].steps - 1 : 1;
        fprintf(out, "<polyline fill=\"none\" stroke=\"%s\" points=\"", colours[k]);
        for (int i = 0; i < results[k].steps; i++) {
            v = value_at(&results[k].timeline[i], curve, v);
            fprintf(out, "%.1f,%.1f ", PLOT_LEFT + PLOT_WIDTH * i / span, top + PLOT_HEIGHT * (1 - v / most));
        }
        fputs("\"/>\n", out);
    }
}

/* Is there anything to see of what is not a processor? */
static bool has_others(const struct simulation_result *results, const bool *ran)
{
    for (int k = 0; k < SIMULATION_MINDS; k++)
        for (int r = RESOURCE_MEMORY; ran[k] && r < RESOURCE_COUNT; r++)
            if (results[k].overload_minutes[r] > 0)
                return true;
    return false;
}

char *simulation_report_svg(const struct simulation_result *results, const bool *ran, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    if (!out)
        return NULL;
    int curves = has_others(results, ran) ? CURVES : CURVE_OVER_OTHERS;
    fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\">\n",
            PLOT_WIDTH + 60, PLOT_TOP + curves * PLOT_EVERY - 20);
    fputs("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n", out);
    for (int k = 0, place = 0; k < SIMULATION_MINDS; k++) {
        if (!ran[k])
            continue;
        fprintf(out, "<text x=\"%d\" y=\"%d\" font-size=\"13\" fill=\"%s\">%s: %.0f min, %d moves</text>\n",
                PLOT_LEFT + place % LEGEND_COLUMNS * LEGEND_WIDTH, 16 + place / LEGEND_COLUMNS * 18, colours[k],
                simulation_mind_name((enum simulation_mind)k), results[k].overload_minutes[RESOURCE_CPU],
                results[k].moves);
        place++;
    }
    for (int c = 0; c < curves; c++)
        plot(out, results, ran, (enum curve)c, PLOT_TOP + c * PLOT_EVERY);
    fputs("</svg>\n", out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
