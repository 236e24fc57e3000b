/* Calls: asked, heard or not, answered, heard or not. Who waits for what was lost finds out by waiting too long. */
#include "node/drill/world_parts.h"

enum { ANSWER_MS = 5000, NOWHERE = -1 };

static uint64_t delay(struct world *w)
{
    uint64_t ms = 1 + world_draw(w, 20);
    ms += world_draw(w, w->jitter_ms + 1);
    for (uint64_t again = 200; again < 2000 && world_draw(w, 100) < w->loss_percent; again *= 2)
        ms += again; /* as TCP sends again */
    return ms;
}

/* The first free one, so that the order of all is the same whoever was there before. */
static int find_free(struct world *w)
{
    for (unsigned i = w->call_first; i < w->call_words; i++) {
        if (w->calls_used[i] == UINT64_MAX)
            continue;
        unsigned at = i * 64 + (unsigned)__builtin_ctzll(~w->calls_used[i]);
        w->call_first = i;
        return at < w->call_max ? (int)at : NOWHERE;
    }
    return NOWHERE;
}

static void release(struct world *w, unsigned at)
{
    w->calls_used[at / 64] &= ~(UINT64_C(1) << at % 64);
    w->call_first = at / 64 < w->call_first ? at / 64 : w->call_first;
}

struct call *world_send(struct world *w, int from, int to, enum call_kind kind)
{
    struct world_node *n = &w->nodes[from];
    int at = find_free(w);
    if (at == NOWHERE)
        return NULL;
    w->calls_used[at / 64] |= UINT64_C(1) << at % 64;
    w->calls[at] = (struct call){.kind = kind,
                                 .from = from,
                                 .to = to,
                                 .life = n->life,
                                 .sent_ns = world_clock(w, n),
                                 .at_ms = w->now_ms + delay(w)};
    return &w->calls[at];
}

static void lose(struct world *w, unsigned at)
{
    struct call *c = &w->calls[at];
    if (c->kind == CALL_PLEDGE || c->kind == CALL_KEEP || c->kind == CALL_RUNS) {
        release(w, at);
        return;
    }
    c->back = true;
    c->ok = false;
    c->at_ms = w->now_ms + ANSWER_MS;
    c->to = NOWHERE;
}

static void bring_back(struct world *w, unsigned at)
{
    struct call *c = &w->calls[at];
    struct world_node *from = &w->nodes[c->from];
    bool same = from->up && from->agent && from->life == c->life;
    if (same && !world_acts(w, from))
        return; /* when it goes on */
    if (same && c->to == NOWHERE)
        world_agent_failed(w, c);
    else if (same)
        world_agent_answered(w, c);
    release(w, at);
}

static void deliver(struct world *w, unsigned at)
{
    struct call *c = &w->calls[at];
    if (c->back) {
        bring_back(w, at);
        return;
    }
    bool pledge = c->kind == CALL_PLEDGE;
    if (!world_hears(w, c->from, c->to) || (!pledge && !w->store_up) ||
        (pledge && (!w->nodes[c->to].up || !w->nodes[c->to].agent))) {
        lose(w, at);
        return;
    }
    if (pledge && !world_acts(w, &w->nodes[c->to]))
        return;
    if (pledge)
        c->ok = tenure_pledge(&w->nodes[c->to].tenure, world_clock(w, &w->nodes[c->to]));
    else
        world_store_serves(w, c);
    if (!world_hears(w, c->to, c->from)) {
        lose(w, at);
        return;
    }
    c->back = true;
    c->at_ms = w->now_ms + delay(w);
}

void world_deliver(struct world *w)
{
    for (unsigned i = 0; i < w->call_words; i++)
        for (uint64_t left = w->calls_used[i]; left; left &= left - 1) {
            unsigned at = i * 64 + (unsigned)__builtin_ctzll(left);
            if (w->now_ms >= w->calls[at].at_ms)
                deliver(w, at);
        }
}
