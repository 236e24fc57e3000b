#include "node/agent/load_memory.h"

#include <jansson.h>
#include <limits.h>

#include "node/agent/load_storage.h"

void load_memory_add(struct load_memory *m, uint64_t bytes)
{
    uint64_t pages = bytes / LOAD_UNIT_BYTES;
    if (m->has_moved)
        load_meter_anew(&m->pages);
    m->has_moved = false;
    load_meter_note(&m->pages, pages < INT_MAX ? (int)pages : INT_MAX);
}

void load_memory_look(struct load_memory *m, const json_t *stats)
{
    const json_t *balloon = json_object_get(stats, "balloon");
    if (!balloon)
        return;
    int64_t target = json_integer_value(json_object_get(balloon, "target"));
    int64_t inflated = json_integer_value(json_object_get(balloon, "inflated"));
    m->has_moved |= m->has_balloon && (target != m->target || inflated != m->inflated);
    m->has_balloon = true;
    m->target = target;
    m->inflated = inflated;
}

uint64_t load_memory_p95(const struct load_memory *m)
{
    return (uint64_t)load_meter_p95(&m->pages) * LOAD_UNIT_BYTES;
}
