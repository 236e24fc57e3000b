#include "node/drill/campaign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"
#include "node/drill/cluster.h"

void campaign_fini(struct campaign *c)
{
    for (unsigned k = 0; k < CAMPAIGN_KINDS; k++) {
        free(c->figures[k].rto.ms);
        free(c->figures[k].down.ms);
    }
    free(c->stays);
    free(c->stay_of);
    c->stays = NULL;
    c->stay_of = NULL;
    memset(c->figures, 0, sizeof c->figures);
}

/* ---- what came of a schedule ---- */

static bool note_value(struct campaign_spread *to, uint64_t ms, unsigned guest, const struct world_schedule *s)
{
    if (to->count == to->room) {
        uint64_t room = to->room ? 2 * to->room : 256;
        uint64_t *grown = realloc(to->ms, room * sizeof *grown);
        if (!grown)
            return false;
        to->ms = grown;
        to->room = room;
    }
    to->ms[to->count++] = ms;
    if (ms > to->worst_ms) {
        to->worst_ms = ms;
        to->worst_seed = s->seed;
        to->worst_node = s->node;
        to->worst_guest = guest;
    }
    return true;
}

/* Where several things are wrong, or nothing really is, no outage has one fault that it would count from. */
static bool note_outage(struct campaign_figures *f, enum campaign_kind kind, const struct world_outage *o,
                        const struct world_schedule *s)
{
    return note_value(&f->down, o->down_ms, o->guest, s) &&
           (!campaign_kind_has_node(kind) || note_value(&f->rto, o->since_fault_ms, o->guest, s));
}

static bool note_stay(struct campaign *c, enum campaign_kind kind, uint64_t seed, const struct world_stay *s)
{
    unsigned *index = &c->stay_of[(size_t)s->node * c->cluster->guest_count + s->guest];
    c->unbearable |= UINT64_C(1) << s->node;
    if (*index) {
        c->stays[*index - 1].schedules++;
        return true;
    }
    if (c->stay_count == c->stay_room) {
        unsigned room = c->stay_room ? 2 * c->stay_room : 64;
        struct campaign_stay *grown = realloc(c->stays, room * sizeof *grown);
        if (!grown)
            return false;
        c->stays = grown;
        c->stay_room = room;
    }
    struct campaign_stay *to = &c->stays[c->stay_count++];
    *to = (struct campaign_stay){.node = s->node, .guest = s->guest, .kind = kind, .seed = seed, .schedules = 1};
    memcpy(to->reason, s->reason, sizeof to->reason);
    *index = c->stay_count;
    return true;
}

static bool note(struct campaign *c, enum campaign_kind kind, const struct world_schedule *s,
                 const struct world_result *r)
{
    struct campaign_figures *f = &c->figures[kind];
    bool noted = true;
    f->schedules++;
    f->stood += r->freezes > 0;
    f->takeovers += r->takeovers;
    if (r->lost >= 0)
        c->lost |= UINT64_C(1) << r->lost;
    for (unsigned i = 0; i < r->outage_count && noted; i++)
        noted = note_outage(f, kind, &r->outages[i], s);
    for (unsigned i = 0; i < r->stay_count && noted; i++)
        noted = note_stay(c, kind, s->seed, &r->stays[i]);
    if (!*r->wrong)
        return noted;
    if (c->wrong_count < CAMPAIGN_WRONG_MAX) {
        struct campaign_wrong *w = &c->wrongs[c->wrong_count];
        *w = (struct campaign_wrong){.kind = kind, .node = s->node, .seed = s->seed};
        memcpy(w->text, r->wrong, sizeof w->text);
    }
    c->wrong_count++;
    return noted;
}

/* ---- all of them ---- */

/* The nth of those that are there. */
static int nth_node(const struct cluster *c, uint64_t n)
{
    uint64_t there = 0;
    for (int i = 0; i < c->node_count; i++)
        there += !c->nodes[i].away;
    n %= there;
    for (int i = 0; i < c->node_count; i++)
        if (!c->nodes[i].away && !n--)
            return i;
    return 0;
}

static struct world_schedule schedule_of(const struct campaign *c, uint64_t i, enum campaign_kind *kind)
{
    bool any = c->plan.kind == CAMPAIGN_ANY;
    *kind = any ? (enum campaign_kind)(i % CAMPAIGN_KINDS) : c->plan.kind;
    struct world_schedule s = {.seed = c->plan.seed + i, .class = campaign_kind_class(*kind), .node = c->plan.node};
    if (s.node == CAMPAIGN_NO_NODE)
        s.node = campaign_kind_has_node(*kind) ? nth_node(c->cluster, any ? i / CAMPAIGN_KINDS : i) : WORLD_DRAWN;
    return s;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void sort(struct campaign_spread *s)
{
    if (s->count)
        qsort(s->ms, s->count, sizeof *s->ms, compare);
}

static int compare_stays(const void *a, const void *b)
{
    const struct campaign_stay *x = a, *y = b;
    return x->node != y->node ? (x->node < y->node ? -1 : 1) : x->guest < y->guest ? -1 : x->guest > y->guest;
}

static int check(const struct cluster *cluster, const struct campaign_plan *plan, struct err *err)
{
    bool bound = plan->kind == CAMPAIGN_ANY || plan->kind >= CAMPAIGN_STORE_PATCHY; /* or takes one where it can */
    if (!plan->schedules || plan->schedules > CAMPAIGN_SCHEDULES_MAX)
        return err_set(err, EINVAL, "--schedules: 1 to %d are possible", CAMPAIGN_SCHEDULES_MAX);
    if (plan->node == CAMPAIGN_NO_NODE)
        return 0;
    if (cluster->nodes[plan->node].away)
        return err_set(err, EINVAL, "--node %s: it is away already", cluster->nodes[plan->node].name);
    if (!bound && !campaign_kind_has_node(plan->kind))
        return err_set(err, EINVAL, "--node: %s hits no single node", campaign_kind_name(plan->kind));
    return 0;
}

int campaign_run(struct campaign *c, const struct cluster *cluster, const struct campaign_plan *plan, struct err *err)
{
    *c = (struct campaign){.cluster = cluster, .plan = *plan};
    int rc = check(cluster, plan, err);
    if (rc)
        return rc;
    struct world *world = world_new(cluster);
    c->stay_of = calloc((size_t)cluster->node_count * cluster->guest_count + 1, sizeof *c->stay_of);
    bool done = world && c->stay_of;
    for (uint64_t i = 0; i < plan->schedules && done; i++) {
        enum campaign_kind kind;
        const struct world_schedule schedule = schedule_of(c, i, &kind);
        struct world_result result;
        done = world_run(world, &schedule, &result) && note(c, kind, &schedule, &result);
    }
    world_free(world);
    for (unsigned k = 0; k < CAMPAIGN_KINDS; k++) {
        sort(&c->figures[k].rto);
        sort(&c->figures[k].down);
    }
    if (c->stay_count)
        qsort(c->stays, c->stay_count, sizeof *c->stays, compare_stays);
    return done ? 0 : err_set(err, ENOMEM, "no memory for a simulation of %d nodes", cluster->node_count);
}
