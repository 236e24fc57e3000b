#include "node/agent/migration_forecast.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/migration_volumes.h"

enum { LINK = 125000000 /* bytes/s, where none has been seen */ };
enum { NEWEST = 5, BYTES_MIN = 8 << 20 /* less tells nothing of a link */ };

/* The newest of some kind of figure. */
struct newest {
    unsigned count; /* of all */
    double values[NEWEST];
};

static void add(struct newest *n, double value)
{
    n->values[n->count++ % NEWEST] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const struct newest *n)
{
    double sorted[NEWEST];
    unsigned count = n->count < NEWEST ? n->count : NEWEST;
    memcpy(sorted, n->values, sizeof sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

struct past {
    struct newest bandwidth, connect_ms, fixed_ms;
};

static double figure(const struct object *m, const char *key)
{
    return json_number_value(json_object_get(m->state, key));
}

static void learn(struct past *p, const struct object *m)
{
    double bytes = figure(m, "done_bytes") - figure(m, "volume_bytes"), connect_ms = figure(m, "connect_ms");
    double copy_s = figure(m, "seconds") - connect_ms / 1e3, downtime_ms = figure(m, "downtime_ms");
    double link = figure(m, "link_bandwidth"); /* unless an older agent moved it */
    if (bytes >= BYTES_MIN && (link > 0 || copy_s > 0))
        add(&p->bandwidth, link > 0 ? link : bytes / copy_s);
    if (connect_ms > 0)
        add(&p->connect_ms, connect_ms);
    if (downtime_ms > 0)
        add(&p->fixed_ms, downtime_ms);
}

static bool is_between(const struct object *m, const char *a, const char *b)
{
    const char *from = object_spec_text(m, "from"), *to = object_spec_text(m, "to");
    return (!strcmp(from, a) && !strcmp(to, b)) || (!strcmp(from, b) && !strcmp(to, a));
}

static unsigned used(const struct newest *n)
{
    return n->count < NEWEST ? n->count : NEWEST;
}

json_t *migration_forecast_wish(const struct mirror *mirror, const char *here, const char *to,
                                const struct migration_goals *goals, char from[MIGRATION_FORECAST_FROM_MAX])
{
    struct past these = {0}, all = {0};
    for (const struct object *m = mirror_next(mirror, OBJECT_MIGRATION, NULL); m;
         m = mirror_next(mirror, OBJECT_MIGRATION, m->name)) {
        if (migration_phase_of(m) != MIGRATION_DONE)
            continue;
        learn(&all, m);
        if (is_between(m, here, to))
            learn(&these, m);
    }
    const struct past *p = these.bandwidth.count ? &these : &all;
    json_t *wish = json_pack("{s:I, s:I}", "downtime-ms", (json_int_t)goals->max_downtime_ms, "within-s",
                             (json_int_t)goals->within_s);
    if (goals->post_copy)
        json_object_set_new(wish, "post-copy", json_true());
    snprintf(from, MIGRATION_FORECAST_FROM_MAX, "no migration has shown how fast the link is: 1 Gbit/s is assumed");
    if (!p->bandwidth.count)
        return wish;
    snprintf(from, MIGRATION_FORECAST_FROM_MAX, "the link as of %u migration%s between %s", used(&p->bandwidth),
             used(&p->bandwidth) == 1 ? "" : "s", p == &these ? "these nodes" : "other nodes");
    json_object_set_new(wish, "bandwidth", json_real(median(&p->bandwidth)));
    if (p->connect_ms.count)
        json_object_set_new(wish, "connect-ms", json_real(median(&p->connect_ms)));
    if (p->fixed_ms.count)
        json_object_set_new(wish, "fixed-ms", json_real(median(&p->fixed_ms)));
    return wish;
}

json_t *migration_forecast_state(const json_t *answer, const char *from)
{
    static const char *const keys[][2] = {{"bytes", "predicted_bytes"},
                                          {"seconds", "predicted_s"},
                                          {"downtime-ms", "predicted_downtime_ms"},
                                          {"post-copy", "predicted_post_copy"},
                                          {"post-copy-seconds", "predicted_post_copy_s"},
                                          {"needs-post-copy", "needs_post_copy"},
                                          {"holds", "goals_hold"},
                                          {"reason", "goals_reason"}};
    json_t *state = json_pack("{s:s}", "predicted_from", from);
    for (unsigned i = 0; i < sizeof keys / sizeof *keys; i++)
        if (json_object_get(answer, keys[i][0]))
            json_object_set(state, keys[i][1], json_object_get(answer, keys[i][0]));
    return state;
}

/* ---- what moves along ---- */

double migration_forecast_volumes(const struct mirror *mirror, const json_t *wish, const json_t *spec)
{
    const json_t *bandwidth = json_object_get(wish, "bandwidth");
    return migration_volumes_seconds(mirror, spec, bandwidth ? json_number_value(bandwidth) : LINK);
}

struct migration_goals migration_forecast_rest(const struct migration_goals *goals, double volume_s)
{
    struct migration_goals rest = *goals;
    rest.within_s = volume_s + 1 < (double)goals->within_s ? goals->within_s - (uint64_t)volume_s : 1;
    return rest;
}

static void add_to(json_t *state, const char *key, json_t *figure)
{
    const json_t *before = json_object_get(state, key);
    if (json_is_integer(before) && json_is_integer(figure))
        json_object_set_new(state, key, json_integer(json_integer_value(before) + json_integer_value(figure)));
    else if (before)
        json_object_set_new(state, key, json_real(json_number_value(before) + json_number_value(figure)));
    json_decref(figure);
}

void migration_forecast_add(json_t *state, const json_t *spec, double volume_s)
{
    const struct object migration = {.value = json_pack("{s:O}", "spec", spec)};
    json_int_t bytes = (json_int_t)migration_volumes_bytes(&migration);
    json_int_t within = json_integer_value(json_object_get(spec, "within_s"));
    json_decref(migration.value);
    if (!bytes)
        return;
    json_object_set_new(state, "predicted_volume_bytes", json_integer(bytes));
    json_object_set_new(state, "predicted_volume_s", json_real(volume_s));
    add_to(state, "predicted_bytes", json_integer(bytes));
    add_to(state, "predicted_s", json_real(volume_s));
    if (volume_s + 1 < (double)within)
        return;
    json_object_set_new(state, "goals_hold", json_false());
    json_object_set_new(state, "goals_reason",
                        json_sprintf("its volumes alone are likely to take %.0f s, and %lld s is all that it may take",
                                     volume_s, (long long)within));
}
