#include "node/drill/world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/drill/world_parts.h"

enum { CALLS = 24, LEASES = 32, LEASES_LEAST = 512, END_MS = 130000, SHORT_END_MS = 70000, AFTER_DRILL_MS = 30000 };

/* ---- small things ---- */

uint64_t world_draw(struct world *w, uint64_t below)
{
    w->state ^= w->state << 13;
    w->state ^= w->state >> 7;
    w->state ^= w->state << 17;
    return below ? (w->state * UINT64_C(2685821657736338717) >> 11) % below : 0;
}

void world_wrong(struct world *w, const char *format, ...)
{
    va_list args;
    if (*w->result->wrong)
        return;
    int n = snprintf(w->result->wrong, sizeof w->result->wrong, "at %" PRIu64 " ms: ", w->now_ms);
    va_start(args, format);
    vsnprintf(w->result->wrong + n, sizeof w->result->wrong - (size_t)n, format, args);
    va_end(args);
}

uint64_t world_clock(const struct world *w, const struct world_node *n)
{
    return n->offset_ns + (uint64_t)((double)(w->now_ms * WORLD_MS) * n->rate);
}

bool world_acts(const struct world *w, const struct world_node *n)
{
    return n->up && n->agent && w->now_ms >= n->agent_paused_ms;
}

bool world_hears(const struct world *w, int from, int to)
{
    return to == w->outside ? w->heard_outside[from] : w->heard[from] & UINT64_C(1) << to;
}

/* ---- processes ---- */

bool world_executes(const struct world *w, int node, unsigned guest)
{
    const struct world_node *n = &w->nodes[node];
    return n->up && w->holders[guest] & UINT64_C(1) << node && w->now_ms >= n->guests_paused_ms &&
           world_clock(w, n) < n->told_ns;
}

static bool is_double(uint64_t holders)
{
    return holders & (holders - 1);
}

void world_add_process(struct world *w, int node, unsigned guest)
{
    bool before = is_double(w->holders[guest]);
    w->holders[guest] |= UINT64_C(1) << node;
    w->doubles += is_double(w->holders[guest]) && !before;
    w->nodes[node].process_count++;
    w->stirred = true;
}

void world_drop_process(struct world *w, int node, unsigned guest)
{
    bool before = is_double(w->holders[guest]);
    if (!(w->holders[guest] & UINT64_C(1) << node))
        return;
    w->holders[guest] &= ~(UINT64_C(1) << node);
    w->doubles -= before && !is_double(w->holders[guest]);
    w->nodes[node].process_count--;
    w->stirred = true;
}

void world_drop_processes(struct world *w, int node)
{
    for (unsigned g = 0; g < w->guest_count; g++)
        world_drop_process(w, node, g);
}

/* ---- life ---- */

static bool make_picture(struct picture *p, unsigned guests)
{
    p->owner = calloc(guests + 1, sizeof *p->owner);
    p->runs = calloc(guests + 1, sizeof *p->runs);
    p->failovers = calloc(guests + 1, sizeof *p->failovers);
    p->guest_revision = calloc(guests + 1, sizeof *p->guest_revision);
    p->orphans = calloc(guests + 1, sizeof *p->orphans);
    p->able = calloc(guests + 1, sizeof *p->able);
    return p->owner && p->runs && p->failovers && p->guest_revision && p->orphans && p->able;
}

static void free_picture(struct picture *p)
{
    free(p->owner);
    free(p->runs);
    free(p->failovers);
    free(p->guest_revision);
    free(p->orphans);
    free(p->able);
}

/* One for each slot of the history, one for each node's mirror, and the one that is made. */
static bool make_pictures(struct world *w)
{
    w->picture_count = WORLD_HISTORY + (unsigned)w->node_count + 1;
    w->pictures = calloc(w->picture_count, sizeof *w->pictures);
    bool made = w->pictures && make_picture(&w->truth, w->guest_count);
    for (unsigned i = 0; made && i < w->picture_count; i++)
        made = make_picture(&w->pictures[i], w->guest_count);
    return made;
}

static bool make_all(struct world *w)
{
    size_t guests = w->guest_count + 1, nodes = (size_t)w->node_count;
    w->call_max = (unsigned)nodes * (CALLS + 2 * (unsigned)nodes) + 2 * w->guest_count;
    w->call_words = (w->call_max + 63) / 64;
    w->lease_max = LEASES_LEAST + LEASES * (unsigned)nodes;
    w->nodes = calloc(nodes + 1, sizeof *w->nodes);
    w->holders = calloc(guests, sizeof *w->holders);
    w->fates = calloc(guests, sizeof *w->fates);
    w->calls = calloc(w->call_max, sizeof *w->calls);
    w->calls_used = calloc(w->call_words, sizeof *w->calls_used);
    w->lease_ms = calloc(w->lease_max, sizeof *w->lease_ms);
    w->view_guests = calloc(guests, sizeof *w->view_guests);
    w->decisions = calloc(guests, sizeof *w->decisions);
    bool made = w->nodes && w->holders && w->fates && w->calls && w->calls_used && w->lease_ms && w->view_guests &&
                w->decisions && make_pictures(w);
    for (int n = 0; made && n < w->node_count; n++) {
        w->nodes[n].own = calloc(guests, sizeof *w->nodes[n].own);
        made = w->nodes[n].own;
    }
    return made;
}

struct world *world_new(const struct cluster *cluster)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->cluster = cluster;
    w->node_count = w->outside = cluster->node_count;
    w->guest_count = cluster->guest_count;
    w->settle_ms = cluster_settle_ms(cluster);
    if (make_all(w))
        return w;
    world_free(w);
    return NULL;
}

void world_free(struct world *w)
{
    if (!w)
        return;
    for (int n = 0; w->nodes && n < w->node_count; n++)
        free(w->nodes[n].own);
    for (unsigned i = 0; w->pictures && i < w->picture_count; i++)
        free_picture(&w->pictures[i]);
    free_picture(&w->truth);
    free(w->pictures);
    free(w->nodes);
    free(w->holders);
    free(w->fates);
    free(w->calls);
    free(w->calls_used);
    free(w->lease_ms);
    free(w->view_guests);
    free(w->decisions);
    free(w->outages);
    free(w->stays);
    free(w);
}

/* ---- a schedule ---- */

/* Everything as it is before anything has happened; what is on the heap stays where it is. */
static void clear(struct world *w)
{
    size_t guests = w->guest_count + 1;
    for (int n = 0; n < w->node_count; n++) {
        struct world_own *own = w->nodes[n].own;
        memset(own, 0, guests * sizeof *own);
        w->nodes[n] = (struct world_node){.own = own};
    }
    for (unsigned i = 0; i < w->picture_count; i++)
        w->pictures[i].refs = 0;
    memset(w->history, 0, sizeof w->history);
    memset(w->holders, 0, guests * sizeof *w->holders);
    memset(w->fates, 0, guests * sizeof *w->fates);
    memset(w->calls_used, 0, w->call_words * sizeof *w->calls_used);
    memset(w->lease_ms, 0, w->lease_max * sizeof *w->lease_ms);
    memset(w->key_lease, 0, sizeof w->key_lease);
    w->leases = w->fault_count = w->turns = w->loss_percent = w->doubles = w->call_first = 0;
    w->jitter_ms = w->killed_ms = w->started_ms = w->fault_ms = w->executing = 0;
    w->stirred = true;
    w->failed = false;
    for (int n = 0; n <= w->node_count; n++) {
        w->heard[n] = UINT64_MAX;
        w->heard_outside[n] = true;
    }
}

static void set_up(struct world *w)
{
    world_store_begin(w);
    for (int n = 0; n < w->node_count; n++) {
        struct world_node *node = &w->nodes[n];
        node->rate = 1 + ((double)world_draw(w, 2001) - 1000) / 1e6; /* to a thousandth */
        node->offset_ns = world_draw(w, 1000000) * WORLD_MS + 1000 * WORLD_MS;
        if (!w->cluster->nodes[n].away)
            world_agent_begin(w, n);
    }
    world_faults_choose(w);
}

static uint64_t end_of(const struct world *w)
{
    enum world_class class = w->schedule.class;
    if (class >= WORLD_POWER_LOSS)
        return w->faults[0].to_ms + AFTER_DRILL_MS + w->settle_ms;
    return (class == WORLD_ANYTHING || class == WORLD_PATCHY ? END_MS : SHORT_END_MS) + w->settle_ms;
}

bool world_run(struct world *w, const struct world_schedule *schedule, struct world_result *result)
{
    *result = (struct world_result){.lost = -1};
    clear(w);
    w->schedule = *schedule;
    w->result = result;
    w->state = schedule->seed * UINT64_C(0x9e3779b97f4a7c15) + 0x1234567;
    for (int i = 0; i < 8; i++)
        world_draw(w, 2);
    w->now_ms = 0;
    set_up(w);
    w->end_ms = end_of(w);
    for (w->now_ms = WORLD_HISTORY * WORLD_STEP_MS; w->now_ms < w->end_ms && !*result->wrong;
         w->now_ms += WORLD_STEP_MS) {
        world_faults_step(w);
        world_store_step(w);
        world_deliver(w);
        for (int n = 0; n < w->node_count; n++)
            if (world_acts(w, &w->nodes[n]))
                world_agent_step(w, n);
        world_judge_step(w);
    }
    if (!*result->wrong)
        world_judge_end(w);
    result->outages = w->outages;
    result->stays = w->stays;
    return !w->failed;
}
