#include "balancer/simulation_loads.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "balancer/forecast.h"

enum { DAY_S = 86400 };

static const double MIB = 1048576;

int simulation_loads_init(struct simulation_loads *l, const struct model *m, const struct simulation_config *config)
{
    size_t guests = (size_t)m->guest_count + 1;
    *l = (struct simulation_loads){.config = config, .still = calloc(guests, sizeof *l->still)};
    bool whole = l->still != NULL;
    for (int r = 0; r < RESOURCE_COUNT && whole; r++) {
        l->forecasts[r] = config->traces[r] ? calloc(guests, sizeof **l->forecasts) : NULL;
        whole = l->forecasts[r] || !config->traces[r];
        l->has[r] = config->traces[r] != NULL;
    }
    for (int g = 0; g < m->guest_count && whole; g++)
        for (int r = 0; r < RESOURCE_COUNT; r++) { /* what was put on top for the forecast's error is no load */
            l->still[g][r] = fmax(0, m->guests[g].load[r] - config->margin * m->guests[g].load_std[r]);
            l->has[r] |= l->still[g][r] > 0;
        }
    return whole ? 0 : -ENOMEM;
}

void simulation_loads_fini(struct simulation_loads *l)
{
    free(l->still);
    for (int r = 0; r < RESOURCE_COUNT; r++)
        free(l->forecasts[r]);
    *l = (struct simulation_loads){0};
}

/* Of a part that a trace has, how much that is. */
static double whole_of(const struct model_guest *g, int resource)
{
    return resource == RESOURCE_CPU ? g->vcpus : resource == RESOURCE_MEMORY ? g->memory * MIB : 1;
}

double simulation_loads_at(const struct simulation_loads *l, const struct model *m, int guest, int step,
                           enum model_resource r)
{
    const struct model_guest *g = &m->guests[guest];
    if (g->state != GUEST_RUNNING)
        return 0;
    const struct trace *trace = l->config->traces[r];
    return trace ? trace_at(trace, guest, step) * whole_of(g, r) : l->still[guest][r];
}

static double day_ago(const struct simulation_loads *l, int r, int guest, int step)
{
    int day = (int)(DAY_S / l->config->step_s);
    return step >= day ? trace_at(l->config->traces[r], guest, step - day) : -1;
}

static void show(const struct simulation_loads *l, struct model_guest *guest, int g, int step, int r)
{
    const struct simulation_config *c = l->config;
    double whole = whole_of(guest, r), error = 0;
    if (guest->state != GUEST_RUNNING || !c->traces[r]) {
        guest->load[r] = guest->state == GUEST_RUNNING ? l->still[g][r] : 0;
        guest->load_std[r] = 0;
        return;
    }
    double value = trace_at(c->traces[r], g, c->mind == SIMULATION_FORESIGHT ? step : step - 1);
    if (c->mind == SIMULATION_DROVER || c->mind == SIMULATION_SHADOW)
        value = forecast_next(&l->forecasts[r][g], day_ago(l, r, g, step), &error);
    value += c->policy->error_factor * error;
    guest->load[r] = (c->traces[r]->unit == TRACE_PERCENT && value > 1 ? 1 : value) * whole;
    guest->load_std[r] = error * whole;
}

void simulation_loads_show(const struct simulation_loads *l, struct model *m, int step)
{
    for (int g = 0; g < m->guest_count; g++) {
        for (int r = 0; r < RESOURCE_COUNT; r++)
            show(l, &m->guests[g], g, step, r);
        model_guest_changed(m, g);
    }
}

void simulation_loads_learn(struct simulation_loads *l, const struct model *m, int step)
{
    for (int r = 0; r < RESOURCE_COUNT; r++)
        for (int g = 0; l->forecasts[r] && g < m->guest_count; g++)
            forecast_add(&l->forecasts[r][g], trace_at(l->config->traces[r], g, step), day_ago(l, r, g, step));
}
