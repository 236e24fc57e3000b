/* What the cluster's store shows, as the rules of fail-over take it. What is the same for all who see the same picture
 * is worked out once. */
#include <string.h>

#include "node/drill/world_parts.h"

/* ---- where a guest may go ---- */

static bool takes_guests(const struct world *w, const struct picture *p, int node)
{
    return p->alive & UINT64_C(1) << node && !w->cluster->nodes[node].drained;
}

static uint64_t same_place(const struct cluster *c, int node, int scope)
{
    uint64_t mask = 0;
    for (int n = 0; n < c->node_count; n++)
        if (c->nodes[n].place[scope] == c->nodes[node].place[scope])
            mask |= UINT64_C(1) << n;
    return mask;
}

/* Where the group's other members bind it to, as placement.c has it: nodes that take no guests bind nobody, and one
 * member in the same place is enough for those that stay together. */
static uint64_t allowed(const struct world *w, const struct picture *p, const struct cluster_group *group,
                        unsigned guest)
{
    uint64_t bound = 0, places = 0;
    for (unsigned i = 0; i < group->guest_count; i++)
        if (group->guests[i] != (int)guest)
            bound |= UINT64_C(1) << p->owner[group->guests[i]];
    bound |= group->others;
    for (; bound; bound &= bound - 1) {
        int node = __builtin_ctzll(bound);
        if (takes_guests(w, p, node))
            places |= same_place(w->cluster, node, group->scope);
    }
    return group->apart ? ~places : places ? places : UINT64_MAX;
}

static uint64_t able(const struct world *w, const struct picture *p, unsigned guest)
{
    const struct cluster_guest *g = &w->cluster->guests[guest];
    uint64_t mask = g->may;
    for (unsigned i = 0; i < g->group_count; i++)
        mask &= allowed(w, p, &w->cluster->groups[g->groups[i]], guest);
    return mask;
}

/* ---- what follows from a picture ---- */

void world_picture_derive(struct world *w, struct picture *p)
{
    if (p->derived)
        return;
    p->derived = true;
    p->orphan_count = 0;
    for (int n = 0; n < w->node_count; n++)
        p->promised[n] = w->cluster->nodes[n].promised_bytes;
    for (unsigned g = 0; g < w->guest_count; g++) {
        int owner = p->owner[g];
        p->promised[owner] += w->cluster->guests[g].memory_bytes;
        if (p->alive & UINT64_C(1) << owner)
            continue;
        p->orphans[p->orphan_count] = g;
        p->able[p->orphan_count++] = able(w, p, g);
    }
}

/* Does the server of a member, which is no part of the agent, answer him? */
static bool reaches(const struct world *w, int asker, int node)
{
    return node >= 0 && w->nodes[node].up && world_hears(w, asker, node) && world_hears(w, node, asker);
}

static void show_disk(const struct world *w, const struct picture *p, int asker, struct failover_disk *d)
{
    for (unsigned i = 0; i < d->members; i++)
        if (d->node[i] >= 0 && !(p->alive & UINT64_C(1) << d->node[i]) && reaches(w, asker, d->node[i]))
            d->reached |= (uint16_t)(1u << i);
    d->witness_reached = d->has_witness && reaches(w, asker, d->witness);
}

static void show_guest(const struct world *w, const struct picture *p, int asker, unsigned guest, uint64_t nodes,
                       struct failover_guest *to)
{
    const struct cluster_guest *g = &w->cluster->guests[guest];
    to->name = g->name;
    to->node = p->owner[guest];
    to->is_protected = true;
    to->priority = g->priority;
    to->memory_bytes = g->memory_bytes;
    to->cool_ms = 0;
    to->able = nodes;
    to->bare = 0; /* nodes that lack its images are among those that it may not have */
    memset(to->apart, 0, sizeof to->apart);
    memset(to->together, 0, sizeof to->together);
    for (unsigned i = 0; i < g->group_count; i++) {
        const struct cluster_group *group = &w->cluster->groups[g->groups[i]];
        int bit = g->groups[i] < FAILOVER_GROUPS_MAX ? g->groups[i] : FAILOVER_GROUPS_MAX - 1;
        (group->apart ? to->apart : to->together)[group->scope] |= UINT64_C(1) << bit;
    }
    to->disk_count = g->disk_count;
    for (unsigned i = 0; i < g->disk_count; i++) {
        to->disks[i] = g->disks[i];
        show_disk(w, p, asker, &to->disks[i]);
    }
}

void world_view_guest(struct world *w, const struct picture *p, int asker, unsigned guest, struct failover_guest *to)
{
    show_guest(w, p, asker, guest, able(w, p, guest), to);
}

void world_view_make(struct world *w, struct picture *p, int asker)
{
    struct failover_view *v = &w->view;
    world_picture_derive(w, p);
    v->node_count = w->node_count;
    v->self = FAILOVER_NOBODY;
    v->guests = w->view_guests;
    v->guest_count = p->orphan_count;
    v->armed = p->armed;
    v->forbidden = NULL;
    for (int n = 0; n < w->node_count; n++) {
        const struct cluster_node *from = &w->cluster->nodes[n];
        bool alive = p->alive & UINT64_C(1) << n;
        v->closed[n] = 0;
        v->nodes[n] = (struct failover_node){.name = from->name,
                                             .alive = alive,
                                             .lost = !alive,
                                             .drained = from->drained,
                                             .memory_bytes = from->memory_bytes,
                                             .promised_bytes = p->promised[n]};
        memcpy(v->nodes[n].place, from->place, sizeof from->place);
    }
    for (unsigned i = 0; i < p->orphan_count; i++)
        show_guest(w, p, asker, p->orphans[i], p->able[i], &w->view_guests[i]);
}
