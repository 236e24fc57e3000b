#include "node/agent/load_pressure.h"

#include <jansson.h>

static const char *const resources[LOAD_PRESSURE_COUNT] = {"cpu", "memory", "io"};
static const double UNIT_US = 100, UNITS = 1e4; /* of a second; how many it has */

static void add(struct load_meter *m, uint64_t total_us, uint64_t now_us, bool anew)
{
    if (anew)
        load_meter_anew(m);
    load_meter_add(m, total_us, now_us, UNIT_US);
}

void load_pressure_add(struct load_pressure *p, const struct cgroup_pressure now[LOAD_PRESSURE_COUNT], uint64_t now_us)
{
    for (unsigned i = 0; i < LOAD_PRESSURE_COUNT; i++) {
        add(&p->some[i], now[i].some_us, now_us, p->anew);
        add(&p->full[i], now[i].full_us, now_us, p->anew);
    }
    p->anew = false;
}

void load_pressure_read(struct load_pressure *p, uint64_t now_us)
{
    struct cgroup_pressure now[LOAD_PRESSURE_COUNT];
    for (unsigned i = 0; i < LOAD_PRESSURE_COUNT; i++)
        now[i] = cgroup_node_pressure(resources[i]);
    load_pressure_add(p, now, now_us);
}

void load_pressure_anew(struct load_pressure *p)
{
    p->anew = true;
}

static json_t *parts_of(const struct load_meter *meters)
{
    json_t *parts = json_object();
    for (unsigned i = 0; i < LOAD_PRESSURE_COUNT; i++) {
        double part = load_meter_p95(&meters[i]) / UNITS;
        json_object_set_new(parts, resources[i], json_real(part < 1 ? part : 1));
    }
    return parts;
}

void load_pressure_put(const struct load_pressure *p, json_t *record)
{
    json_object_set_new(record, "pressure", parts_of(p->some));
    json_object_set_new(record, "stalled", parts_of(p->full));
}
