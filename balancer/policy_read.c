/* A table of fields: section, key, kind, where it goes, and what it may be. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "balancer/json_text.h"
#include "balancer/policy.h"
#include "node/base/err.h"

enum kind { NUMBER, WHOLE, DURATION, SPEED, HOURS };

struct field {
    const char *section, *key;
    enum kind kind;
    size_t at;
    double min, max;
};

#define AT(member) offsetof(struct policy, member)

static const struct field fields[] = {
    {"weights", "cpu", NUMBER, AT(weight[RESOURCE_CPU]), 0, 1000},
    {"weights", "memory", NUMBER, AT(weight[RESOURCE_MEMORY]), 0, 1000},
    {"weights", "disk", NUMBER, AT(weight[RESOURCE_DISK]), 0, 1000},
    {"weights", "network", NUMBER, AT(weight[RESOURCE_NETWORK]), 0, 1000},
    {"weights", "reserved", NUMBER, AT(reserved_weight), 0, 1000},
    {"weights", "group", NUMBER, AT(group_weight), 0, 1000},
    {"weights", "drain", NUMBER, AT(drain_weight), 1, 1000},
    {"overload", "limit", NUMBER, AT(overload_limit), 0.1, 1},
    {"overload", "weight", NUMBER, AT(overload_weight), 0, 1000},
    {"forecast", "error_factor", NUMBER, AT(error_factor), 0, 10},
    {"limits", "vcpu_ratio", NUMBER, AT(vcpu_ratio), 0.1, 1000},
    {"limits", "memory", NUMBER, AT(memory_limit), 0.1, 1},
    {"limits", "lose", WHOLE, AT(lose), 0, 16},
    {"cost", "move", NUMBER, AT(move_cost), 0, 1e6},
    {"cost", "second", NUMBER, AT(second_cost), 0, 1e6},
    {"cost", "downtime", NUMBER, AT(downtime_cost), 0, 1e6},
    {"cost", "gib", NUMBER, AT(gib_cost), 0, 1e6},
    {"cost", "stable", DURATION, AT(stable_s), 1, 1e8},
    {"cost", "link", SPEED, AT(link_bytes_per_s), 1e5, 1e13},
    {"cost", "downtime_max", DURATION, AT(downtime_s), 0.001, 60},
    {"patience", "enter", NUMBER, AT(enter), 0, 1},
    {"patience", "leave", NUMBER, AT(leave), 0, 1},
    {"patience", "cool_down", DURATION, AT(cool_down_s), 0, 1e8},
    {"patience", "return", DURATION, AT(return_s), 0, 1e8},
    {"patience", "stale", DURATION, AT(stale_s), 1, 1e8},
    {"moves", "parallel", WHOLE, AT(parallel), 1, 1000},
    {"moves", "per_node", WHOLE, AT(per_node), 1, 100},
    {"moves", "per_link", WHOLE, AT(per_link), 0, 1000},
    {"moves", "max", WHOLE, AT(moves_max), 0, 1000000},
    {"moves", "into_per_hour", WHOLE, AT(into_per_hour), 0, 1000000},
    {"moves", "per_hour", WHOLE, AT(per_hour), 0, 1000000},
    {"moves", "quiet", HOURS, AT(quiet_from), 0, 0},
    {"consolidate", "cpu", NUMBER, AT(consolidate.limit[RESOURCE_CPU]), 0.05, 1},
    {"consolidate", "memory", NUMBER, AT(consolidate.limit[RESOURCE_MEMORY]), 0.05, 1},
    {"consolidate", "disk", NUMBER, AT(consolidate.limit[RESOURCE_DISK]), 0.05, 1},
    {"consolidate", "network", NUMBER, AT(consolidate.limit[RESOURCE_NETWORK]), 0.05, 1},
    {"consolidate", "wake_cpu", NUMBER, AT(consolidate.wake[RESOURCE_CPU]), 0.05, 1},
    {"consolidate", "wake_memory", NUMBER, AT(consolidate.wake[RESOURCE_MEMORY]), 0.05, 1},
    {"consolidate", "wake_disk", NUMBER, AT(consolidate.wake[RESOURCE_DISK]), 0.05, 1},
    {"consolidate", "wake_network", NUMBER, AT(consolidate.wake[RESOURCE_NETWORK]), 0.05, 1},
    {"consolidate", "keep", WHOLE, AT(consolidate.keep), 1, 20000},
    {"consolidate", "lose", WHOLE, AT(consolidate.lose), 0, 16},
};

enum { FIELD_COUNT = sizeof fields / sizeof *fields };

/* "22:00-06:00" into two minutes of the day. */
static int read_hours(const struct json_text *t, json_t *section, const struct field *f, struct policy *policy)
{
    const char *text = NULL;
    unsigned from, from_minute, to, to_minute;
    int end = 0, rc = json_text_string(t, section, f->key, &text);
    if (rc < 0 || !text)
        return rc;
    if (sscanf(text, "%2u:%2u-%2u:%2u%n", &from, &from_minute, &to, &to_minute, &end) != 4 || text[end] || from > 23 ||
        to > 23 || from_minute > 59 || to_minute > 59)
        return json_text_refuse(t, f->key, "'%s': two times of the day (UTC) are needed, such as \"22:00-06:00\"",
                                text);
    policy->quiet_from = (int)(from * 60 + from_minute);
    policy->quiet_to = (int)(to * 60 + to_minute);
    return 0;
}

static int read_field(const struct json_text *t, json_t *section, const struct field *f, struct policy *policy)
{
    void *to = (char *)policy + f->at;
    double number = -1;
    if (f->kind == HOURS)
        return read_hours(t, section, f, policy);
    int rc = f->kind == DURATION ? json_text_duration(t, section, f->key, &number)
             : f->kind == SPEED  ? json_text_size(t, section, f->key, false, &number)
                                 : json_text_number(t, section, f->key, f->min, f->max, &number);
    if (rc < 0 || !json_object_get(section, f->key))
        return rc;
    if (number < f->min || number > f->max)
        return json_text_refuse(t, f->key, "%g is not between %g and %g", number, f->min, f->max);
    if (f->kind != WHOLE) {
        *(double *)to = number;
        return 0;
    }
    if (number != (int)number)
        return json_text_refuse(t, f->key, "a whole number is needed");
    *(int *)to = (int)number;
    return 0;
}

static int read_section(struct json_text *t, const char *name, json_t *section, struct policy *policy)
{
    const char *keys[FIELD_COUNT + 1] = {0};
    int count = 0;
    for (int i = 0; i < FIELD_COUNT; i++)
        if (!strcmp(fields[i].section, name))
            keys[count++] = fields[i].key;
    if (!count)
        return json_text_refuse(t, name, "no such section; docs/balancer.md has the list");
    if (!json_is_object(section))
        return json_text_refuse(t, name, "an object { ... } is needed");
    t->path[0] = name;
    t->depth = 1;
    int rc = json_text_known(t, section, keys);
    for (int i = 0; i < FIELD_COUNT && rc == 0; i++)
        if (!strcmp(fields[i].section, name))
            rc = read_field(t, section, &fields[i], policy);
    t->depth = 0;
    return rc;
}

/* Fields that only make sense in an order. */
static int check_pairs(struct json_text *t, const struct policy *p)
{
    static const char *const wake[RESOURCE_COUNT] = {"wake_cpu", "wake_memory", "wake_disk", "wake_network"};
    t->depth = 1;
    t->path[0] = "patience";
    if (p->leave > p->enter)
        return json_text_refuse(t, "leave", "%g is above enter (%g): balancing would never begin or never end",
                                p->leave, p->enter);
    t->path[0] = "consolidate";
    for (int r = 0; r < RESOURCE_COUNT; r++)
        if (p->consolidate.wake[r] <= p->consolidate.limit[r])
            return json_text_refuse(t, wake[r], "%g is not above %s (%g): what was put to sleep would be woken again",
                                    p->consolidate.wake[r], wake[r] + strlen("wake_"), p->consolidate.limit[r]);
    return 0;
}

int policy_read(struct policy *policy, const char *name, const char *text, size_t len, struct err *err)
{
    struct json_text t = {.name = name, .text = text, .len = len, .err = err};
    json_t *root = json_text_parse(&t);
    if (!root)
        return -EINVAL;
    struct policy read = *policy;
    const char *key;
    json_t *section;
    int rc = 0;
    json_object_foreach (root, key, section) {
        rc = read_section(&t, key, section, &read);
        if (rc < 0)
            break;
    }
    rc = rc == 0 ? check_pairs(&t, &read) : rc;
    read.link_is_said |= json_object_get(json_object_get(root, "cost"), "link") != NULL;
    json_decref(root);
    if (rc == 0)
        *policy = read;
    return rc;
}
