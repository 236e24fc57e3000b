/* What must hold, after each step, while a node is lost, and in the end; and how each guest fares. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/drill/world_parts.h"

/* Room for one more; NULL: out of memory. */
static void *grow(struct world *w, void *list, unsigned count, unsigned *room, size_t bytes)
{
    if (count < *room)
        return list;
    void *grown = realloc(list, (2 * (size_t)*room + 16) * bytes);
    if (grown)
        *room = 2 * *room + 16;
    w->failed |= !grown;
    return grown;
}

/* ---- after each step ---- */

static uint64_t executing_nodes(const struct world *w)
{
    uint64_t mask = 0;
    for (int i = 0; i < w->node_count; i++) {
        const struct world_node *n = &w->nodes[i];
        if (n->up && n->process_count && w->now_ms >= n->guests_paused_ms && world_clock(w, n) < n->told_ns)
            mask |= UINT64_C(1) << i;
    }
    return mask;
}

static void no_doubles(struct world *w)
{
    for (unsigned g = 0; g < w->guest_count && w->doubles; g++) {
        uint64_t where = w->holders[g] & w->executing, more = where & (where - 1);
        if (more)
            world_wrong(w, "guest %s executes on nodes %s and %s", w->cluster->guests[g].name,
                        w->cluster->nodes[__builtin_ctzll(where)].name, w->cluster->nodes[__builtin_ctzll(more)].name);
    }
}

static void runs_again(struct world *w, unsigned guest, struct world_fate *f)
{
    struct world_outage *outages = grow(w, w->outages, w->result->outage_count, &w->outage_room, sizeof *w->outages);
    f->down = false;
    w->outages = outages ? outages : w->outages;
    if (!f->stays && outages)
        outages[w->result->outage_count++] =
            (struct world_outage){guest, w->now_ms - f->fault_ms, w->now_ms - f->down_ms};
    f->stays = false;
}

static void follow_fates(struct world *w)
{
    for (unsigned g = 0; g < w->guest_count; g++) {
        struct world_fate *f = &w->fates[g];
        bool runs = w->holders[g] & w->executing;
        f->began |= runs;
        if (f->began && !runs && !f->down) {
            f->down = true;
            f->fault_ms = w->fault_ms;
            f->down_ms = w->now_ms;
        } else if (runs && f->down) {
            runs_again(w, g, f);
        }
    }
}

void world_judge_step(struct world *w)
{
    uint64_t executing = executing_nodes(w);
    if (executing != w->executing || w->stirred) {
        w->executing = executing;
        w->stirred = false;
        follow_fates(w);
    }
    no_doubles(w);
    for (int i = 0; i < w->node_count; i++) {
        const struct world_node *n = &w->nodes[i];
        if (n->up && n->process_count && world_clock(w, n) >= n->told_ns)
            w->result->freezes += n->process_count;
    }
}

/* ---- while a node is lost ---- */

static void stays(struct world *w, unsigned guest, int node, const char *reason)
{
    struct world_stay *list = grow(w, w->stays, w->result->stay_count, &w->stay_room, sizeof *w->stays);
    if (!list)
        return;
    struct world_stay *s = &list[w->result->stay_count++];
    *s = (struct world_stay){.guest = guest, .node = node};
    snprintf(s->reason, sizeof s->reason, "%s", reason);
    w->stays = list;
    w->fates[guest].stays = true;
}

/* Its node has gone. It is right that it stays down if nobody can have it. */
static void judge_orphan(struct world *w, unsigned g, int node, const struct failover_guest *guest)
{
    const char *reason = "";
    int target = failover_place(&w->view, guest, &reason);
    if (target == FAILOVER_NOBODY)
        stays(w, g, node, reason);
    else
        world_wrong(w, "guest %s has a place on node %s, and runs nowhere", guest->name,
                    w->cluster->nodes[target].name);
}

/* Its node is there. It is right that it does not run yet if it waits for others. */
static void judge_waiting(struct world *w, unsigned g, int node, int owner)
{
    char why[WORLD_REASON_MAX];
    if (world_agent_may_start(w, owner, g, why, sizeof why))
        world_wrong(w, "guest %s is node %s's, which is there, and does not run", w->cluster->guests[g].name,
                    w->cluster->nodes[owner].name);
    else
        stays(w, g, node, why);
}

void world_judge_loss(struct world *w, int node)
{
    const struct picture *t = &w->truth;
    struct failover_guest guest;
    w->truth.derived = false; /* it has changed since somebody asked */
    w->result->lost = node;
    for (unsigned g = 0; g < w->guest_count; g++) {
        int owner = t->owner[g], asker = owner;
        bool orphan = !(t->alive & UINT64_C(1) << owner), runs = w->holders[g] & w->executing;
        for (int n = 0; orphan && n < w->node_count && asker == owner; n++)
            asker = t->alive & UINT64_C(1) << n ? n : asker;
        if (runs && !w->cluster->guests[g].disk_count)
            continue;
        world_view_make(w, &w->truth, asker);
        world_view_guest(w, t, asker, g, &guest);
        const char *obstacle = failover_obstacle(&w->view, &guest);
        if (obstacle)
            stays(w, g, node, obstacle);
        else if (!runs && orphan)
            judge_orphan(w, g, node, &guest);
        else if (!runs)
            judge_waiting(w, g, node, owner);
    }
}

/* ---- in the end ---- */

/* Whoever still waits for others to start may. */
static void each_once(struct world *w, unsigned g)
{
    char why[WORLD_REASON_MAX];
    unsigned count = (unsigned)__builtin_popcountll(w->holders[g] & w->executing);
    int owner = w->truth.owner[g];
    if (count == 1 ||
        (!count && w->truth.alive & UINT64_C(1) << owner && !world_agent_may_start(w, owner, g, why, sizeof why)))
        return;
    world_wrong(w, "in the end guest %s executes on %u nodes", w->cluster->guests[g].name, count);
}

static bool is_any_away(const struct cluster *c)
{
    for (int n = 0; n < c->node_count; n++)
        if (c->nodes[n].away)
            return true;
    return false;
}

void world_judge_end(struct world *w)
{
    const struct world_result *r = w->result;
    enum world_class class = w->schedule.class;
    for (unsigned g = 0; g < w->guest_count; g++)
        each_once(w, g);
    if (class == WORLD_CALM && r->takeovers)
        world_wrong(w, "%u guests were taken over although nothing was lost", r->takeovers);
    if (class == WORLD_NO_STORE && r->takeovers)
        world_wrong(w, "the store was away: %u guests were taken over", r->takeovers);
    if (class == WORLD_NO_STORE && r->freezes && !is_any_away(w->cluster)) /* nobody who is away pledges */
        world_wrong(w, "the store was away: guests stood");
    if (class == WORLD_ONE_LOSS && r->takeovers)
        w->result->rto_ms = w->started_ms - w->killed_ms;
}
