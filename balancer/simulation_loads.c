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
    *l = (struct simulation_loads){.config = config,
                                   .begin = m,
                                   .stored = calloc(guests, sizeof *l->stored),
                                   .still = calloc(guests, sizeof *l->still)};
    bool whole = l->still && l->stored;
    for (int r = 0; r < RESOURCE_COUNT && whole; r++) {
        l->forecasts[r] = config->traces[r] ? calloc(guests, sizeof **l->forecasts) : NULL;
        whole = l->forecasts[r] || !config->traces[r];
        l->has[r] = config->traces[r] != NULL;
    }
    for (int g = 0; g < m->guest_count && whole; g++) {
        for (int i = 0; i < m->guests[g].storage_count; i++)
            l->stored[g] += m->guests[g].storage[i].bytes_per_s;
        for (int r = 0; r < RESOURCE_COUNT; r++) { /* what was put on top for the forecast's error is no load */
            l->still[g][r] = fmax(0, m->guests[g].load[r] - config->margin * m->guests[g].load_std[r]);
            l->has[r] |= l->still[g][r] > 0;
        }
        l->has[RESOURCE_DISK] |= l->stored[g] > 0;
        l->has[RESOURCE_NETWORK] |= l->stored[g] > 0;
    }
    return whole ? 0 : -ENOMEM;
}

void simulation_loads_fini(struct simulation_loads *l)
{
    free(l->stored);
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

/* A trace of disks is of all that the guest's do. */
static bool is_of_members(const struct simulation_loads *l, int guest, int r)
{
    return r == RESOURCE_DISK && l->config->traces[r] && l->stored[guest] > 0;
}

/* Of what runs on `node`, what is load of that node. */
static double wanted(const struct simulation_loads *l, const struct model_guest *g, int guest, int step, int r)
{
    const struct trace *trace = l->config->traces[r];
    if (is_of_members(l, guest, r))
        return 0;
    return trace ? trace_at(trace, guest, step) * whole_of(g, r) : l->still[guest][r];
}

/* As model.c counts it: of links nothing, if it is on the member's node. */
static void add_storage(const struct simulation_loads *l, const struct model *m, int guest, int node, int step,
                        double seconds, double (*load)[RESOURCE_COUNT])
{
    const struct model_guest *begin = &l->begin->guests[guest];
    const struct trace *trace = l->config->traces[RESOURCE_DISK];
    double part = trace && l->stored[guest] > 0 ? trace_at(trace, guest, step) / l->stored[guest] : 1;
    for (int i = 0; i < begin->storage_count; i++) {
        int there = begin->storage[i].node;
        double bytes = part * begin->storage[i].bytes_per_s * seconds;
        load[there][RESOURCE_DISK] += model_disk_work(&m->nodes[there], bytes);
        load[there][RESOURCE_NETWORK] += there == node ? 0 : bytes;
        load[node][RESOURCE_NETWORK] += there == node ? 0 : bytes;
    }
}

void simulation_loads_add(const struct simulation_loads *l, const struct model *m, int guest, int node, int step,
                          double seconds, double (*load)[RESOURCE_COUNT])
{
    const struct model_guest *g = &m->guests[guest];
    if (g->state != GUEST_RUNNING)
        return;
    for (int r = 0; r < RESOURCE_COUNT; r++)
        if (l->has[r])
            load[node][r] += wanted(l, g, guest, step, r) * seconds;
    add_storage(l, m, guest, node, step, seconds, load);
}

static double day_ago(const struct simulation_loads *l, int r, int guest, int step)
{
    int day = (int)(DAY_S / l->config->step_s);
    return step >= day ? trace_at(l->config->traces[r], guest, step - day) : -1;
}

/* Its members' work, all together so much. */
static void show_storage(const struct simulation_loads *l, struct model_guest *guest, int g, double bytes_per_s)
{
    for (int i = 0; i < guest->storage_count; i++) {
        double begin = l->begin->guests[g].storage[i].bytes_per_s;
        guest->storage[i].bytes_per_s = l->stored[g] > 0 ? begin * (bytes_per_s / l->stored[g]) : 0;
    }
}

static void show(const struct simulation_loads *l, struct model_guest *guest, int g, int step, int r)
{
    const struct simulation_config *c = l->config;
    double whole = whole_of(guest, r), error = 0;
    if (guest->state != GUEST_RUNNING || !c->traces[r]) {
        guest->load[r] = guest->state == GUEST_RUNNING ? l->still[g][r] : 0;
        guest->load_std[r] = 0;
        if (r == RESOURCE_DISK)
            show_storage(l, guest, g, guest->state == GUEST_RUNNING ? l->stored[g] : 0);
        return;
    }
    double value = trace_at(c->traces[r], g, c->mind == SIMULATION_FORESIGHT ? step : step - 1);
    if (c->mind == SIMULATION_DROVER || c->mind == SIMULATION_SHADOW)
        value = forecast_next(&l->forecasts[r][g], day_ago(l, r, g, step), &error);
    value += c->policy->error_factor * error;
    bool of_members = is_of_members(l, g, r);
    guest->load[r] = of_members ? 0 : (c->traces[r]->unit == TRACE_PERCENT && value > 1 ? 1 : value) * whole;
    guest->load_std[r] = of_members ? 0 : error * whole;
    if (r == RESOURCE_DISK)
        show_storage(l, guest, g, value);
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
