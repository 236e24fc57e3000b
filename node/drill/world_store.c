/* The store: it answers in one order, ends leases late and never early, and shows watches what was. */
#include <string.h>

#include "node/drill/world_parts.h"

static bool lease_lives(const struct world *w, unsigned lease)
{
    return lease && w->lease_ms[lease] >= w->now_ms;
}

/* ---- what watches show ---- */

struct picture *world_picture_hold(struct picture *p)
{
    p->refs++;
    return p;
}

void world_picture_drop(struct picture *p)
{
    if (p)
        p->refs--;
}

/* There is always a free one: see make_pictures() in world.c. */
static struct picture *publish(struct world *w)
{
    struct picture *p = w->pictures, *t = &w->truth;
    unsigned count = w->guest_count;
    while (p->refs)
        p++;
    p->refs = 1;
    p->derived = false;
    p->revision = t->revision;
    p->armed_revision = t->armed_revision;
    p->armed = t->armed;
    p->alive = t->alive;
    memcpy(p->state_revision, t->state_revision, sizeof p->state_revision);
    memcpy(p->owner, t->owner, count * sizeof *p->owner);
    memcpy(p->runs, t->runs, count * sizeof *p->runs);
    memcpy(p->failovers, t->failovers, count * sizeof *p->failovers);
    memcpy(p->guest_revision, t->guest_revision, count * sizeof *p->guest_revision);
    return p;
}

struct picture *world_store_picture(struct world *w, uint64_t lag)
{
    return w->history[(w->now_ms / WORLD_STEP_MS - (lag < WORLD_HISTORY ? lag : WORLD_HISTORY - 1)) % WORLD_HISTORY];
}

void world_store_begin(struct world *w)
{
    struct picture *t = &w->truth;
    w->store_up = true;
    t->revision = t->armed_revision = 1;
    t->armed = true;
    t->derived = false;
    t->alive = 0;
    memset(t->state_revision, 0, sizeof t->state_revision);
    for (unsigned g = 0; g < w->guest_count; g++) {
        int node = w->cluster->guests[g].node;
        t->owner[g] = (int8_t)(node == CLUSTER_DRAWN ? (int)world_draw(w, (uint64_t)w->node_count) : node);
        t->runs[g] = false;
        t->failovers[g] = 0;
        t->guest_revision[g] = 1;
    }
    struct picture *first = publish(w);
    for (int i = 0; i < WORLD_HISTORY; i++)
        w->history[i] = world_picture_hold(first);
    world_picture_drop(first); /* the reference that it was made with */
}

/* ---- its own time ---- */

void world_store_step(struct world *w)
{
    for (unsigned i = 1; i <= w->leases && w->store_up; i++)
        if (!lease_lives(w, i))
            w->lease_ms[i] = 0; /* for good, whoever leads */
    for (int n = 0; n < w->node_count && w->store_up; n++)
        if (w->truth.alive & UINT64_C(1) << n && !lease_lives(w, w->key_lease[n])) {
            w->truth.alive &= ~(UINT64_C(1) << n);
            w->truth.state_revision[n] = 0;
            w->truth.revision++;
        }
    struct picture *last = world_store_picture(w, 1), **slot = &w->history[w->now_ms / WORLD_STEP_MS % WORLD_HISTORY];
    world_picture_drop(*slot);
    *slot = last->revision == w->truth.revision ? world_picture_hold(last) : publish(w);
}

/* Every lease that was not seen to end has all its time again, or more. */
void world_store_returns(struct world *w)
{
    w->store_up = true;
    for (unsigned i = 1; i <= w->leases; i++)
        if (w->lease_ms[i])
            w->lease_ms[i] = w->now_ms + TENURE_TTL_MS + world_draw(w, TENURE_TTL_MS);
}

void world_store_arm(struct world *w, bool armed)
{
    w->truth.armed = armed;
    w->truth.armed_revision = ++w->truth.revision;
}

/* ---- what it answers ---- */

static void take(struct world *w, struct call *c)
{
    struct picture *t = &w->truth;
    unsigned g = c->guest;
    const char *name = w->cluster->guests[g].name;
    c->ok = t->guest_revision[g] == c->revision && !(t->alive & UINT64_C(1) << c->lost) &&
            t->armed_revision == c->armed_revision;
    if (!c->ok)
        return;
    if (!t->armed)
        world_wrong(w, "guest %s is taken over while disarmed", name);
    for (int n = 0; n < w->node_count; n++)
        if (n != c->from && world_executes(w, n, g))
            world_wrong(w, "guest %s is taken over by node %s and still executes on node %s", name,
                        w->cluster->nodes[c->from].name, w->cluster->nodes[n].name);
    t->owner[g] = (int8_t)c->from;
    t->runs[g] = false;
    t->failovers[g]++;
    t->guest_revision[g] = ++t->revision;
    w->result->takeovers++;
}

static void keep(struct world *w, struct call *c)
{
    c->ok = lease_lives(w, c->lease);
    if (c->ok && w->lease_ms[c->lease] < w->now_ms + TENURE_TTL_MS)
        w->lease_ms[c->lease] = w->now_ms + TENURE_TTL_MS;
}

static void write_state(struct world *w, struct call *c)
{
    c->stale = w->truth.state_revision[c->from] != c->revision;
    c->ok = !c->stale && lease_lives(w, c->lease);
    if (!c->ok)
        return;
    w->truth.alive |= UINT64_C(1) << c->from;
    w->truth.state_revision[c->from] = ++w->truth.revision;
    w->key_lease[c->from] = c->lease;
}

static void note_runs(struct world *w, struct call *c)
{
    c->ok = w->truth.owner[c->guest] == c->from && !w->truth.runs[c->guest];
    if (!c->ok)
        return;
    w->truth.runs[c->guest] = true;
    w->truth.revision++;
}

void world_store_serves(struct world *w, struct call *c)
{
    c->ok = true;
    switch (c->kind) {
    case CALL_GRANT:
        c->lease = w->leases + 1 < w->lease_max ? ++w->leases : w->leases;
        w->lease_ms[c->lease] = w->now_ms + TENURE_TTL_MS;
        break;
    case CALL_KEEP:
        keep(w, c);
        break;
    case CALL_STATE:
        write_state(w, c);
        break;
    case CALL_TAKE:
        take(w, c);
        break;
    case CALL_CLAIM:
        c->ok = w->truth.guest_revision[c->guest] == c->revision;
        break;
    case CALL_RUNS:
        note_runs(w, c);
        break;
    case CALL_PLEDGE:
        break; /* the store pledges nothing */
    }
    c->revision = w->truth.revision;
}
