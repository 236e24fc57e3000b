/* Faults: which a schedule has, what each does when it begins, and how it heals. */
#include "node/drill/world_parts.h"

enum { FROM_MS = 12000, DRILL_MS = 40000, CRASH_MOST_MS = 12000, LONG_MS = 30000, FOR_GOOD_MS = 130000 };

/* ---- what each is ---- */

static void hear(struct world *w, int from, int to, bool heard)
{
    if (to == w->outside)
        w->heard_outside[from] = heard;
    else if (heard)
        w->heard[from] |= UINT64_C(1) << to;
    else
        w->heard[from] &= ~(UINT64_C(1) << to);
}

static void cut(struct world *w, const struct fault *f, bool heard)
{
    bool out = heard || f->kind != FAULT_CUT_IN, in = heard || f->kind != FAULT_CUT_OUT;
    for (int other = f->kind == FAULT_CUT_STORE && !heard ? w->outside : 0; other <= w->outside; other++) {
        if (out)
            hear(w, f->node, other, heard);
        if (in)
            hear(w, other, f->node, heard);
    }
}

static void begin(struct world *w, struct fault *f)
{
    struct world_node *n = &w->nodes[f->node];
    w->fault_ms = w->now_ms;
    switch (f->kind) {
    case FAULT_KILL:
        n->up = n->agent = false;
        world_drop_processes(w, f->node);
        w->killed_ms = w->now_ms;
        break;
    case FAULT_AGENT:
        n->agent = false;
        break;
    case FAULT_CUT:
    case FAULT_CUT_OUT:
    case FAULT_CUT_IN:
    case FAULT_CUT_STORE:
        cut(w, f, false);
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
        world_store_arm(w, false);
        break;
    default:
        w->jitter_ms = 2000;
        w->loss_percent = 30;
    }
}

static void end(struct world *w, struct fault *f)
{
    struct world_node *n = &w->nodes[f->node];
    switch (f->kind) {
    case FAULT_KILL:
        world_drop_processes(w, f->node);
        world_agent_begin(w, f->node);
        break;
    case FAULT_AGENT:
        if (n->up && !n->agent)
            world_agent_begin(w, f->node);
        break;
    case FAULT_CUT:
    case FAULT_CUT_OUT:
    case FAULT_CUT_IN:
    case FAULT_CUT_STORE:
        cut(w, f, true);
        break;
    case FAULT_LEADER:
    case FAULT_STORE:
        world_store_returns(w);
        break;
    case FAULT_DISARM:
        world_store_arm(w, true);
        break;
    case FAULT_SLOW:
        w->jitter_ms = 0;
        w->loss_percent = 0;
        break;
    default:
        break;
    }
}

/* ---- which a schedule has ---- */

/* A node that is away cannot be hit: the next one is. */
static int draw_node(struct world *w)
{
    int node = w->schedule.node;
    if (node == WORLD_DRAWN)
        node = (int)world_draw(w, (uint64_t)w->node_count);
    for (int i = 0; i < w->node_count && w->cluster->nodes[node].away; i++)
        node = (node + 1) % w->node_count;
    return node;
}

static void add(struct world *w, enum fault_kind kind, int node, uint64_t from_ms, uint64_t ms)
{
    w->faults[w->fault_count++] = (struct fault){.kind = kind, .node = node, .from_ms = from_ms, .to_ms = from_ms + ms};
}

/* One of both: pauses, or a bad network. */
static void choose_calm(struct world *w)
{
    uint64_t from_ms = FROM_MS;
    add(w, FAULT_SLOW, 0, from_ms, 20000);
    for (int i = 0; i < 3; i++, from_ms += 7000) {
        enum fault_kind kind = world_draw(w, 2) ? FAULT_STOP_AGENT : FAULT_STOP_ALL;
        int node = draw_node(w);
        add(w, kind, node, from_ms, 1000 + world_draw(w, 4000));
    }
    w->faults[0].kind = world_draw(w, 2) ? FAULT_SLOW : FAULT_STOP_AGENT;
    if (w->faults[0].kind == FAULT_SLOW) {
        w->fault_count = 1;
    } else {
        w->faults[0].node = w->faults[1].node;
        w->faults[0].to_ms = w->faults[0].from_ms + 1;
    }
}

static void choose_patchy(struct world *w)
{
    static const enum fault_kind more[] = {FAULT_STOP_AGENT, FAULT_KILL, FAULT_AGENT, FAULT_CUT_STORE};
    for (int n = 0; n < w->node_count; n++) {
        uint64_t from_ms = FROM_MS + world_draw(w, 1500);
        add(w, FAULT_CUT_STORE, n, from_ms, 5000 + world_draw(w, 15000));
    }
    enum fault_kind kind = more[world_draw(w, 4)];
    int node = draw_node(w);
    uint64_t from_ms = 10000 + world_draw(w, 8000);
    add(w, kind, node, from_ms, 300 + world_draw(w, 12000));
}

static void choose_anything(struct world *w)
{
    static const uint64_t most_ms[FAULT_KINDS] = {
        [FAULT_KILL] = 25000,   [FAULT_AGENT] = 12000,     [FAULT_CUT] = 20000,        [FAULT_CUT_OUT] = 20000,
        [FAULT_CUT_IN] = 20000, [FAULT_CUT_STORE] = 20000, [FAULT_STOP_AGENT] = 15000, [FAULT_STOP_ALL] = 20000,
        [FAULT_LEADER] = 3000,  [FAULT_STORE] = 20000,     [FAULT_DISARM] = 20000,     [FAULT_SLOW] = 20000};
    for (uint64_t count = 1 + world_draw(w, 5); count; count--) {
        enum fault_kind kind = (enum fault_kind)world_draw(w, FAULT_KINDS);
        int node = draw_node(w);
        uint64_t from_ms = 10000 + world_draw(w, 20000);
        add(w, kind, node, from_ms, 300 + world_draw(w, most_ms[kind]));
    }
}

/* One of the drills: long enough for all that follows, and then some. */
static void choose_drill(struct world *w, enum fault_kind kind)
{
    int node = draw_node(w);
    uint64_t from_ms = FROM_MS + world_draw(w, 3000);
    uint64_t ms =
        kind == FAULT_AGENT ? 300 + world_draw(w, CRASH_MOST_MS) : DRILL_MS + w->settle_ms + world_draw(w, 10000);
    add(w, kind, node, from_ms, ms);
}

void world_faults_choose(struct world *w)
{
    switch (w->schedule.class) {
    case WORLD_CALM:
        choose_calm(w);
        break;
    case WORLD_NO_STORE: {
        uint64_t from_ms = FROM_MS + world_draw(w, 3000);
        add(w, FAULT_STORE, 0, from_ms, 5000 + world_draw(w, 20000));
        break;
    }
    case WORLD_PATCHY:
        choose_patchy(w);
        break;
    case WORLD_ONE_LOSS: {
        int node = draw_node(w);
        add(w, FAULT_KILL, node, FROM_MS + world_draw(w, 3000), FOR_GOOD_MS);
        break;
    }
    case WORLD_POWER_LOSS:
        choose_drill(w, FAULT_KILL);
        break;
    case WORLD_PARTITION:
        choose_drill(w, FAULT_CUT);
        break;
    case WORLD_COORDINATOR_LOSS:
        choose_drill(w, FAULT_CUT_STORE);
        break;
    case WORLD_AGENT_CRASH:
        choose_drill(w, FAULT_AGENT);
        break;
    default:
        choose_anything(w);
    }
}

/* ---- when ---- */

/* Whatever was still wrong is well again. */
static void heal_all(struct world *w)
{
    for (int n = 0; n < w->node_count; n++) {
        struct world_node *node = &w->nodes[n];
        if (w->cluster->nodes[n].away)
            continue;
        node->agent_paused_ms = node->guests_paused_ms = 0;
        if (!node->up || !node->agent)
            world_agent_begin(w, n);
    }
}

void world_faults_step(struct world *w)
{
    enum world_class class = w->schedule.class;
    bool heal = w->now_ms == WORLD_HEAL_MS && class < WORLD_ONE_LOSS;
    for (unsigned i = 0; i < w->fault_count; i++) {
        struct fault *f = &w->faults[i];
        if (!f->begun && w->now_ms >= f->from_ms) {
            f->begun = true;
            w->turns++;
            begin(w, f);
        }
        if (f->begun && !f->ended && (w->now_ms >= f->to_ms || heal)) {
            if (class >= WORLD_POWER_LOSS && f->to_ms - f->from_ms >= LONG_MS)
                world_judge_loss(w, f->node);
            f->ended = true;
            w->turns++;
            end(w, f);
        }
    }
    if (heal)
        heal_all(w);
}
