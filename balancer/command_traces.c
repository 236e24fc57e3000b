#include "balancer/command_traces.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/model.h"
#include "balancer/simulation_report.h"
#include "node/base/err.h"

enum { TRACE_BYTES_MAX = 1 << 30 };

static const char still[] = "still";

static enum trace_unit unit_of(int resource)
{
    return resource == RESOURCE_CPU || resource == RESOURCE_MEMORY ? TRACE_PERCENT : TRACE_BYTES;
}

static int pattern_of(const char *name)
{
    for (int k = 0; k < TRACE_PATTERNS; k++)
        if (!strcmp(name, trace_pattern_name((enum trace_pattern)k)))
            return k;
    return -1;
}

bool command_traces_know(const char *pattern)
{
    return !strcmp(pattern, still) || pattern_of(pattern) >= 0;
}

static int read_file(struct command_traces *t, int resource, struct err *err)
{
    char *text;
    size_t len;
    int rc = command_read_file(t->files[resource], TRACE_BYTES_MAX, &text, &len, err);
    if (rc < 0)
        return rc;
    rc = trace_read(&t->traces[resource], unit_of(resource), t->files[resource], text, len, err);
    t->has[resource] = rc == 0;
    free(text);
    return rc;
}

static int write_made(const struct command_traces *t, struct err *err)
{
    size_t len = 0;
    char *text = trace_write(&t->traces[RESOURCE_CPU], &len);
    int rc = command_write_file(t->write, text, len, err);
    free(text);
    return rc;
}

/* What a guest wants of its vCPUs in the cluster as it is, in percent; nobody has measured Ganeti's. */
static double mean_of(const struct model_guest *g, const struct policy *p)
{
    return g->vcpus > 0 ? 100 * (g->load[RESOURCE_CPU] - p->error_factor * g->load_std[RESOURCE_CPU]) / g->vcpus : 0;
}

static int make(struct command_traces *t, const struct command_cluster *c, const struct policy *p, struct err *err)
{
    const struct model *m = c->model;
    struct trace_recipe recipe = {.pattern = t->pattern ? (enum trace_pattern)pattern_of(t->pattern) : TRACE_MIXED,
                                  .rows = m->guest_count ? m->guest_count : 1,
                                  .steps = t->steps,
                                  .begin = t->begin,
                                  .seed = t->seed};
    double *means = calloc((size_t)recipe.rows, sizeof *means);
    if (!means)
        return err_set(err, ENOMEM, "no memory for loads of %d guests", m->guest_count);
    for (int g = 0; g < m->guest_count && !c->is_ganeti; g++)
        means[g] = mean_of(&m->guests[g], p);
    recipe.means = means;
    int rc = trace_make(&t->traces[RESOURCE_CPU], &recipe, err);
    free(means);
    t->has[RESOURCE_CPU] = rc == 0;
    return rc == 0 && t->write ? write_made(t, err) : rc;
}

/* What the others are held against: the trace of processors; without one the cluster, and the first of them. */
struct measure {
    const char *of_rows, *of_steps;
    int rows, steps;
};

static int fits(const struct command_traces *t, int resource, const struct measure *m, struct err *err)
{
    const struct trace *trace = &t->traces[resource];
    if (trace->rows != m->rows)
        return err_set(err, EINVAL, "%s:%d: the last of %d lines, and %s has %d: a line is needed for each guest",
                       t->files[resource], trace->last_line, trace->rows, m->of_rows, m->rows);
    if (m->steps % trace->steps != 0)
        return err_set(err, EINVAL,
                       "%s:%d: %d values a line, and %s has %d: as many are needed, or a part of them that is repeated",
                       t->files[resource], trace->last_line, trace->steps, m->of_steps, m->steps);
    return 0;
}

/* Of Ganeti's nodes nobody knows what their memory, disks and networks carry, in bytes and seconds. */
static int forget_loads(const struct command_traces *t, const struct command_cluster *c, struct err *err)
{
    for (int r = RESOURCE_MEMORY; r < RESOURCE_COUNT; r++) {
        if (t->files[r])
            return err_set(err, EINVAL,
                           "--trace-%s needs a cluster in Drover's format: Ganeti's has no rates of nodes to hold it "
                           "against",
                           simulation_resource_name((enum model_resource)r));
        for (int g = 0; g < c->model->guest_count; g++)
            c->model->guests[g].load[r] = 0;
        for (int n = 0; n < c->model->node_count; n++)
            c->model->nodes[n].load_capacity[r] = 0;
    }
    for (int g = 0; g < c->model->guest_count; g++)
        model_guest_changed(c->model, g);
    model_recount(c->model);
    return 0;
}

int command_traces_load(struct command_traces *t, const struct command_cluster *c, const struct policy *policy,
                        struct err *err)
{
    int rc = c->is_ganeti ? forget_loads(t, c, err) : 0;
    for (int r = 0; r < RESOURCE_COUNT && rc == 0; r++)
        if (t->files[r])
            rc = read_file(t, r, err);
    struct measure m = {.of_rows = "the cluster", .rows = c->model->guest_count};
    if (t->has[RESOURCE_CPU]) {
        m.of_rows = t->files[RESOURCE_CPU];
        m.rows = t->traces[RESOURCE_CPU].rows;
    }
    for (int r = 0; r < RESOURCE_COUNT && rc == 0; r++) {
        if (!t->has[r])
            continue;
        if (!m.steps) {
            m.of_steps = t->files[r];
            m.steps = t->traces[r].steps;
        }
        rc = fits(t, r, &m, err);
    }
    if (rc < 0)
        return rc;
    if (!t->steps)
        t->steps = m.steps ? m.steps : TRACE_STEPS_A_DAY;
    return t->has[RESOURCE_CPU] || (t->pattern && !strcmp(t->pattern, still)) ? 0 : make(t, c, policy, err);
}

void command_traces_fini(struct command_traces *t)
{
    for (int r = 0; r < RESOURCE_COUNT; r++)
        trace_fini(&t->traces[r]);
}
