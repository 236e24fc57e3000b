#include "node/agent/placement_room.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/load_meter.h"
#include "node/agent/member.h"

enum { OWN_PART = 16 /* of a node's memory one is its own */ };

static const double HUNDREDTHS = 0.01, UNKNOWN_MEMORY = 1;

static int by_name(const void *a, const void *b)
{
    const struct placement_room_node *x = a, *y = b;
    return strcmp(x->node->name, y->node->name);
}

static struct placement_room_node *find(const struct placement_room *r, const struct object *node)
{
    const struct placement_room_node key = {.node = node};
    return node && r->count ? bsearch(&key, r->nodes, r->count, sizeof key, by_name) : NULL;
}

static void list_nodes(struct placement_room *r, const struct mirror *m)
{
    size_t count = 0;
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n; n = mirror_next(m, OBJECT_NODE, n->name))
        count++;
    r->nodes = calloc(count + 1, sizeof *r->nodes);
    for (const struct object *n = mirror_next(m, OBJECT_NODE, NULL); n && r->nodes;
         n = mirror_next(m, OBJECT_NODE, n->name))
        r->nodes[r->count++].node = n;
    if (r->nodes)
        qsort(r->nodes, r->count, sizeof *r->nodes, by_name);
}

/* ---- what a guest wants ---- */

static const json_t *measured_on(const struct mirror *m, const char *node, const char *guest)
{
    const struct object *n = *node ? mirror_named(m, OBJECT_NODE, node) : NULL;
    const struct object *load = n ? mirror_find(m, OBJECT_LOAD, n->id) : NULL;
    return json_object_get(json_object_get(load ? load->state : NULL, "guests"), guest);
}

/* Processors; negative: it is not measured. */
static double wants(const struct mirror *m, const struct object *guest)
{
    const json_t *use = measured_on(m, object_spec_text(guest, "node"), guest->id), *cpu = json_object_get(use, "cpu");
    double vcpus = json_number_value(object_spec(guest, "vcpus"));
    if (!json_array_size(cpu))
        return -1;
    double wanted = HUNDREDTHS * (load_window_p95(cpu) + load_window_p95(json_object_get(use, "steal")));
    return wanted < vcpus ? wanted : vcpus;
}

/* Whether they run or not their memory is promised; who does not run wants no processor. */
static void learn(struct placement_room *r, const struct mirror *m)
{
    double vcpus = 0, cpus = 0;
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        double wanted = json_is_true(object_spec(g, "running")) ? wants(m, g) : -1;
        if (wanted < 0)
            continue;
        vcpus += json_number_value(object_spec(g, "vcpus"));
        cpus += wanted;
    }
    r->cpus_per_vcpu = vcpus > 0 ? cpus / vcpus : 0;
}

static void add(struct placement_room *r, const struct mirror *m, const struct object *guest, const char *on,
                double wanted)
{
    struct placement_room_node *n = find(r, *on ? mirror_named(m, OBJECT_NODE, on) : NULL);
    if (!n)
        return;
    n->memory_bytes += json_number_value(object_spec(guest, "memory"));
    n->cpus += wanted;
}

static void add_guest(struct placement_room *r, const struct mirror *m, const struct object *guest)
{
    const char *going = member_text(guest->value, "migration");
    const struct object *migration = *going ? mirror_find(m, OBJECT_MIGRATION, going) : NULL;
    double wanted = json_is_true(object_spec(guest, "running")) ? wants(m, guest) : 0;
    if (wanted < 0)
        wanted = r->cpus_per_vcpu * json_number_value(object_spec(guest, "vcpus"));
    add(r, m, guest, object_spec_text(guest, "node"), wanted);
    if (migration && migration->value && strcmp(object_spec_text(migration, "to"), object_spec_text(guest, "node")))
        add(r, m, guest, object_spec_text(migration, "to"), wanted);
}

void placement_room_gather(struct placement_room *r, const struct mirror *m, const char *guest, const json_t *spec)
{
    const struct object *known = *guest ? mirror_find(m, OBJECT_GUEST, guest) : NULL;
    double own = known && known->value ? wants(m, known) : -1;
    *r = (struct placement_room){.memory_bytes = json_number_value(json_object_get(spec, "memory"))};
    list_nodes(r, m);
    learn(r, m);
    r->cpus = own >= 0 ? own : r->cpus_per_vcpu * json_number_value(json_object_get(spec, "vcpus"));
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        if (g != known && g->value)
            add_guest(r, m, g);
}

void placement_room_fini(struct placement_room *r)
{
    free(r->nodes);
    *r = (struct placement_room){0};
}

double placement_room_after(const struct placement_room *r, const struct object *node)
{
    const struct placement_room_node *n = find(r, node);
    double memory = json_number_value(json_object_get(node->state, "memory_bytes"));
    double cpus = json_number_value(json_object_get(node->state, "cpus"));
    double usable = memory > 0 ? memory - memory / OWN_PART : UNKNOWN_MEMORY;
    double promised = (n ? n->memory_bytes : 0) + r->memory_bytes, wanted = (n ? n->cpus : 0) + r->cpus;
    double memory_part = promised / usable, cpu_part = cpus > 0 ? wanted / cpus : 0;
    return memory_part * memory_part + cpu_part * cpu_part;
}
