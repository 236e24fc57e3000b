#include "node/agent/placement_policy.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum { OWN_PART = 16 /* of a node's memory one is its own */ };

static const struct placement_policy usual = {
    .memory = 1,
    .vcpu_ratio = 8,
    .weight = {[PLACEMENT_CPU] = 1, [PLACEMENT_MEMORY] = 0.5, [PLACEMENT_NETWORK] = 0.5, [PLACEMENT_PROMISED] = 0.25},
    .overload_limit = 0.8,
    .overload_weight = 30,
};

/* Fields, usual values and ranges are those of balancer/policy_read.c. */
static const struct {
    const char *part, *key;
    size_t offset;
    double min, max;
} fields[] = {
    {"limits", "memory", offsetof(struct placement_policy, memory), 0.1, 1},
    {"limits", "vcpu_ratio", offsetof(struct placement_policy, vcpu_ratio), 0.1, 1000},
    {"weights", "cpu", offsetof(struct placement_policy, weight[PLACEMENT_CPU]), 0, 1000},
    {"weights", "memory", offsetof(struct placement_policy, weight[PLACEMENT_MEMORY]), 0, 1000},
    {"weights", "network", offsetof(struct placement_policy, weight[PLACEMENT_NETWORK]), 0, 1000},
    {"weights", "reserved", offsetof(struct placement_policy, weight[PLACEMENT_PROMISED]), 0, 1000},
    {"overload", "limit", offsetof(struct placement_policy, overload_limit), 0.1, 1},
    {"overload", "weight", offsetof(struct placement_policy, overload_weight), 0, 1000},
};

/* False: it is no such number. What is left out stays. */
static bool read_field(const json_t *whole, unsigned i, struct placement_policy *to)
{
    const json_t *member = json_object_get(json_object_get(whole, fields[i].part), fields[i].key);
    double number = json_number_value(member);
    if (!member)
        return true;
    if (!json_is_number(member) || !(number >= fields[i].min && number <= fields[i].max))
        return false;
    *(double *)((char *)to + fields[i].offset) = number;
    return true;
}

struct placement_policy placement_policy_of(const struct mirror *m)
{
    const struct object *policy = mirror_find(m, OBJECT_POLICY, "balance");
    const char *text = policy && policy->value ? object_spec_text(policy, "text") : "";
    json_t *whole = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    struct placement_policy read = usual;
    bool good = true;
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++)
        good &= read_field(whole, i, &read);
    json_decref(whole);
    return good ? read : usual;
}

double placement_policy_memory(const struct placement_policy *p, const struct object *node)
{
    double memory = json_number_value(json_object_get(node->state, "memory_bytes"));
    return memory > 0 ? p->memory * memory - floor(memory / OWN_PART) : INFINITY;
}

double placement_policy_vcpus(const struct placement_policy *p, const struct object *node)
{
    double threads = json_number_value(json_object_get(node->state, "cpus"));
    return threads > 0 ? p->vcpu_ratio * threads : INFINITY;
}
