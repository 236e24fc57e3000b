#include "node/agent/failover_view.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/boot_image.h"
#include "node/agent/member.h"
#include "node/agent/member_probe.h"
#include "node/agent/placement.h"
#include "node/agent/presence.h"
#include "node/agent/volume_member.h"
#include "node/base/timestamp.h"

const struct object *failover_record(const struct mirror *m)
{
    const struct object *o = mirror_find(m, OBJECT_FAILOVER, FAILOVER_RECORD);
    return o && o->value ? o : NULL;
}

bool failover_is_armed(const struct mirror *m)
{
    const struct object *o = failover_record(m);
    return !o || !json_is_false(object_spec(o, "armed"));
}

/* ... and wanted running. */
static bool is_protected(const struct object *g)
{
    return json_is_true(object_spec(g, "ha")) && json_is_true(object_spec(g, "running")) &&
           !json_is_true(json_object_get(g->value, "deleting"));
}

unsigned failover_count(const struct object *g)
{
    return (unsigned)json_integer_value(json_object_get(json_object_get(g->value, "failover"), "count"));
}

json_t *failover_handed(const struct object *guest, const char *to, const char *reason)
{
    char at[TIMESTAMP_BYTES];
    json_t *value = json_deep_copy(guest->value);
    json_object_set_new(json_object_get(value, "spec"), "node", json_string(to));
    json_object_del(value, "migration"); /* whatever was under way has ended with its node */
    json_object_del(value, "moved");
    json_object_set_new(value, "failover",
                        json_pack("{s:i, s:s, s:s, s:s, s:s}", "count", (int)failover_count(guest) + 1, "at",
                                  timestamp(at), "from", object_spec_text(guest, "node"), "to", to, "reason", reason));
    return value;
}

/* ---- nodes ---- */

static int index_of(const struct failover_view *v, const char *name)
{
    for (int i = 0; i < v->node_count; i++)
        if (!strcmp(v->nodes[i].name, name))
            return i;
    return FAILOVER_NOBODY;
}

/* The number of the first node that is in the same place. */
static void number_place(struct failover_scene *s, int node, enum placement_scope scope)
{
    int first = 0;
    while (first < node && !placement_same_place(s->nodes[first], s->nodes[node], scope))
        first++;
    s->view.nodes[node].place[scope] = first;
}

static void add_nodes(struct failover_scene *s, const struct mirror *m)
{
    struct failover_view *v = &s->view;
    const struct object *n = mirror_next(m, OBJECT_NODE, NULL);
    for (; n && v->node_count < FAILOVER_NODES_MAX; n = mirror_next(m, OBJECT_NODE, n->name)) {
        bool alive = presence_is_alive(n);
        s->nodes[v->node_count] = n;
        v->nodes[v->node_count++] = (struct failover_node){
            .name = n->name,
            .alive = alive,
            .lost = !alive,
            .drained = json_is_true(object_spec(n, "drained")),
            .memory_bytes = (uint64_t)json_integer_value(json_object_get(n->state, "memory_bytes")),
        };
        for (int p = 0; p < FAILOVER_PLACES; p++)
            number_place(s, v->node_count - 1, (enum placement_scope)p);
    }
}

/* ---- guests ---- */

/* Nodes that its placement rules allow: those that hold what it boots from, and the others. */
static void find_able(const struct failover_scene *s, const struct mirror *m, const struct object *g,
                      struct failover_guest *to)
{
    const struct failover_view *v = &s->view;
    const struct placement_guest rules = placement_guest_of(g, false);
    uint64_t mask = placement_mask(m, &rules, s->nodes, v->node_count);
    for (int i = 0; i < v->node_count; i++)
        if (mask & UINT64_C(1) << i && boot_image_allows(m, rules.spec, s->nodes[i], NULL))
            to->able |= UINT64_C(1) << i;
    to->bare = mask & ~to->able;
}

/* The bit of a group, the same in a view for the same name; those beyond the last share it, which is too strict at
 * worst. */
static uint64_t bit_of(struct failover_scene *s, bool apart, const char *name)
{
    unsigned i = 0;
    while (i < s->group_count && (strcmp(s->groups[i].name, name) || s->groups[i].apart != apart))
        i++;
    if (i == s->group_count && i < FAILOVER_GROUPS_MAX - 1) {
        s->groups[i].apart = apart;
        snprintf(s->groups[i].name, sizeof s->groups[i].name, "%s", name);
        s->group_count++;
    }
    return UINT64_C(1) << i;
}

static void number_groups(struct failover_scene *s, const struct mirror *m, const struct object *g, bool apart,
                          uint64_t bits[FAILOVER_PLACES])
{
    const char *key = apart ? "anti_affinity" : "affinity";
    const json_t *list = object_spec(g, key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct placement_group group;
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || !placement_parse(text, &group))
            continue;
        placement_widen(m, key, &group);
        if (group.hard)
            bits[group.scope] |= bit_of(s, apart, group.name);
    }
}

/* *reached: its node is away, and what serves it answers. */
static int8_t node_of_member(const struct failover_scene *s, const struct mirror *m, const struct object *volume,
                             int at, bool *reached)
{
    const struct object *member = volume_member_at(m, volume->id, at);
    int node = member ? index_of(&s->view, volume_member_node(m, member)) : FAILOVER_NOBODY;
    *reached = node >= 0 && !s->view.nodes[node].alive && json_is_true(json_object_get(member->state, "made")) &&
               member_probe_answers(s->probe, member_text(member->state, "uri"));
    return (int8_t)node;
}

static void add_disk(const struct failover_scene *s, const struct mirror *m, struct failover_guest *to,
                     const struct object *volume)
{
    struct layout l;
    struct failover_disk *d = &to->disks[to->disk_count];
    bool reached;
    if (!volume || !volume_layout(volume, &l) || to->disk_count == FAILOVER_DISKS_MAX)
        return;
    to->disk_count++;
    *d = (struct failover_disk){.members = (uint8_t)l.members, .spare = (uint8_t)l.spare, .has_witness = l.wants_voter};
    for (unsigned i = 0; i < l.members; i++) {
        d->node[i] = node_of_member(s, m, volume, (int)i, &reached);
        d->reached |= (uint16_t)(reached << i);
    }
    d->witness = node_of_member(s, m, volume, WITNESS, &d->witness_reached);
}

static void add_guest(struct failover_scene *s, const struct mirror *m, const struct object *g)
{
    struct failover_view *v = &s->view;
    struct failover_guest *to = &v->guests[v->guest_count];
    const json_t *disks = object_spec(g, "disks"), *priority = object_spec(g, "ha_priority");
    *to = (struct failover_guest){
        .name = g->name,
        .node = index_of(v, object_spec_text(g, "node")),
        .is_protected = is_protected(g),
        .priority = priority ? (unsigned)json_integer_value(priority) : FAILOVER_PRIORITY,
        .memory_bytes = (uint64_t)json_integer_value(object_spec(g, "memory")),
    };
    if (json_is_true(object_spec(g, "running")) && to->node >= 0)
        v->nodes[to->node].promised_bytes += to->memory_bytes;
    if (!to->is_protected)
        return; /* it takes memory, and that is all */
    find_able(s, m, g, to);
    number_groups(s, m, g, true, to->apart);
    number_groups(s, m, g, false, to->together);
    for (size_t i = 0; i < json_array_size(disks); i++)
        add_disk(s, m, to, mirror_named(m, OBJECT_VOLUME, member_text(json_array_get(disks, i), "volume")));
    s->objects[v->guest_count++] = g;
}

/* By insertion: the larger priority first, else as they come, which is by name. */
static void sort(struct failover_scene *s)
{
    struct failover_guest *guests = s->view.guests;
    for (unsigned i = 1; i < s->view.guest_count; i++)
        for (unsigned k = i; k && guests[k - 1].priority < guests[k].priority; k--) {
            struct failover_guest g = guests[k];
            const struct object *o = s->objects[k];
            guests[k] = guests[k - 1];
            s->objects[k] = s->objects[k - 1];
            guests[k - 1] = g;
            s->objects[k - 1] = o;
        }
}

bool failover_scene_make(struct failover_scene *s, const struct mirror *m, const struct member_probe *probe,
                         const char *self)
{
    size_t count = mirror_count(m, OBJECT_GUEST) + 1;
    *s = (struct failover_scene){.view.armed = failover_is_armed(m), .probe = probe};
    s->view.guests = calloc(count, sizeof *s->view.guests);
    s->objects = calloc(count, sizeof *s->objects);
    if (!s->view.guests || !s->objects) {
        failover_scene_free(s);
        return false;
    }
    add_nodes(s, m);
    s->view.self = index_of(&s->view, self);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        add_guest(s, m, g);
    sort(s);
    return true;
}

void failover_scene_free(struct failover_scene *s)
{
    free(s->view.guests);
    free(s->objects);
    s->view.guests = NULL;
    s->objects = NULL;
}
