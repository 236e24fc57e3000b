#include "node/agent/drill_blast.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/drill.h"
#include "node/agent/failover_view.h"
#include "node/agent/layout.h"
#include "node/agent/member.h"
#include "node/agent/migration.h"
#include "node/agent/presence.h"
#include "node/agent/volume_member.h"

struct look {
    struct drill_blast *blast;
    const struct mirror *mirror;
    const json_t *spec;
    const struct drill_traits *traits;
    const char *node;
    json_t *guests, *volumes;
};

/* The first reason counts. */
__attribute__((format(printf, 3, 4))) static void refuse(struct drill_blast *b, const char *code, const char *format,
                                                         ...)
{
    va_list args;
    if (b->code)
        return;
    b->code = code;
    va_start(args, format);
    vsnprintf(b->text, sizeof b->text, format, args);
    va_end(args);
}

bool drill_blast_takes_node(const json_t *spec)
{
    enum drill_kind kind = drill_kind_of(member_text(spec, "kind"));
    return kind < DRILL_KIND_COUNT &&
           (drill_traits(kind)->takes_node ||
            (kind == DRILL_AGENT_CRASH && json_integer_value(json_object_get(spec, "for_ms")) >= DRILL_LEASE_SLACK_MS));
}

/* ---- the cluster as a whole ---- */

/* The store has one place, and that is this node. */
static bool has_the_store(const char *store, const char *address)
{
    const char *at = strstr(store, "://");
    if (!at || strchr(store, ','))
        return false;
    at += 3;
    at += *at == '[';
    return !strncmp(at, address, strlen(address)) && strchr("]:/", at[strlen(address)]);
}

static void look_at_cluster(struct look *l, const char *self, const char *store)
{
    const struct mirror *m = l->mirror;
    struct drill_blast *b = l->blast;
    const struct object *node = mirror_named(m, OBJECT_NODE, l->node), *other = NULL;
    for (const struct object *d = mirror_next(m, OBJECT_DRILL, NULL); d; d = mirror_next(m, OBJECT_DRILL, d->name))
        if (!drill_has_ended(d) && strcmp(d->id, self) != 0 && !other)
            other = d;
    if (other)
        refuse(b, "drill-under-way", "drill %s is under way: wait for its end, or `drover drill abort %s`", other->name,
               other->name);
    for (const struct object *g = mirror_next(m, OBJECT_GUEST, NULL); g; g = mirror_next(m, OBJECT_GUEST, g->name))
        if (migration_of(m, g))
            refuse(b, "migration-under-way", "guest %s is on its way to another node: wait for its end", g->name);
    if (drill_blast_takes_node(l->spec) && !failover_is_armed(m))
        refuse(b, "disarmed", "fail-over is disarmed, so nothing would be taken over: `drover ha arm` first");
    if (!presence_is_alive(node))
        refuse(b, "node-away", "node %s is not there at the moment: there is nothing to drill", l->node);
    if (!*drill_conductor(m, l->spec))
        refuse(b, "no-conductor", "no other node is there that could conduct the drill of node %s", l->node);
    if (l->traits->cut != FAULT_CUT_NONE && node && has_the_store(store, object_spec_text(node, "address")))
        refuse(b, "store-on-node",
               "the store is on node %s alone, so the drill would be one of the whole cluster: drill another node, or "
               "give the store three places",
               l->node);
}

/* ---- volumes ---- */

static bool is_left(const struct look *l, const char *node)
{
    return strcmp(node, l->node) != 0 && presence_is_alive(mirror_named(l->mirror, OBJECT_NODE, node));
}

/* As many members as would be left that have everything; does the drill take one? */
static bool count_members(const struct look *l, const struct object *volume, const struct layout *layout,
                          unsigned *left)
{
    const json_t *lines = json_object_get(volume->state, "members");
    bool is_hit = false;
    *left = 0;
    for (unsigned i = 0; i < layout->members; i++) {
        const struct object *member = volume_member_at(l->mirror, volume->id, (int)i);
        const char *node = member ? volume_member_node(l->mirror, member) : "";
        const char *condition = member_text(json_array_get(lines, i), "condition");
        is_hit |= !strcmp(node, l->node);
        *left += is_left(l, node) && !strcmp(condition, "in-sync");
    }
    return is_hit;
}

static bool has_witness_left(const struct look *l, const struct object *volume)
{
    const struct object *w = volume_member_at(l->mirror, volume->id, WITNESS);
    return w && is_left(l, volume_member_node(l->mirror, w));
}

static void look_at_volume(struct look *l, const struct object *volume)
{
    struct layout layout;
    unsigned left;
    const struct object *guest = volume_guest(l->mirror, volume);
    if (!volume_layout(volume, &layout) || !guest || !json_is_true(object_spec(guest, "running")))
        return; /* nobody writes it */
    if (l->traits->takes_member && strcmp(volume->name, member_text(l->spec, "volume")) != 0)
        return;
    if (!count_members(l, volume, &layout, &left))
        return;
    unsigned needed = layout.members - layout.spare;
    json_array_append_new(l->volumes, json_pack("{s:s, s:i, s:i, s:i}", "volume", volume->name, "members",
                                                (int)layout.members, "left", (int)left, "needed", (int)needed));
    if (left < needed)
        refuse(l->blast, "no-quorum",
               "volume %s would have %u members in sync left and needs %u: wait until `drover volume show %s` has all "
               "in sync, "
               "or drill another node",
               volume->name, left, needed, volume->name);
    else if (layout.wants_voter && !has_witness_left(l, volume))
        refuse(l->blast, "no-quorum",
               "volume %s would lose a member, and its witness is not on a further node that is there", volume->name);
}

/* ---- guests ---- */

static const char *node_of_disk(const struct look *l, const json_t *disk)
{
    const struct object *v = mirror_named(l->mirror, OBJECT_VOLUME, member_text(disk, "volume"));
    const struct object *pool = v ? mirror_named(l->mirror, OBJECT_POOL, object_spec_text(v, "pool")) : NULL;
    return pool ? object_spec_text(pool, "node") : "";
}

/* A disk of it is on the node, and nowhere else. */
static bool needs_node(const struct look *l, const struct object *guest)
{
    const json_t *disks = object_spec(guest, "disks");
    for (size_t i = 0; i < json_array_size(disks); i++)
        if (!strcmp(node_of_disk(l, json_array_get(disks, i)), l->node))
            return true;
    return false;
}

static void add_guest(struct look *l, const struct object *guest, const char *next, const char *effect)
{
    bool is_protected = json_is_true(object_spec(guest, "ha")), is_canary = drill_is_canary(l->spec, guest->name);
    json_array_append_new(l->guests, json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:s}", "guest", guest->name, "id",
                                               guest->id, "node", object_spec_text(guest, "node"), "protected",
                                               is_protected, "canary", is_canary, "next", next, "effect", effect));
    if (!is_protected && !is_canary && !json_is_true(json_object_get(l->spec, "also_unprotected")) &&
        !l->traits->takes_member)
        refuse(l->blast, "unprotected",
               "guest %s is hit and not protected (%s): move it away, protect it (`drover guest set %s --ha`), or say "
               "--also-unprotected",
               guest->name, effect, guest->name);
}

/* Those that are protected and run there: each takes its room before the next one looks. */
static void look_at_protected(struct look *l)
{
    struct failover_scene s;
    int at = FAILOVER_NOBODY;
    if (!failover_scene_make(&s, l->mirror, NULL, ""))
        return;
    json_object_set_new(l->blast->json, "nodes_to_lose", json_integer((json_int_t)failover_tolerates(&s.view)));
    for (int i = 0; i < s.view.node_count; i++)
        if (!strcmp(s.view.nodes[i].name, l->node))
            at = i;
    if (at >= 0)
        s.view.nodes[at].alive = false;
    for (unsigned i = 0; at >= 0 && i < s.view.guest_count; i++) {
        const struct failover_guest *g = &s.view.guests[i];
        const char *reason = "";
        if (g->node != at)
            continue;
        int to = failover_place(&s.view, g, &reason);
        add_guest(l, s.objects[i], to < 0 ? "" : s.view.nodes[to].name, "runs again on another node");
        if (to < 0)
            refuse(l->blast, "nowhere", "guest %s would not run again: %s; see `drover ha status`", g->name, reason);
        else
            s.view.nodes[to].promised_bytes += g->memory_bytes;
    }
    failover_scene_free(&s);
}

static const char *effect_of(const struct look *l, const struct object *guest)
{
    bool is_there = !strcmp(object_spec_text(guest, "node"), l->node);
    bool cuts_peers = l->traits->cut == FAULT_CUT_PEERS || l->traits->cut == FAULT_CUT_ALL;
    if (is_there && l->traits->kill == FAULT_KILL_NODE)
        return "starts again when the node is back";
    if (is_there && cuts_peers)
        return "runs on, and is cut off";
    if (!is_there && cuts_peers && needs_node(l, guest))
        return "its disk is away for the time";
    return NULL;
}

static void look_at_others(struct look *l)
{
    for (const struct object *g = mirror_next(l->mirror, OBJECT_GUEST, NULL); g;
         g = mirror_next(l->mirror, OBJECT_GUEST, g->name)) {
        bool is_there = !strcmp(object_spec_text(g, "node"), l->node);
        const char *effect = json_is_true(object_spec(g, "running")) ? effect_of(l, g) : NULL;
        if (effect && !(is_there && json_is_true(object_spec(g, "ha"))))
            add_guest(l, g, "", effect);
    }
}

static void look_at_member(struct look *l)
{
    const struct object *volume = mirror_named(l->mirror, OBJECT_VOLUME, member_text(l->spec, "volume"));
    const struct object *guest = volume ? volume_guest(l->mirror, volume) : NULL;
    if (!volume || !drill_member(l->mirror, l->spec)) {
        refuse(l->blast, "no-member", "volume %s has no member on node %s: `drover volume show` tells where they are",
               member_text(l->spec, "volume"), l->node);
        return;
    }
    if (guest && json_is_true(object_spec(guest, "running")))
        add_guest(l, guest, object_spec_text(guest, "node"),
                  l->traits->stalls ? "goes on with a slow member" : "goes on without a member");
}

/* It leaves the node, or comes there. */
static void look_at_mover(struct look *l)
{
    const struct object *g = drill_first_guest(l->mirror, l->spec), *to = drill_destination(l->mirror, l->spec);
    if (g && !to)
        refuse(l->blast, "no-destination", "guest %s has nowhere to go: no other node takes guests", g->name);
    else if (g)
        add_guest(l, g, to->name, "moves, or stays where it is");
}

/* A canary that does not run tells nothing. */
static void look_at_canaries(struct look *l)
{
    size_t i;
    json_t *name;
    json_array_foreach (json_object_get(l->spec, "guests"), i, name) {
        const struct object *g = mirror_named(l->mirror, OBJECT_GUEST, json_string_value(name));
        if (!g || strcmp(member_text(g->state, "phase"), "running") != 0)
            refuse(l->blast, "canary-not-running", "the canary %s does not run: `drover guest start %s` first",
                   json_string_value(name), json_string_value(name));
    }
}

bool drill_blast_make(struct drill_blast *b, const struct mirror *mirror, const json_t *spec, const char *self,
                      const char *store)
{
    enum drill_kind kind = drill_kind_of(member_text(spec, "kind"));
    *b = (struct drill_blast){.json = json_object()};
    struct look l = {b,
                     mirror,
                     spec,
                     drill_traits(kind < DRILL_KIND_COUNT ? kind : DRILL_POWER_LOSS),
                     member_text(spec, "node"),
                     json_array(),
                     json_array()};
    json_object_set_new(b->json, "guests", l.guests);
    json_object_set_new(b->json, "volumes", l.volumes);
    look_at_cluster(&l, self, store);
    look_at_canaries(&l);
    if (drill_blast_takes_node(spec))
        look_at_protected(&l);
    if (l.traits->moves)
        look_at_mover(&l);
    else if (l.traits->takes_member)
        look_at_member(&l);
    else
        look_at_others(&l);
    bool takes_members =
        l.traits->takes_member || l.traits->kill == FAULT_KILL_NODE || l.traits->cut == FAULT_CUT_PEERS;
    for (const struct object *v = takes_members ? mirror_next(mirror, OBJECT_VOLUME, NULL) : NULL; v;
         v = mirror_next(mirror, OBJECT_VOLUME, v->name))
        look_at_volume(&l, v);
    return b->json;
}
