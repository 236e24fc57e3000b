#include "hv/migrate_pays.h"

/* A link is full if whoever sends waits for it at least this part of the time: then all of the time is the link's. */
enum { FULL_PART = 4 };

/* The processors are the guests': a moment of theirs has to save more than a moment of the link. */
static const double worth = 1.5;

/* A link of 4 Gbit/s. Who waits for a faster one waits for the destination's processors, which unpacking needs, too. */
static const double link_ns_least = 2;

bool migrate_pays_for(double pack_ns, double left, double link_ns)
{
    return left > 0 && left < 1 && link_ns > link_ns_least && pack_ns * worth < (1 - left) * link_ns;
}

static void judge(struct migrate_pays *p)
{
    if (p->before_bytes) {
        p->pack_ns = (double)p->spent_ns / (double)p->before_bytes;
        p->left = (double)p->after_bytes / (double)p->before_bytes;
        p->tried = true;
    }
    p->before_bytes = p->after_bytes = p->spent_ns = 0;
    bool packed = p->packs;
    p->packs = migrate_pays_for(p->pack_ns, p->left, p->link_ns);
    p->trial = false;
    if (p->packs != packed)
        p->looks = 0;
}

void migrate_pays_begin(struct migrate_pays *p, uint64_t now_ns, uint64_t held_ns, uint64_t all_bytes)
{
    p->began_ns = now_ns;
    p->held_ns = held_ns;
    p->all_bytes = all_bytes;
    p->wire_bytes = 0;
}

void migrate_pays_packed(struct migrate_pays *p, uint64_t before, uint64_t after, uint64_t spent_ns)
{
    p->before_bytes += before;
    p->after_bytes += after;
    p->spent_ns += spent_ns;
    if (p->trial && p->before_bytes >= MIGRATE_PAYS_TRIAL_BYTES) {
        p->looks = 0;
        judge(p);
    }
}

static void measure_link(struct migrate_pays *p, uint64_t now_ns, uint64_t held_ns, uint64_t all_bytes)
{
    double took = (double)(now_ns - p->began_ns), held = (double)(held_ns - p->held_ns);
    double bytes = (double)(all_bytes - p->all_bytes) + 1;
    if (held * FULL_PART >= took)
        p->link_ns = took / bytes;
    else if (!p->packs)
        p->link_ns = held / bytes;
}

void migrate_pays_look(struct migrate_pays *p, uint64_t now_ns, uint64_t held_ns, uint64_t all_bytes)
{
    if (now_ns - p->began_ns < MIGRATE_PAYS_LOOK_NS)
        return;
    measure_link(p, now_ns, held_ns, all_bytes);
    migrate_pays_begin(p, now_ns, held_ns, all_bytes);
    if (p->trial)
        return; /* it ends by itself */
    judge(p);
    p->looks++;
    /* As fast as pages were compressed: only others could pay, if they took less. */
    bool hopeless = p->link_ns < p->pack_ns * worth;
    unsigned pause = hopeless ? MIGRATE_PAYS_HOPELESS_LOOKS : MIGRATE_PAYS_TRIAL_LOOKS;
    if (p->packs && p->looks > MIGRATE_PAYS_BARE_LOOKS) {
        p->packs = false;
        p->looks = 0;
    } else if (!p->packs && p->link_ns > link_ns_least && (!p->tried || p->looks > pause)) {
        p->trial = true;
    }
}
