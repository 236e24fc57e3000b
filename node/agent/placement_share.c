#include "node/agent/placement_share.h"

#include <jansson.h>
#include <math.h>

#include "node/agent/load_meter.h"
#include "node/agent/load_storage.h"

static const double HUNDREDTHS = 0.01, NUMBER_MAX = 1e15;

static double number(const json_t *object, const char *key)
{
    double n = json_number_value(json_object_get(object, key));
    return isfinite(n) && n > 0 ? fmin(n, NUMBER_MAX) : 0;
}

/* How much more is wanted than used where some, or all, waited. */
static double under_pressure(const json_t *record, const char *what)
{
    return 1 + fmin(number(json_object_get(record, "pressure"), what), 1) +
           fmin(number(json_object_get(record, "stalled"), what), 1);
}

static void measure(struct placement_share *s, const json_t *record, const json_t *use)
{
    const json_t *cpu = json_object_get(use, "cpu"), *rate;
    const char *node;
    if (json_array_size(cpu) < LOAD_SAMPLES_NEEDED)
        return;
    double unit = fmin(number(record, "unit"), LOAD_UNIT_BYTES);
    double wanted = HUNDREDTHS * (load_window_p95(cpu) + load_window_p95(json_object_get(use, "steal")));
    s->measured = true;
    s->load[PLACEMENT_CPU] = fmin(wanted, s->vcpus) * under_pressure(record, "cpu");
    s->load[PLACEMENT_MEMORY] = number(use, "memory") * under_pressure(record, "memory");
    s->load[PLACEMENT_NETWORK] = unit * load_window_p95(json_object_get(use, "network"));
    s->storage = json_object_get(use, "storage");
    s->storage_unit = unit;
    json_object_foreach (s->storage, node, rate)
        s->load[PLACEMENT_NETWORK] += placement_share_storage(s, node);
}

struct placement_share placement_share_of(const json_t *record, const char *guest, const json_t *spec)
{
    struct placement_share s = {.memory_bytes = json_number_value(json_object_get(spec, "memory")),
                                .vcpus = json_number_value(json_object_get(spec, "vcpus"))};
    if (json_is_true(json_object_get(spec, "running"))) {
        s.taken_bytes = s.memory_bytes;
        s.taken_vcpus = s.vcpus;
    }
    measure(&s, record, json_object_get(json_object_get(record, "guests"), guest));
    return s;
}

double placement_share_storage(const struct placement_share *s, const char *node)
{
    return s->storage ? fmin(s->storage_unit * number(s->storage, node), NUMBER_MAX) : 0;
}
