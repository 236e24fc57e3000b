#include "node/agent/placement_limits.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { OWN_PART = 16 /* of a node's memory one is its own */ };

static const double MEMORY = 1, MEMORY_MIN = 0.1, MEMORY_MAX = 1, VCPU_RATIO = 8, RATIO_MIN = 0.1, RATIO_MAX = 1000;

/* False: it is no such number. Left out: *value stays. */
static bool read_number(const json_t *limits, const char *key, double min, double max, double *value)
{
    const json_t *member = json_object_get(limits, key);
    double number = json_number_value(member);
    if (!member)
        return true;
    if (!json_is_number(member) || !(number >= min && number <= max))
        return false;
    *value = number;
    return true;
}

struct placement_limits placement_limits_of(const struct mirror *m)
{
    static const struct placement_limits usual = {MEMORY, VCPU_RATIO};
    const struct object *policy = mirror_find(m, OBJECT_POLICY, "balance");
    const char *text = policy && policy->value ? object_spec_text(policy, "text") : "";
    json_t *whole = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const json_t *part = json_object_get(whole, "limits");
    struct placement_limits read = usual;
    bool good = read_number(part, "memory", MEMORY_MIN, MEMORY_MAX, &read.memory) &&
                read_number(part, "vcpu_ratio", RATIO_MIN, RATIO_MAX, &read.vcpu_ratio);
    json_decref(whole);
    return good ? read : usual;
}

double placement_limits_memory(const struct placement_limits *l, const struct object *node)
{
    double memory = json_number_value(json_object_get(node->state, "memory_bytes"));
    return memory > 0 ? l->memory * memory - floor(memory / OWN_PART) : INFINITY;
}

double placement_limits_vcpus(const struct placement_limits *l, const struct object *node)
{
    double threads = json_number_value(json_object_get(node->state, "cpus"));
    return threads > 0 ? l->vcpu_ratio * threads : INFINITY;
}
