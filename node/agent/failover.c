#include "node/agent/failover.h"

#include <stdlib.h>
#include <string.h>

/* Of a node's memory, what its own system needs. */
enum { RESERVE_SHARE = 16 };

static bool is_alive(const struct failover_view *v, int node)
{
    return node >= 0 && node < v->node_count && v->nodes[node].alive;
}

/* ---- what a guest needs ---- */

/* Why a volume cannot be opened by a new owner; NULL: it can. */
static const char *disk_obstacle(const struct failover_view *v, const struct failover_disk *d)
{
    unsigned away = 0;
    for (unsigned i = 0; i < d->members; i++)
        away += !is_alive(v, d->node[i]) && !(d->reached & 1u << i);
    if (away > d->spare)
        return "too many members of its volumes are away";
    if (away && d->has_witness && !is_alive(v, d->witness) && !d->witness_reached)
        return "a member and the witness of a volume of it are away";
    return NULL;
}

const char *failover_obstacle(const struct failover_view *v, const struct failover_guest *g)
{
    const char *why = NULL;
    for (unsigned i = 0; i < g->disk_count && !why; i++)
        why = disk_obstacle(v, &g->disks[i]);
    return why;
}

static uint64_t room(const struct failover_node *n)
{
    uint64_t usable = n->memory_bytes - n->memory_bytes / RESERVE_SHARE;
    return usable > n->promised_bytes ? usable - n->promised_bytes : 0;
}

static uint64_t groups_of(const struct failover_guest *g)
{
    uint64_t groups = 0;
    for (int p = 0; p < FAILOVER_PLACES; p++)
        groups |= g->apart[p] | g->together[p];
    return groups;
}

void failover_promise(struct failover_view *v, int target, const struct failover_guest *g)
{
    v->nodes[target].promised_bytes += g->memory_bytes;
    for (int n = 0; n < v->node_count; n++)
        for (int p = 0; p < FAILOVER_PLACES; p++)
            v->closed[n] |= v->nodes[n].place[p] == v->nodes[target].place[p] ? g->apart[p] : g->together[p];
}

static bool takes(const struct failover_view *v, int node, const struct failover_guest *g)
{
    const struct failover_node *n = &v->nodes[node];
    if (v->closed[node] & groups_of(g))
        return false;
    return n->alive && !n->drained && node != g->node && g->able & UINT64_C(1) << node && room(n) >= g->memory_bytes;
}

/* Is a the better one of two that can take it? Names decide where room does not, so that all find the same. */
static bool is_before(const struct failover_view *v, int a, int b)
{
    uint64_t room_a = room(&v->nodes[a]), room_b = room(&v->nodes[b]);
    return room_a != room_b ? room_a > room_b : strcmp(v->nodes[a].name, v->nodes[b].name) < 0;
}

/* Why nobody takes it. */
static const char *refusal(const struct failover_view *v, const struct failover_guest *g)
{
    bool any = false, able = false, bare = false;
    for (int n = 0; n < v->node_count; n++) {
        bool open = v->nodes[n].alive && !v->nodes[n].drained && n != g->node;
        any |= open;
        open &= !(v->closed[n] & groups_of(g));
        able |= open && g->able & UINT64_C(1) << n;
        bare |= open && g->bare & UINT64_C(1) << n;
    }
    if (!any)
        return "no other node is up and takes guests";
    if (able)
        return "no other node that may have it has memory enough";
    return bare ? "no other node that may have it has a copy of the images that it boots from: see `drover image show`"
                : "no other node may have it by its placement rules";
}

/* The best node, and how many come before this one (rank of self); FAILOVER_NOBODY: none. */
static int choose(const struct failover_view *v, const struct failover_guest *g, unsigned *rank, const char **reason)
{
    int best = FAILOVER_NOBODY;
    *rank = 0;
    *reason = failover_obstacle(v, g);
    for (int n = 0; n < v->node_count && !*reason; n++) {
        if (!takes(v, n, g))
            continue;
        if (best == FAILOVER_NOBODY || is_before(v, n, best))
            best = n;
        if (v->self >= 0 && n != v->self && is_before(v, n, v->self))
            ++*rank;
    }
    if (best == FAILOVER_NOBODY && !*reason)
        *reason = refusal(v, g);
    return best;
}

int failover_place(const struct failover_view *v, const struct failover_guest *g, const char **reason)
{
    unsigned rank;
    return choose(v, g, &rank, reason);
}

/* ---- all of them ---- */

static int compare(const void *a, const void *b, void *context)
{
    const struct failover_view *v = context;
    const struct failover_guest *x = &v->guests[*(const unsigned *)a], *y = &v->guests[*(const unsigned *)b];
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Indices of the guests in the order in which they are restarted; NULL: out of memory. */
static unsigned *in_order(struct failover_view *v)
{
    unsigned *order = malloc((v->guest_count + 1) * sizeof *order);
    for (unsigned i = 0; order && i < v->guest_count; i++)
        order[i] = i;
    if (order)
        qsort_r(order, v->guest_count, sizeof *order, compare, v);
    return order;
}

static bool is_orphan(const struct failover_view *v, const struct failover_guest *g)
{
    return g->is_protected && g->node >= 0 && g->node < v->node_count && !v->nodes[g->node].alive;
}

static struct failover_decision wait_for(int target, const char *reason)
{
    return (struct failover_decision){FAILOVER_WAITS, target, reason};
}

static struct failover_decision decide(struct failover_view *v, const struct failover_guest *g)
{
    const struct failover_node *from = &v->nodes[g->node];
    const char *reason;
    unsigned rank;
    if (!v->armed)
        return wait_for(FAILOVER_NOBODY, "fail-over is disarmed");
    if (!from->lost)
        return wait_for(FAILOVER_NOBODY, "its node has time to come");
    int target = choose(v, g, &rank, &reason);
    if (target == FAILOVER_NOBODY)
        return wait_for(FAILOVER_NOBODY, reason);
    failover_promise(v, target, g);
    if (g->cool_ms)
        return wait_for(target, "it was taken over a short while ago");
    if (v->self < 0 || v->forbidden)
        return wait_for(target, v->forbidden ? v->forbidden : "");
    /* what was just promised to the target must not keep this node from being the next one in line */
    bool able = target == v->self || takes(v, v->self, g);
    if (!able || from->gone_ms < (uint64_t)rank * FAILOVER_PATIENCE_MS)
        return wait_for(target, "another node is to take it over");
    return (struct failover_decision){FAILOVER_TAKES, target, ""};
}

bool failover_decide(struct failover_view *v, struct failover_decision *decisions)
{
    unsigned *order = in_order(v);
    if (!order)
        return false;
    for (unsigned i = 0; i < v->guest_count; i++) {
        const struct failover_guest *g = &v->guests[order[i]];
        decisions[order[i]] =
            is_orphan(v, g) ? decide(v, g) : (struct failover_decision){FAILOVER_STAYS, FAILOVER_NOBODY, ""};
    }
    free(order);
    return true;
}

uint64_t failover_cool_ms(unsigned failovers)
{
    uint64_t ms = FAILOVER_COOL_MS;
    while (failovers-- > 1 && ms < FAILOVER_COOL_MAX_MS)
        ms *= 2;
    return ms < FAILOVER_COOL_MAX_MS ? ms : FAILOVER_COOL_MAX_MS;
}

/* ---- how many may be lost ---- */

/* Do all of them find a place without the nodes of that mask? */
static bool survives(const struct failover_view *view, const unsigned *order, uint64_t without)
{
    struct failover_view v = *view;
    v.self = FAILOVER_NOBODY;
    for (int n = 0; n < v.node_count; n++)
        v.nodes[n].alive &= !(without & UINT64_C(1) << n);
    for (unsigned i = 0; i < v.guest_count; i++) {
        const struct failover_guest *g = &v.guests[order[i]];
        const char *reason;
        unsigned rank;
        if (!is_orphan(&v, g)) {
            if (g->is_protected && failover_obstacle(&v, g))
                return false; /* it stands although its node is there */
            continue;
        }
        int target = choose(&v, g, &rank, &reason);
        if (target == FAILOVER_NOBODY)
            return false;
        failover_promise(&v, target, g);
    }
    return true;
}

/* Every choice of `more` further nodes, from `first` on. */
static bool survives_all(const struct failover_view *v, const unsigned *order, uint64_t without, int first,
                         unsigned more)
{
    if (!more)
        return survives(v, order, without);
    for (int n = first; n < v->node_count; n++)
        if (v->nodes[n].alive && !survives_all(v, order, without | UINT64_C(1) << n, n + 1, more - 1))
            return false;
    return true;
}

unsigned failover_tolerates(const struct failover_view *view)
{
    struct failover_view v = *view;
    unsigned *order = in_order(&v), alive = 0, k = 0;
    for (int n = 0; n < v.node_count; n++)
        alive += v.nodes[n].alive;
    while (order && k < FAILOVER_LOSSES_MAX && k + 1 < alive && survives_all(&v, order, 0, 0, k + 1))
        k++;
    free(order);
    return k;
}
