/* See failover_world.h. Time goes in steps; real time is the world's, and nobody in it can read it. */
#include "tests/unit/failover_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/agent/failover.h"
#include "node/agent/tenure.h"

enum {
    NODES = 4,
    GUESTS = 3,
    STEP_MS = 50,
    FAULTS_UNTIL_MS = 40000,
    END_MS = 130000,
    CALLS = 24,
    LEASES = 512,
    HISTORY = 64, /* steps that a watch may lag behind */
    GRACE_MS = 30000,
    FAULTS_MAX = 6,
    OUTSIDE = NODES, /* the store, as an end of links */
};
#define MS UINT64_C(1000000)

/* What a watch shows. */
struct picture {
    uint64_t revision, key_revision[NODES], guest_revision[GUESTS], armed_revision;
    bool key[NODES], armed;
    int owner[GUESTS];
    unsigned failovers[GUESTS];
};

enum call_kind { CALL_GRANT, CALL_KEEP, CALL_STATE, CALL_TAKE, CALL_CLAIM, CALL_PLEDGE };

struct call {
    bool used, back;
    enum call_kind kind;
    int from, to;
    unsigned life; /* of the agent that asked */
    uint64_t sent_ns, at_ms;
    unsigned lease, guest, round;
    uint64_t revision, armed_revision; /* expected; and of the answer */
    int lost;
    bool ok;
};

struct process {
    bool there;
    uint64_t until_ns;
    uint64_t epoch;
};

struct node {
    bool up;                                    /* the machine */
    bool agent;                                 /* its agent runs */
    uint64_t agent_paused_ms, guests_paused_ms; /* until then */
    double rate;
    uint64_t offset_ns;
    struct process processes[GUESTS];

    /* the agent's */
    unsigned life;
    uint64_t began_ns;
    struct tenure tenure;
    unsigned lease;
    uint64_t lease_sent_ns, next_keep_ns, state_revision; /* state_revision: waits to be seen */
    bool granting, writing, fresh;
    bool taking[GUESTS], claiming[GUESTS];
    uint64_t claim_retry_ns;
    struct picture mirror;
    bool current, seen[NODES], was_alive[NODES];
    uint64_t gone_ns[NODES], cool_from_ns[GUESTS];
    unsigned cool_count[GUESTS], cool_row[GUESTS];
    unsigned round, round_pledges;
    bool in_round;
    uint64_t round_ns;
};

struct fault {
    enum {
        FAULT_KILL,
        FAULT_AGENT,
        FAULT_CUT,
        FAULT_CUT_OUT, /* what it says is not heard */
        FAULT_CUT_IN,
        FAULT_CUT_STORE,
        FAULT_STOP_AGENT,
        FAULT_STOP_ALL,
        FAULT_LEADER,
        FAULT_STORE,
        FAULT_DISARM,
        FAULT_SLOW,
        FAULT_KINDS
    } kind;
    int node;
    uint64_t from_ms, to_ms;
    bool begun, ended;
};

struct world {
    uint64_t state; /* of the random numbers */
    enum world_class class;
    struct world_result *result;
    uint64_t now_ms;
    struct node nodes[NODES];
    struct call calls[CALLS * NODES];
    bool heard[NODES + 1][NODES + 1]; /* [from][to] */
    uint64_t jitter_ms;
    unsigned loss_percent;
    struct fault faults[FAULTS_MAX];
    unsigned fault_count;

    bool store_up;
    struct picture truth, history[HISTORY];
    uint64_t lease_ms[LEASES], epochs[GUESTS];
    unsigned leases, key_lease[NODES];
    uint64_t killed_ms, started_ms;
};

/* ---- small things ---- */

static uint64_t draw(struct world *w, uint64_t below)
{
    w->state ^= w->state << 13;
    w->state ^= w->state >> 7;
    w->state ^= w->state << 17;
    return below ? (w->state * UINT64_C(2685821657736338717) >> 11) % below : 0;
}

__attribute__((format(printf, 2, 3))) static void wrong(struct world *w, const char *format, ...)
{
    va_list args;
    if (*w->result->wrong)
        return;
    int n = snprintf(w->result->wrong, sizeof w->result->wrong, "at %" PRIu64 " ms: ", w->now_ms);
    va_start(args, format);
    vsnprintf(w->result->wrong + n, sizeof w->result->wrong - (size_t)n, format, args);
    va_end(args);
}

static uint64_t clock_of(const struct world *w, const struct node *n)
{
    return n->offset_ns + (uint64_t)((double)(w->now_ms * MS) * n->rate);
}

static bool acts(const struct world *w, const struct node *n)
{
    return n->up && n->agent && w->now_ms >= n->agent_paused_ms;
}

/* Does the guest's process execute at this moment? */
static bool executes(const struct world *w, const struct node *n, int g)
{
    return n->up && n->processes[g].there && w->now_ms >= n->guests_paused_ms &&
           clock_of(w, n) < n->processes[g].until_ns;
}

static uint64_t delay(struct world *w)
{
    uint64_t ms = 1 + draw(w, 20) + draw(w, w->jitter_ms + 1);
    for (uint64_t again = 200; again < 2000 && draw(w, 100) < w->loss_percent; again *= 2)
        ms += again; /* as TCP sends again */
    return ms;
}

/* ---- calls ---- */

static struct call *send(struct world *w, int from, int to, enum call_kind kind)
{
    struct node *n = &w->nodes[from];
    for (unsigned i = 0; i < CALLS * NODES; i++) {
        struct call *c = &w->calls[i];
        if (c->used)
            continue;
        *c = (struct call){.used = true,
                           .kind = kind,
                           .from = from,
                           .to = to,
                           .life = n->life,
                           .sent_ns = clock_of(w, n),
                           .at_ms = w->now_ms + delay(w)};
        return c;
    }
    return NULL;
}

static bool lease_lives(const struct world *w, unsigned lease)
{
    return lease && w->lease_ms[lease] >= w->now_ms;
}

static void store_take(struct world *w, struct call *c)
{
    struct picture *p = &w->truth;
    c->ok = p->guest_revision[c->guest] == c->revision && !p->key[c->lost] && p->armed_revision == c->armed_revision;
    if (!c->ok)
        return;
    if (!p->armed)
        wrong(w, "guest %u is taken over while disarmed", c->guest);
    for (int n = 0; n < NODES; n++)
        if (n != c->from && executes(w, &w->nodes[n], (int)c->guest))
            wrong(w, "guest %u is taken over by node %d and still executes on node %d", c->guest, c->from, n);
    p->owner[c->guest] = c->from;
    p->failovers[c->guest]++;
    p->guest_revision[c->guest] = ++p->revision;
    w->result->takeovers++;
}

static void store_serves(struct world *w, struct call *c)
{
    struct picture *p = &w->truth;
    c->ok = true;
    if (c->kind == CALL_GRANT) {
        c->lease = w->leases + 1 < LEASES ? ++w->leases : w->leases;
        w->lease_ms[c->lease] = w->now_ms + TENURE_TTL_MS;
    } else if (c->kind == CALL_KEEP) {
        c->ok = lease_lives(w, c->lease);
        if (c->ok && w->lease_ms[c->lease] < w->now_ms + TENURE_TTL_MS)
            w->lease_ms[c->lease] = w->now_ms + TENURE_TTL_MS;
    } else if (c->kind == CALL_STATE) {
        c->ok = lease_lives(w, c->lease);
        if (c->ok) {
            p->key[c->from] = true;
            p->key_revision[c->from] = ++p->revision;
            w->key_lease[c->from] = c->lease;
        }
    } else if (c->kind == CALL_TAKE) {
        store_take(w, c);
    } else if (c->kind == CALL_CLAIM) {
        c->ok = p->guest_revision[c->guest] == c->revision;
        if (c->ok)
            c->armed_revision = ++w->epochs[c->guest]; /* carries the epoch back */
    }
    c->revision = p->revision;
}

static void kept(struct world *w, struct node *n, const struct call *c)
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
    tenure_kept(&n->tenure, c->sent_ns, clock_of(w, n));
}

static void start(struct world *w, struct node *n, const struct call *c)
{
    if (!c->ok || n->processes[c->guest].there)
        return;
    if (n->mirror.owner[c->guest] != n - w->nodes)
        return;
    n->processes[c->guest] =
        (struct process){.there = true, .until_ns = n->tenure.until_ns, .epoch = c->armed_revision};
    w->started_ms = w->now_ms;
}

static void pledged(struct world *w, struct node *n, const struct call *c)
{
    if (!n->in_round || c->round != n->round)
        return;
    if (!c->ok) {
        n->in_round = false;
        return;
    }
    if (++n->round_pledges < NODES - 1)
        return;
    n->in_round = false;
    w->result->extensions += tenure_extend(&n->tenure, n->round_ns, clock_of(w, n));
}

static void answered(struct world *w, struct call *c)
{
    struct node *n = &w->nodes[c->from];
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
        n->writing = false;
        if (c->ok && c->lease == n->lease)
            n->state_revision = c->revision;
        else if (c->lease == n->lease)
            n->lease = 0;
        break;
    case CALL_TAKE:
        n->taking[c->guest] = false;
        break;
    case CALL_CLAIM:
        n->claiming[c->guest] = false;
        start(w, n, c);
        break;
    case CALL_PLEDGE:
        pledged(w, n, c);
        break;
    }
}

/* It never arrives: who waits finds out by waiting too long. */
static void lose(struct world *w, struct call *c)
{
    if (c->kind == CALL_PLEDGE || c->kind == CALL_KEEP) {
        c->used = false;
        return;
    }
    c->back = true;
    c->ok = false;
    c->at_ms = w->now_ms + 5000;
    c->to = -1;
}

static void deliver(struct world *w, struct call *c)
{
    struct node *from = &w->nodes[c->from];
    if (c->back) {
        bool same = from->up && from->agent && from->life == c->life;
        if (same && !acts(w, from))
            return; /* when it goes on */
        if (same && c->to == -1) {
            from->granting &= c->kind != CALL_GRANT;
            from->writing &= c->kind != CALL_STATE;
            from->taking[c->guest] &= c->kind != CALL_TAKE;
            from->claiming[c->guest] &= c->kind != CALL_CLAIM;
        } else if (same) {
            answered(w, c);
        }
        c->used = false;
        return;
    }
    bool pledge = c->kind == CALL_PLEDGE;
    if (!w->heard[c->from][c->to] || (!pledge && !w->store_up) ||
        (pledge && (!w->nodes[c->to].up || !w->nodes[c->to].agent))) {
        lose(w, c);
        return;
    }
    if (pledge && !acts(w, &w->nodes[c->to]))
        return;
    if (pledge)
        c->ok = tenure_pledge(&w->nodes[c->to].tenure, clock_of(w, &w->nodes[c->to]));
    else
        store_serves(w, c);
    if (!w->heard[c->to][c->from]) {
        lose(w, c);
        return;
    }
    c->back = true;
    c->at_ms = w->now_ms + delay(w);
}

/* ---- agents ---- */

static void begin_agent(struct world *w, struct node *n)
{
    unsigned life = n->life + 1;
    struct node keep = *n;
    *n = (struct node){.up = true,
                       .agent = true,
                       .rate = keep.rate,
                       .offset_ns = keep.offset_ns,
                       .guests_paused_ms = keep.guests_paused_ms,
                       .life = life};
    memcpy(n->processes, keep.processes, sizeof n->processes);
    n->began_ns = clock_of(w, n);
    for (int i = 0; i < NODES; i++)
        n->gone_ns[i] = n->began_ns;
}

static void follow(struct world *w, struct node *n)
{
    int i = (int)(n - w->nodes);
    if (!w->store_up || !w->heard[OUTSIDE][i] || !w->heard[i][OUTSIDE])
        return;
    uint64_t lag = draw(w, w->jitter_ms / STEP_MS + 2);
    const struct picture *p = &w->history[(w->now_ms / STEP_MS - (lag < HISTORY ? lag : HISTORY - 1)) % HISTORY];
    if (p->revision >= n->mirror.revision)
        n->mirror = *p;
    n->current = true;
}

static void presence(struct world *w, struct node *n)
{
    int i = (int)(n - w->nodes);
    uint64_t now = clock_of(w, n);
    if (!n->lease && !n->granting)
        n->granting = send(w, i, OUTSIDE, CALL_GRANT);
    if (!n->lease)
        return;
    if (n->fresh && !n->writing && !n->state_revision) {
        struct call *c = send(w, i, OUTSIDE, CALL_STATE);
        if (c)
            c->lease = n->lease;
        n->writing = c;
    }
    if (n->state_revision && n->fresh && n->mirror.revision >= n->state_revision) {
        n->fresh = false;
        tenure_begin(&n->tenure, n->lease_sent_ns, now);
    }
    if (now >= n->next_keep_ns) {
        struct call *c = send(w, i, OUTSIDE, CALL_KEEP);
        if (c)
            c->lease = n->lease;
        n->next_keep_ns = now + TENURE_KEEP_MS * MS;
    }
    if (!n->lease)
        n->state_revision = 0;
}

static void failsafe(struct world *w, struct node *n)
{
    uint64_t now = clock_of(w, n);
    bool waits = n->in_round && now < n->round_ns + 1500 * MS;
    if (!n->tenure.until_ns || !tenure_asks(&n->tenure, now) || waits || now < n->round_ns + TENURE_ASK_EVERY_MS * MS)
        return;
    n->round++;
    n->round_ns = now;
    n->round_pledges = 0;
    n->in_round = true;
    for (int i = 0; i < NODES; i++) {
        struct call *c = &w->nodes[i] == n ? NULL : send(w, (int)(n - w->nodes), i, CALL_PLEDGE);
        if (c)
            c->round = n->round;
    }
}

static const char *const names[] = {"n0", "n1", "n2", "n3", "g0", "g1", "g2"};

static void see(struct world *w, struct node *n, struct failover_view *v, struct failover_guest *guests)
{
    uint64_t now = clock_of(w, n);
    *v = (struct failover_view){.node_count = NODES,
                                .self = (int)(n - w->nodes),
                                .guests = guests,
                                .guest_count = GUESTS,
                                .armed = n->mirror.armed,
                                .forbidden = tenure_forbids(&n->tenure, now)};
    for (int i = 0; i < NODES; i++) {
        bool alive = n->mirror.key[i];
        if (n->was_alive[i] && !alive)
            n->gone_ns[i] = now;
        n->seen[i] |= alive;
        n->was_alive[i] = alive;
        v->nodes[i] = (struct failover_node){.name = names[i],
                                             .alive = alive,
                                             .memory_bytes = UINT64_C(4) << 30,
                                             .gone_ms = (now - n->gone_ns[i]) / MS,
                                             .lost = !alive && (n->seen[i] || now >= n->began_ns + GRACE_MS * MS)};
    }
    for (int g = 0; g < GUESTS; g++) {
        unsigned count = n->mirror.failovers[g];
        if (count != n->cool_count[g]) {
            n->cool_row[g] = n->cool_count[g] ? n->cool_row[g] + 1 : 1;
            n->cool_count[g] = count;
            n->cool_from_ns[g] = now;
        }
        uint64_t cool = count ? failover_cool_ms(n->cool_row[g]) : 0, past = (now - n->cool_from_ns[g]) / MS;
        guests[g] = (struct failover_guest){.name = names[NODES + g],
                                            .node = n->mirror.owner[g],
                                            .is_protected = true,
                                            .memory_bytes = UINT64_C(1) << 30,
                                            .cool_ms = past < cool ? cool - past : 0,
                                            .able = 15,
                                            .disk_count = 1,
                                            .disks[0] = {.members = 3, .spare = 1, .node = {0, 1, 2}, .witness = -1}};
        v->nodes[n->mirror.owner[g]].promised_bytes += guests[g].memory_bytes;
    }
}

static void failovers(struct world *w, struct node *n)
{
    struct failover_view v;
    struct failover_guest guests[GUESTS];
    struct failover_decision decisions[GUESTS];
    see(w, n, &v, guests);
    bool all = true;
    for (int i = 0; i < NODES; i++)
        all &= v.nodes[i].alive;
    if (all || !n->current || !failover_decide(&v, decisions))
        return;
    for (int g = 0; g < GUESTS; g++) {
        if (decisions[g].verdict != FAILOVER_TAKES || n->taking[g])
            continue;
        struct call *c = send(w, v.self, OUTSIDE, CALL_TAKE);
        if (!c)
            continue;
        c->guest = (unsigned)g;
        c->lost = n->mirror.owner[g];
        c->revision = n->mirror.guest_revision[g];
        c->armed_revision = n->mirror.armed_revision;
        n->taking[g] = true;
    }
}

static void guests(struct world *w, struct node *n)
{
    int self = (int)(n - w->nodes);
    uint64_t now = clock_of(w, n);
    for (int g = 0; g < GUESTS && n->current; g++) {
        struct process *p = &n->processes[g];
        if (n->mirror.owner[g] != self) {
            p->there = false;
            continue;
        }
        if (p->there && n->tenure.until_ns > p->until_ns)
            p->until_ns = n->tenure.until_ns;
        if (p->there || n->claiming[g] || !tenure_starts(&n->tenure, now))
            continue;
        struct call *c = send(w, self, OUTSIDE, CALL_CLAIM);
        if (c) {
            c->guest = (unsigned)g;
            c->revision = n->mirror.guest_revision[g];
            n->claiming[g] = true;
        }
    }
}

static void agent(struct world *w, struct node *n)
{
    follow(w, n);
    if (!n->current)
        return;
    presence(w, n);
    failsafe(w, n);
    guests(w, n);
    failovers(w, n);
}

/* ---- the store's own time ---- */

static void store(struct world *w)
{
    for (unsigned i = 1; i <= w->leases && w->store_up; i++)
        if (!lease_lives(w, i))
            w->lease_ms[i] = 0; /* for good, whoever leads */
    for (int n = 0; n < NODES && w->store_up; n++)
        if (w->truth.key[n] && !lease_lives(w, w->key_lease[n])) {
            w->truth.key[n] = false;
            w->truth.revision++;
        }
    w->history[w->now_ms / STEP_MS % HISTORY] = w->truth;
}

/* A new leader, or the store as a whole, is there: every lease that was not seen to end has all its time again, or
 * more. */
static void store_returns(struct world *w)
{
    w->store_up = true;
    for (unsigned i = 1; i <= w->leases; i++)
        if (w->lease_ms[i])
            w->lease_ms[i] = w->now_ms + TENURE_TTL_MS + draw(w, TENURE_TTL_MS);
}

/* ---- faults ---- */

static void cut(struct world *w, int node, bool out, bool in, bool store_only, bool heard)
{
    for (int other = store_only ? OUTSIDE : 0; other <= OUTSIDE; other++) {
        if (out)
            w->heard[node][other] = heard;
        if (in)
            w->heard[other][node] = heard;
    }
}

static void begin_fault(struct world *w, struct fault *f)
{
    struct node *n = &w->nodes[f->node];
    switch (f->kind) {
    case FAULT_KILL:
        n->up = n->agent = false;
        memset(n->processes, 0, sizeof n->processes);
        w->killed_ms = w->now_ms;
        break;
    case FAULT_AGENT:
        n->agent = false;
        break;
    case FAULT_CUT:
    case FAULT_CUT_OUT:
    case FAULT_CUT_IN:
    case FAULT_CUT_STORE:
        cut(w, f->node, f->kind != FAULT_CUT_IN, f->kind != FAULT_CUT_OUT, f->kind == FAULT_CUT_STORE, false);
        break;
    case FAULT_STOP_ALL:
        n->guests_paused_ms = f->to_ms;
        n->agent_paused_ms = f->to_ms;
        break;
    case FAULT_STOP_AGENT:
        n->agent_paused_ms = f->to_ms;
        break;
    case FAULT_LEADER:
    case FAULT_STORE:
        w->store_up = false;
        break;
    case FAULT_DISARM:
        w->truth.armed = false;
        w->truth.armed_revision = ++w->truth.revision;
        break;
    default:
        w->jitter_ms = 2000;
        w->loss_percent = 30;
    }
}

static void end_fault(struct world *w, struct fault *f)
{
    struct node *n = &w->nodes[f->node];
    switch (f->kind) {
    case FAULT_KILL:
        memset(n->processes, 0, sizeof n->processes);
        begin_agent(w, n);
        break;
    case FAULT_AGENT:
        if (n->up && !n->agent)
            begin_agent(w, n);
        break;
    case FAULT_CUT:
    case FAULT_CUT_OUT:
    case FAULT_CUT_IN:
    case FAULT_CUT_STORE:
        cut(w, f->node, true, true, false, true);
        break;
    case FAULT_LEADER:
    case FAULT_STORE:
        store_returns(w);
        break;
    case FAULT_DISARM:
        w->truth.armed = true;
        w->truth.armed_revision = ++w->truth.revision;
        break;
    case FAULT_SLOW:
        w->jitter_ms = 0;
        w->loss_percent = 0;
        break;
    default:
        break;
    }
}

static void add_fault(struct world *w, int kind, int node, uint64_t from_ms, uint64_t ms)
{
    w->faults[w->fault_count++] =
        (struct fault){.kind = (unsigned)kind, .node = node, .from_ms = from_ms, .to_ms = from_ms + ms};
}

static void choose_faults(struct world *w)
{
    static const uint64_t most_ms[FAULT_KINDS] = {
        [FAULT_KILL] = 25000,   [FAULT_AGENT] = 12000,     [FAULT_CUT] = 20000,        [FAULT_CUT_OUT] = 20000,
        [FAULT_CUT_IN] = 20000, [FAULT_CUT_STORE] = 20000, [FAULT_STOP_AGENT] = 15000, [FAULT_STOP_ALL] = 20000,
        [FAULT_LEADER] = 3000,  [FAULT_STORE] = 20000,     [FAULT_DISARM] = 20000,     [FAULT_SLOW] = 20000};
    uint64_t from_ms = 12000;
    if (w->class == WORLD_CALM) {
        add_fault(w, FAULT_SLOW, 0, from_ms, 20000);
        for (int i = 0; i < 3; i++, from_ms += 7000)
            add_fault(w, draw(w, 2) ? FAULT_STOP_AGENT : FAULT_STOP_ALL, (int)draw(w, NODES), from_ms,
                      1000 + draw(w, 4000));
        w->faults[0].kind = draw(w, 2) ? FAULT_SLOW : FAULT_STOP_AGENT; /* one of both: pauses, or a bad network */
        if (w->faults[0].kind == FAULT_SLOW)
            w->fault_count = 1;
        else
            w->faults[0].to_ms = w->faults[0].from_ms + 1;
    } else if (w->class == WORLD_NO_STORE) {
        add_fault(w, FAULT_STORE, 0, from_ms + draw(w, 3000), 5000 + draw(w, 20000));
    } else if (w->class == WORLD_PATCHY) {
        for (int n = 0; n < NODES; n++)
            add_fault(w, FAULT_CUT_STORE, n, from_ms + draw(w, 1500), 5000 + draw(w, 15000));
        int kind = (int)draw(w, 4);
        static const int more[] = {FAULT_STOP_AGENT, FAULT_KILL, FAULT_AGENT, FAULT_CUT_STORE};
        add_fault(w, more[kind], (int)draw(w, NODES), 10000 + draw(w, 8000), 300 + draw(w, 12000));
    } else if (w->class == WORLD_ONE_LOSS) {
        add_fault(w, FAULT_KILL, (int)draw(w, NODES), from_ms + draw(w, 3000), END_MS);
    } else {
        for (uint64_t count = 1 + draw(w, FAULTS_MAX - 1); count; count--) {
            int kind = (int)draw(w, FAULT_KINDS);
            add_fault(w, kind, (int)draw(w, NODES), 10000 + draw(w, 20000), 300 + draw(w, most_ms[kind]));
        }
    }
}

static void faults(struct world *w)
{
    bool heal = w->now_ms == FAULTS_UNTIL_MS && w->class != WORLD_ONE_LOSS;
    for (unsigned i = 0; i < w->fault_count; i++) {
        struct fault *f = &w->faults[i];
        if (!f->begun && w->now_ms >= f->from_ms) {
            f->begun = true;
            begin_fault(w, f);
        }
        if (f->begun && !f->ended && (w->now_ms >= f->to_ms || heal)) {
            f->ended = true;
            end_fault(w, f);
        }
    }
    for (int n = 0; n < NODES && heal; n++) {
        w->nodes[n].agent_paused_ms = w->nodes[n].guests_paused_ms = 0;
        if (!w->nodes[n].up || !w->nodes[n].agent)
            begin_agent(w, &w->nodes[n]);
    }
}

/* ---- what must hold ---- */

static void judge_step(struct world *w)
{
    for (int g = 0; g < GUESTS; g++) {
        int count = 0, where[2] = {0, 0};
        for (int n = 0; n < NODES; n++)
            if (executes(w, &w->nodes[n], g)) {
                where[count > 0] = n;
                count++;
            }
        if (count > 1)
            wrong(w, "guest %d executes on nodes %d and %d", g, where[0], where[1]);
    }
    for (int n = 0; n < NODES; n++)
        for (int g = 0; g < GUESTS; g++)
            if (w->nodes[n].up && w->nodes[n].processes[g].there &&
                clock_of(w, &w->nodes[n]) >= w->nodes[n].processes[g].until_ns)
                w->result->freezes++;
}

static void judge_end(struct world *w)
{
    for (int g = 0; g < GUESTS; g++) {
        int count = 0;
        for (int n = 0; n < NODES; n++)
            count += executes(w, &w->nodes[n], g);
        if (count != 1)
            wrong(w, "in the end guest %d executes on %d nodes", g, count);
    }
    if (w->class == WORLD_CALM && w->result->takeovers)
        wrong(w, "%u guests were taken over although nothing was lost", w->result->takeovers);
    if (w->class == WORLD_NO_STORE && (w->result->takeovers || w->result->freezes))
        wrong(w, "the store was away: %u taken over, %u frozen", w->result->takeovers, w->result->freezes);
    if (w->class == WORLD_ONE_LOSS && w->result->takeovers)
        w->result->rto_ms = w->started_ms - w->killed_ms;
}

static void set_up(struct world *w)
{
    w->store_up = true;
    w->truth = (struct picture){.revision = 1, .armed = true, .armed_revision = 1};
    for (int g = 0; g < GUESTS; g++) {
        w->truth.owner[g] = (int)draw(w, NODES);
        w->truth.guest_revision[g] = 1;
    }
    for (int n = 0; n <= NODES; n++)
        for (int m = 0; m <= NODES; m++)
            w->heard[n][m] = true;
    for (int i = 0; i < HISTORY; i++)
        w->history[i] = w->truth;
    for (int n = 0; n < NODES; n++) {
        w->nodes[n].rate = 1 + ((double)draw(w, 2001) - 1000) / 1e6; /* to a thousandth */
        w->nodes[n].offset_ns = draw(w, 1000000) * MS + 1000 * MS;
        begin_agent(w, &w->nodes[n]);
    }
    choose_faults(w);
}

void world_run(uint64_t seed, enum world_class class, struct world_result *result)
{
    static struct world world;
    struct world *w = &world;
    *result = (struct world_result){0};
    *w = (struct world){.state = seed * UINT64_C(0x9e3779b97f4a7c15) + 0x1234567, .class = class, .result = result};
    for (int i = 0; i < 8; i++)
        draw(w, 2);
    set_up(w);
    uint64_t end = class == WORLD_ANYTHING || class == WORLD_PATCHY ? END_MS : 70000;
    for (w->now_ms = HISTORY * STEP_MS; w->now_ms < end && !*result->wrong; w->now_ms += STEP_MS) {
        faults(w);
        store(w);
        for (unsigned i = 0; i < CALLS * NODES; i++)
            if (w->calls[i].used && w->now_ms >= w->calls[i].at_ms)
                deliver(w, &w->calls[i]);
        for (int n = 0; n < NODES; n++)
            if (acts(w, &w->nodes[n]))
                agent(w, &w->nodes[n]);
        judge_step(w);
    }
    if (!*result->wrong)
        judge_end(w);
}
