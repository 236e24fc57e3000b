/* Scrub: every copy of everything is read and held against its checksum; what is wrong is repaired by the way reads do
 * it. One run of one member at a time; with parity, of all members, and a parity that is not that of its data is made
 * anew. */
#include <errno.h>

#include "replication/volume_core.h"

static void run_read(struct piece *p);

static void finish(struct volume *v, int result)
{
    v->scrub.running = false;
    v->scrub.done(v->scrub.context, result);
}

enum { PARITY_RUN_BYTES = JOURNAL_PAYLOAD_BYTES };

static uint32_t run_bytes(const struct volume *v)
{
    uint32_t max = v->parity.parity ? PARITY_RUN_BYTES : RESYNC_RUN_BYTES;
    return v->geometry.region_bytes < max ? v->geometry.region_bytes : max;
}

static bool next_place(struct volume *v)
{
    const struct geometry *g = &v->geometry;
    for (;; v->scrub.member++) {
        if (v->scrub.member == (v->parity.parity ? 1 : g->members)) {
            v->scrub.member = 0;
            v->scrub.at += run_bytes(v);
        }
        if (v->scrub.at >= g->member_bytes)
            return false;
        if (v->in_sync & member_bit(v->scrub.member) || v->parity.parity)
            return true;
    }
}

static void read_run(struct volume *v)
{
    const struct geometry *g = &v->geometry;
    if (v->dead || v->closing) {
        finish(v, v->dead ? v->dead : -ECANCELED);
        return;
    }
    if (!next_place(v)) {
        finish(v, v->scrub.failed ? -EIO : 0);
        return;
    }
    struct piece *p = piece_get(v, PIECE_READ);
    p->length_bytes = run_bytes(v);
    p->part_count = 1;
    p->parts[0] = (struct geometry_part){region_strand(v, v->scrub.member), v->scrub.at, p->length_bytes};
    p->forced = true;
    p->forced_source = v->scrub.member;
    p->finished = run_read;
    piece_enter(p, v->scrub.at / g->region_bytes);
}

/* A write of nothing: what is there is read, and the parity made of it. */
static void run_mended(struct piece *p)
{
    struct volume *v = p->volume;
    v->scrub.failed |= p->error != 0;
    v->scrub.member++;
    read_run(v);
}

static void mend_run(struct volume *v)
{
    struct piece *p = piece_get(v, PIECE_WRITE);
    v->counts.differing++;
    volume_log(v, "the parity at %llu is not that of the data: it is made anew", (unsigned long long)v->scrub.at);
    p->part_count = 1;
    p->parts[0] = (struct geometry_part){0, v->scrub.at, run_bytes(v)};
    p->finished = run_mended;
    piece_enter(p, v->scrub.at / v->geometry.region_bytes);
}

static void run_read(struct piece *p)
{
    struct volume *v = p->volume;
    if (p->differs && !p->error) {
        mend_run(v);
        return;
    }
    v->scrub.failed |= p->error != 0;
    v->counts.scrubbed_bytes += p->length_bytes;
    v->scrub.member++;
    read_run(v);
}

int volume_scrub(struct blk *volume, void (*done)(void *context, int result), void *context)
{
    struct volume *v = blk_state(volume);
    if (v->scrub.running)
        return -EALREADY;
    v->scrub.running = true;
    v->scrub.failed = false;
    v->scrub.at = 0;
    v->scrub.member = 0;
    v->scrub.done = done;
    v->scrub.context = context;
    read_run(v);
    return 0;
}
