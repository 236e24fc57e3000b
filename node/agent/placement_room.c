#include "node/agent/placement_room.h"

#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/load_meter.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/placement.h"
#include "node/base/units.h"

static const double HUNDREDTHS = 0.01, UNKNOWN_MEMORY = 1;

static int by_name(const void *key, const void *node)
{
    return strcmp(key, ((const struct placement_room_node *)node)->node->name);
}

static struct placement_room_node *find(const struct placement_room *r, const char *name)
{
    return *name && r->count ? bsearch(name, r->nodes, r->count, sizeof *r->nodes, by_name) : NULL;
}

static void list_nodes(struct placement_room *r, const struct mirror *m)
{
    size_t count = 0;
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name))
        count++;
    r->nodes = calloc(count + 1, sizeof *r->nodes);
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n && r->nodes;
         n = mirror_next(m, OBJECT_NODE, n->name)) {
        const struct object *load = mirror_find(m, OBJECT_LOAD, n->id);
        r->nodes[r->count++] =
            (struct placement_room_node){.node = n, .measured = json_object_get(load ? load->state : NULL, "guests")};
    }
}

/* ---- what guests have, and want ---- */

/* Processors; negative: it is not measured. */
static double wants(const struct placement_room_node *n, const char *guest, double vcpus)
{
    const json_t *use = json_object_get(n ? n->measured : NULL, guest), *cpu = json_object_get(use, "cpu");
    if (json_array_size(cpu) < LOAD_SAMPLES_NEEDED)
        return -1;
    double wanted = HUNDREDTHS * (load_window_p95(cpu) + load_window_p95(json_object_get(use, "steal")));
    return wanted < vcpus ? wanted : vcpus;
}

static struct placement_share promised(const json_t *spec)
{
    struct placement_share share = {.memory_bytes = json_number_value(json_object_get(spec, "memory")),
                                    .vcpus = json_number_value(json_object_get(spec, "vcpus"))};
    if (json_is_true(json_object_get(spec, "running"))) {
        share.taken_bytes = share.memory_bytes;
        share.taken_vcpus = share.vcpus;
    }
    return share;
}

/* share: cpus negative if it is not measured. */
static void add(struct placement_room_node *n, const struct placement_share *share)
{
    if (!n)
        return;
    n->given.memory_bytes += share->memory_bytes;
    n->given.vcpus += share->vcpus;
    n->given.taken_bytes += share->taken_bytes;
    n->given.taken_vcpus += share->taken_vcpus;
    if (share->cpus >= 0)
        n->given.cpus += share->cpus;
    else
        n->unmeasured_vcpus += share->vcpus;
}

/* Where it goes; "": nowhere but where it is. */
static const char *goes_to(const struct mirror *m, const struct object *guest)
{
    const struct object *migration = migration_of(m, guest);
    const char *to = migration ? object_spec_text(migration, "to") : "";
    return strcmp(to, object_spec_text(guest, "node")) != 0 ? to : "";
}

static void add_guests(struct placement_room *r, const struct mirror *m)
{
    double vcpus_measured = 0, cpus = 0;
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        struct placement_room_node *on = find(r, object_spec_text(g, "node")), *to = find(r, goes_to(m, g));
        if (!on && !to)
            continue;
        struct placement_share share = promised(json_object_get(g->value, "spec"));
        bool runs = json_is_true(object_spec(g, "running"));
        share.cpus = runs ? wants(on, g->id, share.vcpus) : 0;
        if (runs && share.cpus >= 0) {
            vcpus_measured += share.vcpus;
            cpus += share.cpus;
        }
        add(on, &share);
        add(to, &share);
    }
    r->cpus_per_vcpu = vcpus_measured > 0 ? cpus / vcpus_measured : 0;
}

void placement_room_gather(struct placement_room *r, const struct mirror *m)
{
    *r = (struct placement_room){.limits = placement_limits_of(m), .gathered = true};
    list_nodes(r, m);
    r->failed = !r->nodes;
    add_guests(r, m);
}

void placement_room_gather_of(struct placement_room *r, const struct mirror *m, const struct object *node)
{
    *r = (struct placement_room){.limits = placement_limits_of(m), .gathered = true};
    r->nodes = calloc(1, sizeof *r->nodes);
    r->failed = !r->nodes;
    if (r->nodes)
        r->nodes[r->count++].node = node;
    add_guests(r, m);
}

void placement_room_fini(struct placement_room *r)
{
    free(r->nodes);
    *r = (struct placement_room){0};
}

/* ---- one more ---- */

struct placement_load placement_room_load(const struct placement_room *r, const struct mirror *m, const char *guest,
                                          const json_t *spec)
{
    const struct object *known = *guest ? mirror_find(m, OBJECT_GUEST, guest) : NULL;
    struct placement_load l = {.needs = promised(spec), .on = {"", ""}};
    double measured = -1;
    if (known && known->value) {
        l.counted = promised(json_object_get(known->value, "spec"));
        l.on[0] = object_spec_text(known, "node");
        l.on[1] = goes_to(m, known);
        measured = wants(find(r, l.on[0]), guest, l.counted.vcpus);
        if (json_is_true(object_spec(known, "running")))
            l.counted.cpus = measured >= 0 ? measured : r->cpus_per_vcpu * l.counted.vcpus;
    }
    l.needs.cpus = measured >= 0 ? measured : r->cpus_per_vcpu * l.needs.vcpus;
    return l;
}

/* What the others have of a node. */
static struct placement_share others_have(const struct placement_room *r, const struct placement_load *l,
                                          const struct object *node)
{
    const struct placement_room_node *n = find(r, node->name);
    struct placement_share have = n ? n->given : (struct placement_share){0};
    have.cpus += n ? n->unmeasured_vcpus * r->cpus_per_vcpu : 0;
    if (n && (!strcmp(l->on[0], node->name) || !strcmp(l->on[1], node->name))) {
        have.memory_bytes -= l->counted.memory_bytes;
        have.vcpus -= l->counted.vcpus;
        have.taken_bytes -= l->counted.taken_bytes;
        have.taken_vcpus -= l->counted.taken_vcpus;
        have.cpus -= l->counted.cpus;
    }
    return have;
}

bool placement_room_fits(const struct placement_room *r, const struct placement_load *l, const struct object *node,
                         char *why)
{
    const struct placement_share others = others_have(r, l, node), *needs = &l->needs;
    double memory = placement_limits_memory(&r->limits, node) - others.taken_bytes;
    double vcpus = floor(placement_limits_vcpus(&r->limits, node) - others.taken_vcpus);
    bool no_memory = needs->taken_bytes > 0 && needs->taken_bytes > memory;
    bool fits = !r->failed && !no_memory && (needs->taken_vcpus <= 0 || needs->taken_vcpus <= vcpus);
    char left[32], wanted[32];
    if (fits || !why)
        return fits;
    if (r->failed)
        snprintf(why, PLACEMENT_WHY_MAX, "there is no memory to judge it");
    else if (no_memory)
        snprintf(why, PLACEMENT_WHY_MAX, "not enough memory: %s are left, and the guest has %s",
                 units_format_size(memory > 0 ? (uint64_t)memory : 0, left, sizeof left),
                 units_format_size((uint64_t)needs->memory_bytes, wanted, sizeof wanted));
    else
        snprintf(why, PLACEMENT_WHY_MAX, "not enough processors: %.0f vCPUs are left, and the guest has %.0f",
                 vcpus > 0 ? vcpus : 0, needs->vcpus);
    return false;
}

double placement_room_after(const struct placement_room *r, const struct placement_load *l, const struct object *node)
{
    static const struct placement_limits all = {.memory = 1};
    const struct placement_share others = others_have(r, l, node);
    double limit = placement_limits_memory(&all, node);
    double threads = json_number_value(json_object_get(node->state, "cpus"));
    double memory_part = (others.memory_bytes + l->needs.memory_bytes) / (isfinite(limit) ? limit : UNKNOWN_MEMORY);
    double cpu_part = threads > 0 ? (others.cpus + l->needs.cpus) / threads : 0;
    return memory_part * memory_part + cpu_part * cpu_part;
}
