#include "node/agent/placement_room.h"

#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/placement.h"
#include "node/agent/presence.h"
#include "node/base/units.h"

enum { OF_VCPUS, OF_MEMORY };

static const double USUAL_NETWORK_RATE = 1.25e9, RATE_MAX = 1e15; /* bytes a second: 10 Gbit/s */
static const double AFTER_ALL_OTHERS = 1e9;

static int by_name(const void *key, const void *node)
{
    return strcmp(key, ((const struct placement_room_node *)node)->node->name);
}

static struct placement_room_node *find(const struct placement_room *r, const char *name)
{
    return *name && r->count ? bsearch(name, r->nodes, r->count, sizeof *r->nodes, by_name) : NULL;
}

/* A label is anybody's text: what is no size is as if it were not there. */
static double network_rate(const struct object *node)
{
    const char *text = member_text(object_spec(node, "labels"), "network_rate");
    uint64_t bytes = 0;
    return *text && !units_parse_size(text, &bytes, NULL) && bytes ? fmin((double)bytes, RATE_MAX) : USUAL_NETWORK_RATE;
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
        struct placement_room_node *to = &r->nodes[r->count++];
        to->node = n;
        to->record = load ? load->state : NULL;
        to->bears[PLACEMENT_CPU] = json_number_value(json_object_get(n->state, "cpus"));
        to->bears[PLACEMENT_MEMORY] = json_number_value(json_object_get(n->state, "memory_bytes"));
        to->bears[PLACEMENT_NETWORK] = network_rate(n);
    }
}

/* ---- what guests have, and want ---- */

/* What a guest exchanges with volumes' members on its own node goes over no link, at either end. */
static double network_at(const struct placement_share *s, const char *node)
{
    return s->load[PLACEMENT_NETWORK] - 2 * placement_share_storage(s, node);
}

static void add(struct placement_room_node *n, const struct placement_share *share, bool runs)
{
    if (!n)
        return;
    n->given.memory_bytes += share->memory_bytes;
    n->given.vcpus += share->vcpus;
    n->given.taken_bytes += share->taken_bytes;
    n->given.taken_vcpus += share->taken_vcpus;
    if (!runs)
        return;
    if (!share->measured) {
        n->unmeasured[OF_VCPUS] += share->vcpus;
        n->unmeasured[OF_MEMORY] += share->memory_bytes;
        return;
    }
    n->given.load[PLACEMENT_CPU] += share->load[PLACEMENT_CPU];
    n->given.load[PLACEMENT_MEMORY] += share->load[PLACEMENT_MEMORY];
    n->given.load[PLACEMENT_NETWORK] += network_at(share, n->node->name);
}

/* The members' side of what its disks do. */
static void add_storage(struct placement_room *r, const struct placement_share *share)
{
    const char *name;
    json_t *rate;
    json_object_foreach (share->storage, name, rate) {
        struct placement_room_node *n = find(r, name);
        if (n)
            n->given.load[PLACEMENT_NETWORK] += placement_share_storage(share, name);
    }
}

/* Where it goes; "": nowhere but where it is. */
static const char *goes_to(const struct mirror *m, const struct object *guest)
{
    const struct object *migration = migration_of(m, guest);
    const char *to = migration ? object_spec_text(migration, "to") : "";
    return strcmp(to, object_spec_text(guest, "node")) != 0 ? to : "";
}

static struct placement_share share_of(const struct placement_room_node *on, const struct object *guest, bool *runs)
{
    *runs = json_is_true(object_spec(guest, "running"));
    return placement_share_of(on && *runs ? on->record : NULL, guest->id, json_object_get(guest->value, "spec"));
}

static void add_guests(struct placement_room *r, const struct mirror *m)
{
    struct placement_share all = {0};
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name)) {
        struct placement_room_node *on = find(r, object_spec_text(g, "node")), *to = find(r, goes_to(m, g));
        bool runs;
        if (!on && !to)
            continue;
        const struct placement_share share = share_of(on, g, &runs);
        add(on, &share, runs);
        add(to, &share, runs);
        add_storage(r, &share);
        if (share.measured) {
            all.vcpus += share.vcpus;
            all.memory_bytes += share.memory_bytes;
            for (int k = 0; k < PLACEMENT_LOADS; k++)
                all.load[k] += share.load[k];
        }
    }
    for (int k = 0; k < PLACEMENT_LOADS; k++) {
        double of = k == PLACEMENT_MEMORY ? all.memory_bytes : all.vcpus;
        r->usual[k] = of > 0 ? all.load[k] / of : 0;
    }
}

/* What a guest that runs and is not measured is taken to want. */
static void guess(const struct placement_room *r, struct placement_share *share)
{
    for (int k = 0; k < PLACEMENT_LOADS && !share->measured; k++)
        share->load[k] = r->usual[k] * (k == PLACEMENT_MEMORY ? share->memory_bytes : share->vcpus);
}

/* ---- the score ---- */

static double part(double of, double whole)
{
    return whole > 0 ? of / whole : 0;
}

/* The memory of a node that guests may have, whatever the policy leaves of it. */
static double for_guests(const struct object *node)
{
    static const struct placement_policy all = {.memory = 1};
    double bytes = placement_policy_memory(&all, node);
    return isfinite(bytes) ? bytes : 0;
}

static struct placement_row row_of(const struct placement_room *r, const struct placement_room_node *n)
{
    struct placement_row row;
    for (int k = 0; k < PLACEMENT_LOADS; k++)
        row.part[k] = part(n->given.load[k] + r->usual[k] * n->unmeasured[k == PLACEMENT_MEMORY ? OF_MEMORY : OF_VCPUS],
                           n->bears[k]);
    row.part[PLACEMENT_PROMISED] = part(n->given.memory_bytes, for_guests(n->node));
    return row;
}

/* With a guest that has this share and was not there; sign -1: without it, who was. */
static struct placement_row with(const struct placement_room_node *n, const struct placement_row *row,
                                 const struct placement_share *share, double sign)
{
    struct placement_row changed = *row;
    for (int k = 0; k < PLACEMENT_LOADS; k++) {
        double load = k == PLACEMENT_NETWORK ? network_at(share, n->node->name) : share->load[k];
        changed.part[k] += sign * part(load, n->bears[k]);
    }
    changed.part[PLACEMENT_PROMISED] += sign * part(share->memory_bytes, for_guests(n->node));
    return changed;
}

void placement_room_gather(struct placement_room *r, const struct mirror *m)
{
    *r = (struct placement_room){.policy = placement_policy_of(m), .gathered = true};
    list_nodes(r, m);
    r->failed = !r->nodes;
    add_guests(r, m);
    for (size_t i = 0; i < r->count; i++) {
        const struct placement_row row = row_of(r, &r->nodes[i]);
        if (presence_takes_guests(r->nodes[i].node))
            placement_score_add(&r->score, &row);
    }
}

void placement_room_gather_of(struct placement_room *r, const struct mirror *m, const struct object *node)
{
    *r = (struct placement_room){.policy = placement_policy_of(m), .gathered = true};
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

static bool has_it(const struct placement_load *l, const char *node)
{
    return !strcmp(l->on[0], node) || !strcmp(l->on[1], node);
}

static struct placement_row row_without(const struct placement_room *r, const struct placement_load *l,
                                        const struct placement_room_node *n)
{
    const struct placement_row row = row_of(r, n);
    return has_it(l, n->node->name) ? with(n, &row, &l->counted, -1) : row;
}

static void leave(const struct placement_room *r, struct placement_load *l)
{
    l->without = r->score;
    for (int i = 0; i < 2; i++) {
        const struct placement_room_node *n = find(r, l->on[i]);
        if (!n || !presence_takes_guests(n->node))
            continue;
        const struct placement_row row = row_of(r, n), less = row_without(r, l, n);
        placement_score_change(&l->without, &row, &less);
    }
}

struct placement_load placement_room_load(const struct placement_room *r, const struct mirror *m, const char *guest,
                                          const json_t *spec)
{
    const struct object *known = *guest ? mirror_find(m, OBJECT_GUEST, guest) : NULL;
    struct placement_load l = {.needs = placement_share_of(NULL, guest, spec), .on = {"", ""}};
    if (known && known->value) {
        bool runs;
        l.on[0] = object_spec_text(known, "node");
        l.on[1] = goes_to(m, known);
        l.counted = share_of(find(r, l.on[0]), known, &runs);
        if (runs)
            guess(r, &l.counted);
    }
    if (l.counted.measured) {
        memcpy(l.needs.load, l.counted.load, sizeof l.needs.load);
        l.needs.storage = l.counted.storage;
        l.needs.storage_unit = l.counted.storage_unit;
    } else {
        guess(r, &l.needs);
    }
    leave(r, &l);
    return l;
}

bool placement_room_fits(const struct placement_room *r, const struct placement_load *l, const struct object *node,
                         char *why)
{
    const struct placement_share *needs = &l->needs;
    const struct placement_room_node *n = find(r, node->name);
    bool counted = has_it(l, node->name);
    double memory = placement_policy_memory(&r->policy, node), vcpus = placement_policy_vcpus(&r->policy, node);
    memory -= n ? n->given.taken_bytes - (counted ? l->counted.taken_bytes : 0) : 0;
    vcpus = floor(vcpus - (n ? n->given.taken_vcpus - (counted ? l->counted.taken_vcpus : 0) : 0));
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
    const struct placement_room_node *n = find(r, node->name);
    if (!n)
        return AFTER_ALL_OTHERS;
    const struct placement_row row = row_without(r, l, n), more = with(n, &row, &l->needs, 1);
    return placement_score_if(&l->without, &r->policy, &row, &more) +
           (n->bears[PLACEMENT_MEMORY] > 0 ? 0 : AFTER_ALL_OTHERS);
}

double placement_room_filled(const struct placement_room *r, const struct placement_load *l, const struct object *node)
{
    const struct placement_room_node *n = find(r, node->name);
    if (!n)
        return AFTER_ALL_OTHERS;
    const struct placement_row row = row_without(r, l, n);
    return with(n, &row, &l->needs, 1).part[PLACEMENT_PROMISED];
}
