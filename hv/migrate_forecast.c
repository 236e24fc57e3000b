/* See migrate_forecast.h. A round is played in slices: pages that the guest has written again before it is their turn
 * are left out (migrate_pages.h), so that the part of them grows while the round goes on. */
#include "hv/migrate_forecast.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hv/migrate_pays.h"

enum { TURN_COST_US = 100 }; /* of a throttle's */
enum { NS_PER_MS = 1000000, STALLED_PERCENT = 90 };
#define NS_PER_S UINT64_C(1000000000)

uint64_t migrate_outlook_written(const struct migrate_outlook *o, uint64_t ns)
{
    struct migrate_curve_point before = {0, 0};
    double slope = 0;
    for (unsigned i = 0; i < o->points; i++) {
        const struct migrate_curve_point *p = &o->curve[i];
        slope = p->ns > before.ns ? (double)(p->bytes - before.bytes) / (double)(p->ns - before.ns) : slope;
        if (ns <= p->ns)
            break;
        before = *p;
    }
    double bytes = (double)before.bytes + slope * (double)(ns - before.ns);
    return bytes < (double)o->memory_bytes ? (uint64_t)bytes : o->memory_bytes;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

/* vCPUs that are held for a part of the time (guest_throttle.c) write less: by that part, and by what stopping and
 * going on takes of each turn, and finding caches that others have used. */
static double written(const struct migrate_outlook *o, double ns, unsigned throttle)
{
    double share = (double)(MIGRATE_THROTTLE_WHOLE - throttle) / MIGRATE_THROTTLE_WHOLE;
    if (throttle)
        share *= 1 - TURN_COST_US / larger(share * MIGRATE_THROTTLE_PERIOD_US, MIGRATE_THROTTLE_RUN_MIN_US);
    return (double)migrate_outlook_written(o, (uint64_t)(ns * share));
}

struct round {
    double sent, ns; /* bytes, and how long they took */
};

static double most_one(double part)
{
    return part < 1 ? part : 1;
}

/* Of everything: a slice of it after the other, each with what was written to and what was not. A guest that has been
 * to all that it writes to goes on to other places. */
static struct round play_first(const struct migrate_outlook *o)
{
    struct round r = {0};
    double present = (double)o->present_bytes, slice = present / MIGRATE_SLICES, hot = 0;
    for (unsigned i = 0; i < MIGRATE_SLICES; i++)
        hot += o->hot[i] * slice;
    for (unsigned i = 0; i < MIGRATE_SLICES && slice > 0; i++) {
        double w = written(o, r.ns, 0);
        double again = hot > 0 ? most_one(w / hot) : 0,
               beyond = w > hot ? most_one((w - hot) / (present - hot + 1)) : 0;
        double sent = slice * (o->hot[i] * (1 - again) + (1 - o->hot[i]) * (1 - beyond));
        r.sent += sent;
        r.ns += sent / (double)o->bandwidth * (double)NS_PER_S;
    }
    return r;
}

/* `left` bytes are dirty, out of `among` that the guest writes to. */
static struct round play_round(const struct migrate_outlook *o, double left, double among, unsigned throttle)
{
    struct round r = {0};
    double slice = left / MIGRATE_SLICES;
    for (unsigned i = 0; i < MIGRATE_SLICES && slice > 0; i++) {
        double cold = among > 0 ? 1 - most_one(written(o, r.ns, throttle) / among) : 1;
        r.sent += slice * cold;
        r.ns += slice * cold / (double)o->bandwidth * (double)NS_PER_S;
    }
    return r;
}

static uint64_t probed(const struct migrate_goal *goal, const struct migrate_sample *s, const struct migrate_outlook *o)
{
    if (!migrate_plan_wants_rate(goal, s))
        return 0;
    return (uint64_t)(written(o, MIGRATE_PROBE_MS * (double)NS_PER_MS, s->throttle) * 1000 / MIGRATE_PROBE_MS) + 1;
}

static void conclude(const struct migrate_goal *goal, const struct migrate_outlook *o, const struct migrate_sample *s,
                     const struct migrate_plan *plan, struct migrate_forecast *f)
{
    double last_ns = (double)s->left_bytes / (double)o->bandwidth * (double)NS_PER_S;
    f->late = plan->step == MIGRATE_STEP_LATE;
    f->needs_late = plan->step == MIGRATE_STEP_GIVE_UP;
    f->ends = f->late || plan->step == MIGRATE_STEP_STOP;
    f->downtime_ns = (f->late ? 0 : (uint64_t)last_ns) + o->fixed_ns;
    f->total_ns = s->elapsed_ns + (f->ends ? f->downtime_ns : 0);
    f->late_ns = f->late ? (uint64_t)last_ns : 0;
    f->bytes += f->ends ? s->left_bytes : 0;
    f->rounds = s->round + 1 + f->ends;
    f->holds = f->ends && f->downtime_ns <= goal->downtime_ns && (!goal->within_ns || f->total_ns <= goal->within_ns);
    if (f->holds)
        return;
    if (!f->ends)
        snprintf(f->text, sizeof f->text, "%s", plan->text);
    else if (f->downtime_ns > goal->downtime_ns)
        snprintf(f->text, sizeof f->text,
                 "a switch-over takes %" PRIu64 " ms, %" PRIu64 " ms of it beside the guest's memory: allow a longer "
                 "downtime than %" PRIu64 " ms",
                 f->downtime_ns / NS_PER_MS, o->fixed_ns / NS_PER_MS, goal->downtime_ns / NS_PER_MS);
    else
        snprintf(f->text, sizeof f->text, "it takes %" PRIu64 " s at %" PRIu64 " MB/s, and %" PRIu64 " s are allowed",
                 f->total_ns / NS_PER_S, o->bandwidth / 1000000, goal->within_ns / NS_PER_S);
}

/* Whatever takes more than 2 Gbit/s may be limited by the processors at both ends, which nobody waits for as for a
 * link. */
static const double link_ns_least = 4;

/* Compressed, pages are faster than the link, or as fast as they are compressed. Where that pays is decided from place
 * to place, and of each connection's first bytes nothing is known. */
static double compress(struct migrate_outlook *o)
{
    double link_ns = (double)NS_PER_S / (double)o->bandwidth, pack_ns = 0, left = 0;
    double bare = (double)MIGRATE_PAYS_LOOK_BYTES * o->streams / ((double)o->present_bytes + 1);
    for (unsigned i = 0; i < o->packs; i++) {
        bool pays = link_ns >= link_ns_least && migrate_pays_for(o->packed[i].pack_ns, o->packed[i].left, link_ns);
        pack_ns += pays ? o->packed[i].pack_ns / o->packs : 0;
        left += (pays ? o->packed[i].left : 1) / o->packs;
    }
    if (pack_ns <= 0)
        return 1;
    left = bare < 1 ? bare + left * (1 - bare) : 1;
    o->bandwidth = (uint64_t)((double)NS_PER_S / larger(left * link_ns, pack_ns));
    return left;
}

void migrate_forecast(const struct migrate_goal *goal, const struct migrate_outlook *outlook,
                      struct migrate_forecast *f)
{
    struct migrate_outlook pages = *outlook;
    const struct migrate_outlook *o = &pages;
    double part = compress(&pages);
    struct migrate_sample s = {.fixed_ns = o->fixed_ns, .bandwidth = o->bandwidth, .elapsed_ns = o->connect_ns};
    double left = (double)o->present_bytes, ever = 0;
    struct migrate_plan plan;
    *f = (struct migrate_forecast){0};
    for (s.round = 0;; s.round++) {
        struct round r = s.round ? play_round(o, left, larger(ever, left), s.throttle) : play_first(o);
        r.ns += (double)o->round_ns;
        f->bytes += (uint64_t)r.sent;
        s.before_bytes = s.round ? (uint64_t)left : UINT64_MAX;
        s.sent_bytes = (uint64_t)r.sent;
        s.round_ns = (uint64_t)r.ns + 1;
        s.elapsed_ns += s.round_ns;
        left = written(o, r.ns, s.throttle);
        ever = larger(ever, left);
        s.left_bytes = (uint64_t)left;
        s.stalled_rounds = s.left_bytes >= s.before_bytes / 100 * STALLED_PERCENT ? s.stalled_rounds + 1 : 0;
        s.write_rate = probed(goal, &s, o);
        s.elapsed_ns += s.write_rate ? (uint64_t)MIGRATE_PROBE_MS * NS_PER_MS : 0;
        migrate_plan(goal, &s, &plan);
        if (plan.step == MIGRATE_STEP_STOP || plan.step == MIGRATE_STEP_LATE || plan.step == MIGRATE_STEP_GIVE_UP)
            break;
        s.throttle = plan.throttle;
        f->throttle = s.throttle;
    }
    conclude(goal, o, &s, &plan, f);
    f->left = part;
    f->bytes = (uint64_t)((double)f->bytes * part);
}
