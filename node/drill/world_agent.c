/* One agent: its presence in the store, pledges while the store is away, the processes of its guests, and what it takes
 * over. What it decides is node/agent/'s; what it does around that is as there, with calls instead of requests. */
#include <stdio.h>
#include <string.h>

#include "node/agent/start_order.h"
#include "node/drill/world_parts.h"

enum {
    ROUND_MS = 1500,
    SAY_EVERY_MS = 1000,
    ASK_FORBIDDEN_MS = 5000,
    ALWAYS_NS = 1 /* since before the cluster was looked at */
};

/* ---- its beginning ---- */

void world_agent_begin(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node], keep = *n;
    world_picture_drop(keep.mirror);
    memset(keep.own, 0, (w->guest_count + 1) * sizeof *keep.own);
    *n = (struct world_node){.up = true,
                             .agent = true,
                             .rate = keep.rate,
                             .offset_ns = keep.offset_ns,
                             .guests_paused_ms = keep.guests_paused_ms,
                             .told_ns = keep.told_ns,
                             .process_count = keep.process_count,
                             .life = keep.life + 1,
                             .own = keep.own};
    n->began_ns = world_clock(w, n);
    for (int i = 0; i < w->node_count; i++)
        n->gone_ns[i] = n->began_ns;
}

/* ---- answers ---- */

static void kept(struct world *w, struct world_node *n, const struct call *c)
{
    if (c->lease != n->lease)
        return;
    if (!c->ok) {
        n->lease = 0;
        n->state_revision = 0;
        tenure_lost(&n->tenure);
        return;
    }
    if (c->sent_ns > n->lease_sent_ns)
        n->lease_sent_ns = c->sent_ns;
    tenure_kept(&n->tenure, c->sent_ns, world_clock(w, n));
}

static void state_written(struct world_node *n, const struct call *c)
{
    n->writing = false;
    if (c->lease != n->lease)
        return;
    if (c->ok)
        n->state_revision = c->revision;
    else if (!c->stale) /* else it is seen in a moment, and written over */
        n->lease = 0;
}

static void start(struct world *w, int node, const struct call *c)
{
    struct world_node *n = &w->nodes[node];
    n->own[c->guest].claiming = false;
    if (!c->ok || w->holders[c->guest] & UINT64_C(1) << node || n->mirror->owner[c->guest] != node)
        return;
    if (!n->process_count || n->tenure.until_ns > n->told_ns)
        n->told_ns = n->tenure.until_ns;
    world_add_process(w, node, c->guest);
    w->started_ms = w->now_ms;
}

static void pledged(struct world *w, struct world_node *n, const struct call *c)
{
    if (!n->in_round || c->round != n->round)
        return;
    if (!c->ok) {
        n->in_round = false;
        return;
    }
    if (++n->round_pledges < (unsigned)w->node_count - 1)
        return;
    n->in_round = false;
    w->result->extensions += tenure_extend(&n->tenure, n->round_ns, world_clock(w, n));
}

static void took(struct world_node *n, unsigned guest)
{
    n->own[guest].taking = false;
    n->attempts--;
    n->decided = 0;
}

void world_agent_answered(struct world *w, struct call *c)
{
    struct world_node *n = &w->nodes[c->from];
    switch (c->kind) {
    case CALL_GRANT:
        n->granting = false;
        n->lease = c->lease;
        n->lease_sent_ns = c->sent_ns;
        n->fresh = true;
        break;
    case CALL_KEEP:
        kept(w, n, c);
        break;
    case CALL_STATE:
        state_written(n, c);
        break;
    case CALL_TAKE:
        took(n, c->guest);
        break;
    case CALL_CLAIM:
        start(w, c->from, c);
        break;
    case CALL_PLEDGE:
        pledged(w, n, c);
        break;
    case CALL_RUNS:
        break; /* it is seen, or said again */
    }
}

void world_agent_failed(struct world *w, const struct call *c)
{
    struct world_node *n = &w->nodes[c->from];
    n->granting &= c->kind != CALL_GRANT;
    n->writing &= c->kind != CALL_STATE;
    if (c->kind == CALL_TAKE)
        took(n, c->guest);
    if (c->kind == CALL_CLAIM)
        n->own[c->guest].claiming = false;
}

/* ---- what it sees ---- */

static void follow(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node];
    if (!w->store_up || !world_hears(w, w->outside, node) || !world_hears(w, node, w->outside))
        return;
    struct picture *p = world_store_picture(w, world_draw(w, w->jitter_ms / WORLD_STEP_MS + 2));
    if (p != n->mirror && (!n->mirror || p->revision >= n->mirror->revision)) {
        world_picture_hold(p);
        world_picture_drop(n->mirror);
        n->mirror = p;
    }
    n->current = true;
}

/* How often each guest was taken over, and who runs since when. */
static void look_at_guests(struct world *w, struct world_node *n)
{
    uint64_t now = world_clock(w, n);
    const struct picture *p = n->mirror;
    if (n->looked == p)
        return;
    n->looked = p;
    n->waiting = true;
    for (unsigned g = 0; g < w->guest_count; g++) {
        struct world_own *own = &n->own[g];
        bool runs = p->runs[g] && p->alive & UINT64_C(1) << p->owner[g];
        if (!runs || !own->runs_ns)
            own->runs_ns = !runs ? 0 : w->now_ms < WORLD_ORDER_MS ? ALWAYS_NS : now;
        if (p->failovers[g] == own->cool_count)
            continue;
        uint64_t fresh_ms = failover_cool_ms(own->cool_row) + FAILOVER_FORGET_MS;
        bool again = own->cool_count && now - own->cool_from_ns < fresh_ms * WORLD_MS;
        own->cool_row = again ? (uint16_t)(own->cool_row + 1) : 1;
        own->cool_count = p->failovers[g];
        own->cool_from_ns = now;
    }
}

static void look_at_nodes(struct world *w, struct world_node *n)
{
    uint64_t alive = n->mirror->alive, gone = n->was_alive & ~alive;
    for (; gone; gone &= gone - 1)
        n->gone_ns[__builtin_ctzll(gone)] = world_clock(w, n);
    n->seen |= alive;
    n->was_alive = alive;
}

/* ---- presence, pledges ---- */

static void keep_lease(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node];
    uint64_t now = world_clock(w, n);
    if (!n->lease && !n->granting)
        n->granting = world_send(w, node, w->outside, CALL_GRANT);
    if (!n->lease)
        return;
    if (n->fresh && !n->writing && !n->state_revision) {
        struct call *c = world_send(w, node, w->outside, CALL_STATE);
        if (c) {
            c->lease = n->lease;
            c->revision = n->mirror->state_revision[node];
        }
        n->writing = c;
    }
    if (n->state_revision && n->fresh && n->mirror->revision >= n->state_revision) {
        n->fresh = false;
        tenure_begin(&n->tenure, n->lease_sent_ns, now);
    }
    if (now >= n->next_keep_ns) {
        struct call *c = world_send(w, node, w->outside, CALL_KEEP);
        if (c)
            c->lease = n->lease;
        n->next_keep_ns = now + TENURE_KEEP_MS * WORLD_MS;
    }
}

static void ask_for_pledges(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node];
    uint64_t now = world_clock(w, n);
    bool waits = n->in_round && now < n->round_ns + ROUND_MS * WORLD_MS;
    if (!n->tenure.until_ns || !tenure_asks(&n->tenure, now) || waits ||
        now < n->round_ns + TENURE_ASK_EVERY_MS * WORLD_MS)
        return;
    n->round++;
    n->round_ns = now;
    n->round_pledges = 0;
    n->in_round = true;
    for (int i = 0; i < w->node_count; i++) {
        struct call *c = i == node ? NULL : world_send(w, node, i, CALL_PLEDGE);
        if (c)
            c->round = n->round;
    }
}

/* ---- the order of starts ---- */

static const char *hopeless(struct world *w, int node, const struct cluster_need *need, uint64_t held_ms)
{
    struct world_node *n = &w->nodes[node];
    const struct picture *p = n->mirror;
    int home = need->guest >= 0 ? p->owner[need->guest] : need->node;
    const char *reason = NULL;
    struct failover_guest guest;
    if (home < 0)
        return "it is switched off";
    if (p->alive & UINT64_C(1) << home || held_ms < START_GRACE_MS)
        return NULL;
    if (need->guest < 0)
        return "its node is away, and it is not protected";
    world_view_make(w, n->mirror, node);
    world_view_guest(w, p, node, (unsigned)need->guest, &guest);
    if (!p->armed)
        return "its node is away, and fail-over is disarmed";
    return failover_place(&w->view, &guest, &reason) != FAILOVER_NOBODY ? NULL : reason;
}

bool world_agent_may_start(struct world *w, int node, unsigned guest, char *why, unsigned room)
{
    struct world_node *n = &w->nodes[node];
    const struct cluster_guest *g = &w->cluster->guests[guest];
    uint64_t now = world_clock(w, n), held_ms = n->own[guest].held_ns ? (now - n->own[guest].held_ns) / WORLD_MS : 0;
    struct start_question q = {.need_count = g->need_count, .delay_ms = g->delay_ms, .held_ms = held_ms};
    *why = 0;
    if ((!g->need_count && !g->delay_ms) || w->now_ms < WORLD_ORDER_MS || !n->mirror)
        return true;
    for (unsigned i = 0; i < g->need_count; i++) {
        const struct cluster_need *need = &g->needs[i];
        bool stays = need->guest < 0 && need->node >= 0 && n->mirror->alive & UINT64_C(1) << need->node;
        uint64_t since_ns = need->guest >= 0 ? n->own[need->guest].runs_ns : stays ? ALWAYS_NS : 0;
        uint64_t runs_ms = since_ns == ALWAYS_NS ? UINT32_MAX : since_ns ? (now - since_ns) / WORLD_MS : 0;
        q.needs[i] = (struct start_need){.name = need->name, .runs = runs_ms >= START_STEADY_MS, .runs_ms = runs_ms};
        if (!runs_ms)
            q.needs[i].hopeless = hopeless(w, node, need, held_ms);
    }
    return start_order_decide(&q, why, room);
}

/* ---- its guests ---- */

static void say_that_it_runs(struct world *w, int node, unsigned guest)
{
    struct world_own *own = &w->nodes[node].own[guest];
    uint64_t now = world_clock(w, &w->nodes[node]);
    if (own->said_ns && now < own->said_ns + SAY_EVERY_MS * WORLD_MS)
        return;
    struct call *c = world_send(w, node, w->outside, CALL_RUNS);
    if (c) {
        c->guest = guest;
        own->said_ns = now;
    }
}

static void claim(struct world *w, int node, unsigned guest)
{
    struct world_node *n = &w->nodes[node];
    struct world_own *own = &n->own[guest];
    uint64_t now = world_clock(w, n);
    char why[WORLD_REASON_MAX];
    own->held_ns = own->held_ns ? own->held_ns : now;
    if (own->claiming || !tenure_starts(&n->tenure, now) || !world_agent_may_start(w, node, guest, why, sizeof why))
        return;
    struct call *c = world_send(w, node, w->outside, CALL_CLAIM);
    if (c) {
        c->guest = guest;
        c->revision = n->mirror->guest_revision[guest];
        own->claiming = true;
    }
}

/* Nothing of it changes while its guests run and nobody's owner has changed. */
static void run_guests(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node];
    bool waiting = false;
    for (unsigned g = 0; g < w->guest_count && n->waiting; g++) {
        if (n->mirror->owner[g] != node) {
            world_drop_process(w, node, g);
            n->own[g].held_ns = n->own[g].said_ns = 0;
            continue;
        }
        bool there = w->holders[g] & UINT64_C(1) << node;
        if (!there) {
            waiting = true;
            claim(w, node, g);
            continue;
        }
        n->own[g].held_ns = 0;
        if (w->cluster->guests[g].is_needed && !n->mirror->runs[g]) {
            waiting = true;
            say_that_it_runs(w, node, g);
        }
    }
    n->waiting = waiting;
    if (n->process_count && n->tenure.until_ns > n->told_ns)
        n->told_ns = n->tenure.until_ns;
}

/* ---- what it takes over ---- */

static uint64_t cool_ms(const struct world_node *n, unsigned guest, uint64_t now)
{
    const struct world_own *own = &n->own[guest];
    uint64_t cool = own->cool_count ? failover_cool_ms(own->cool_row) : 0, past = (now - own->cool_from_ns) / WORLD_MS;
    return past < cool ? cool - past : 0;
}

static void add(uint64_t *sum, uint64_t value)
{
    *sum = (*sum ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    *sum ^= *sum >> 29;
}

static uint64_t gone_ms(const struct world_node *n, int other, uint64_t now)
{
    return (now - n->gone_ns[other]) / WORLD_MS;
}

/* It was seen alive, or has had time enough to come. */
static bool is_known(const struct world_node *n, int other, uint64_t now)
{
    return n->seen & UINT64_C(1) << other || now >= n->began_ns + FAILOVER_GRACE_MS * WORLD_MS;
}

/* All that the decision depends on: as long as it is the same, so is the decision. Never 0. Where nothing may be taken
 * over nothing else matters; it is asked all the same now and then, for that is to be shown. */
static uint64_t sum_up(const struct world *w, const struct world_node *n, uint64_t now)
{
    const struct picture *p = n->mirror;
    uint64_t sum = 0;
    if (tenure_forbids(&n->tenure, now)) {
        add(&sum, now / (ASK_FORBIDDEN_MS * WORLD_MS));
        return sum | 1;
    }
    add(&sum, p->revision);
    add(&sum, w->turns);
    for (int i = 0; i < w->node_count; i++)
        if (!(p->alive & UINT64_C(1) << i))
            add(&sum, (uint64_t)i << 32 | gone_ms(n, i, now) / FAILOVER_PATIENCE_MS << 1 | is_known(n, i, now));
    for (unsigned i = 0; i < p->orphan_count; i++)
        if (n->own[p->orphans[i]].cool_count)
            add(&sum, (uint64_t)i << 1 | (cool_ms(n, p->orphans[i], now) > 0));
    return sum | 1;
}

static void see(struct world *w, int node, uint64_t now)
{
    struct world_node *n = &w->nodes[node];
    struct failover_view *v = &w->view;
    world_view_make(w, n->mirror, node);
    v->self = node;
    v->forbidden = tenure_forbids(&n->tenure, now);
    for (int i = 0; i < v->node_count; i++) {
        v->nodes[i].gone_ms = gone_ms(n, i, now);
        v->nodes[i].lost = !v->nodes[i].alive && is_known(n, i, now);
    }
    for (unsigned i = 0; i < v->guest_count; i++)
        v->guests[i].cool_ms = cool_ms(n, n->mirror->orphans[i], now);
}

static void take_over(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node];
    for (unsigned i = 0; i < w->view.guest_count; i++) {
        unsigned g = n->mirror->orphans[i];
        if (w->decisions[i].verdict != FAILOVER_TAKES || n->own[g].taking || n->attempts == FAILOVER_ATTEMPTS_MAX)
            continue;
        struct call *c = world_send(w, node, w->outside, CALL_TAKE);
        if (!c) {
            n->decided = 0;
            continue;
        }
        c->guest = g;
        c->lost = n->mirror->owner[g];
        c->revision = n->mirror->guest_revision[g];
        c->armed_revision = n->mirror->armed_revision;
        n->own[g].taking = true;
        n->attempts++;
    }
}

static void look_for_lost(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node];
    uint64_t now = world_clock(w, n);
    world_picture_derive(w, n->mirror);
    uint64_t sum = n->mirror->orphan_count ? sum_up(w, n, now) : n->decided;
    if (sum == n->decided)
        return;
    n->decided = sum;
    see(w, node, now);
    if (failover_decide(&w->view, w->decisions))
        take_over(w, node);
    else
        w->failed = true;
}

void world_agent_step(struct world *w, int node)
{
    struct world_node *n = &w->nodes[node];
    follow(w, node);
    if (!n->current)
        return;
    look_at_guests(w, n);
    keep_lease(w, node);
    ask_for_pledges(w, node);
    run_guests(w, node);
    look_at_nodes(w, n);
    look_for_lost(w, node);
}
