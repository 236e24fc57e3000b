/* Filling members that missed something, one at a time, region by region.
 *
 *     kick -> next region with missed granules -> run of granules copied (a piece: read, checked, written) -> pause
 *       ^                                            ^  |                                                       |
 *       |                                            '--+-------------------------------------------------------'
 *       '-- granules no longer missed <- FLUSH <- its checksums <- all of the region's are copied
 *
 *     nothing missed any more -> it has the maps and a flush after them -> it counts as in sync (volume_change)
 *
 * New writes reach the member all the while, so what is left only shrinks. It gives way: after each run it pauses for
 * three times as long as that took if the foreground did anything meanwhile; a rate bounds it further. */
#include <errno.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/volume_core.h"

enum { YIELD = 3, PARITY_RUN_BYTES = 256 << 10 /* of each member: the image has them all */ };

#define SECOND_NS UINT64_C(1000000000)

static void step(struct volume *v);

void resync_kick(struct volume *v)
{
    if (!v->resync.running && v->receiving && !v->dead && !v->closing)
        step(v);
}

static void stop(struct volume *v)
{
    v->resync.running = false;
    v->resync.returned = 0;
}

static bool still_filled(const struct volume *v)
{
    const struct member *m = &v->members[v->resync.member];
    return v->receiving & member_bit(m->index) && m->counts.returned == v->resync.returned && !v->dead && !v->closing;
}

static void go_on(struct volume *v)
{
    v->resync.running = false;
    resync_kick(v);
}

/* ---- the end of a member's filling ---- */

static void join_over(struct fan *fan)
{
    struct volume *v = fan->volume;
    struct member *m = &v->members[v->resync.member];
    v->resync.joining = false;
    member_lose_all(v, fan->failed, "a record in the journal", fan->error);
    if (fan->failed)
        cool_soil_missed(v);
    if (!v->resync.ready) { /* at a tick again */
        v->resync.running = false;
        return;
    }
    if (!fan->failed && still_filled(v) && !v->missed[m->index].set && change_settled(v)) {
        v->receiving &= ~member_bit(m->index);
        v->in_sync |= member_bit(m->index);
        m->role = ROLE_IN_SYNC;
        m->backoff_ns = 0;
        volume_log(v, "member %u has everything", m->index);
        change_kick(v);
    }
    stop(v);
    resync_kick(v);
}

/* Of the journal, what was recorded before the member was here must not be done again once it counts: it knows nothing
 * of it. The floor is above that, and a record of its own makes that known. */
static void join_flushed(struct fan *fan)
{
    struct volume *v = fan->volume;
    const struct member *m = &v->members[v->resync.member];
    bool bad = member_judge_flush(v, fan);
    if (bad)
        cool_soil_missed(v);
    else
        journal_flush_end(v, v->resync.journal);
    fan_begin(&v->resync.fan, v, join_over);
    v->resync.ready =
        !v->parity.parity || (!bad && v->journal.floor >= m->journal_from && journal_add_barrier(v, &v->resync.fan));
    fan_end(&v->resync.fan);
}

static void join_written(struct fan *fan)
{
    struct volume *v = fan->volume;
    volume_buffer_put(v, v->resync.maps, v->resync.maps_bytes);
    member_lose_all(v, fan->failed, "the maps", fan->error);
    if (fan->failed)
        cool_soil_missed(v);
    v->resync.journal = journal_flush_begin(v);
    /* The sources, too: one that lost what was not flushed must say so before what it had counts twice. */
    fan_begin(&v->resync.fan, v, join_flushed);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (volume_targets(v) & member_bit(m))
            fan_add(&v->resync.fan, m, BLK_FLUSH, 0, 0, NULL, 0);
    fan_end(&v->resync.fan);
}

static void join(struct volume *v)
{
    const struct member *m = &v->members[v->resync.member];
    /* the round, the change, what cools, what grows, or a tick kicks us again */
    if (v->round.ended < m->round || !change_settled(v) || v->cool.running || v->grow.req) {
        v->resync.running = false;
        region_round(v);
        return;
    }
    v->resync.joining = true;
    fan_begin(&v->resync.fan, v, join_written);
    cool_add_missed(v, &v->resync.fan, &v->resync.maps, &v->resync.maps_bytes);
    fan_end(&v->resync.fan);
}

/* ---- the end of a region ---- */

static void region_flushed(struct fan *fan)
{
    struct volume *v = fan->volume;
    struct region *r = region_peek(v, v->resync.region);
    r->pins--;
    member_judge_flush(v, fan);
    if (still_filled(v))
        for (uint64_t left = v->resync.taken; left; left &= left - 1)
            bit_map_clear(&v->missed[v->resync.member], v->resync.region * GRANULES + (unsigned)__builtin_ctzll(left));
    v->resync.taken = 0;
    piece_kick(r);
    go_on(v);
}

static void sums_written(struct fan *fan)
{
    struct volume *v = fan->volume;
    volume_buffer_put(v, v->resync.maps, v->resync.maps_bytes);
    member_lose_all(v, fan->failed, "checksums", fan->error);
    fan_begin(&v->resync.fan, v, region_flushed);
    if (still_filled(v))
        fan_add(&v->resync.fan, v->resync.member, BLK_FLUSH, 0, 0, NULL, 0);
    fan_end(&v->resync.fan);
}

/* Pinned: newer checksums, of a region that cools meanwhile, must not be overtaken by these. */
static void end_region(struct volume *v, struct region *r)
{
    unsigned m = v->resync.member;
    r->pins++;
    v->resync.maps_bytes = v->places.sum_stride;
    v->resync.maps = volume_buffer(v, v->resync.maps_bytes);
    memcpy(v->resync.maps, region_sums(r, v, region_strand(v, m)), v->resync.maps_bytes);
    fan_begin(&v->resync.fan, v, sums_written);
    fan_add(&v->resync.fan, m, BLK_WRITE, 0, v->places.sums + r->number * v->places.sum_stride, v->resync.maps,
            v->resync.maps_bytes);
    fan_end(&v->resync.fan);
}

/* ---- checksums that a region in memory does not have (parity) ---- */

static void own_sums_read(struct fan *fan)
{
    struct volume *v = fan->volume;
    struct region *r = region_peek(v, v->resync.region);
    unsigned m = v->resync.member;
    const uint32_t *from = (const uint32_t *)(const void *)v->resync.maps;
    uint32_t *to = region_sums(r, v, m), per_granule = geometry_granule_bytes(&v->geometry) / BLOCK_BYTES;
    member_lose_all(v, fan->failed, "reading checksums", fan->error);
    if (!fan->failed && still_filled(v)) {
        for (uint32_t i = 0; i < v->geometry.region_bytes / BLOCK_BYTES; i++)
            if (!bit_map_test(&v->missed[m], r->number * GRANULES + i / per_granule))
                to[i] = from[i];
        r->lacks &= ~member_bit(m);
    }
    r->pins--;
    volume_buffer_put(v, v->resync.maps, v->resync.maps_bytes);
    piece_kick(r);
    go_on(v);
}

/* What the member has on record is right but for what it missed, and that is copied with its checksums. */
static void read_own_sums(struct volume *v, struct region *r)
{
    unsigned m = v->resync.member;
    v->resync.region = r->number;
    v->resync.maps_bytes = v->places.sum_stride;
    v->resync.maps = volume_buffer(v, v->resync.maps_bytes);
    r->pins++;
    fan_begin(&v->resync.fan, v, own_sums_read);
    fan_add(&v->resync.fan, m, BLK_READ, 0, v->places.sums + r->number * v->places.sum_stride, v->resync.maps,
            v->resync.maps_bytes);
    fan_end(&v->resync.fan);
}

/* A region that was loaded, or is being loaded, without the member. */
static struct region *loaded_without(struct volume *v)
{
    struct region *r;
    member_set bit = member_bit(v->resync.member);
    TAILQ_FOREACH (r, &v->lru, lru)
        if (v->parity.parity && (r->state == REGION_LOADING ? !(r->fan.asked & bit) : (r->lacks & bit) != 0))
            return r;
    return NULL;
}

/* ---- runs ---- */

static void paused(struct loop_timer *timer)
{
    struct volume *v = CONTAINER_OF(timer, struct volume, resync.pause);
    go_on(v);
}

static uint64_t pause_ns(const struct volume *v)
{
    uint64_t now_ns = loop_now_ns(v->loop), took_ns = now_ns - v->resync.run_begin_ns;
    uint64_t pause = v->foreground_ns > v->resync.run_begin_ns ? YIELD * took_ns : 0;
    uint64_t due = v->resync.bps ? v->resync.run_bytes * SECOND_NS / v->resync.bps : 0;
    due = due > took_ns ? due - took_ns : 0;
    return v->tick_ns ? (due > pause ? due : pause) : 0;
}

static void run_copied(struct piece *p)
{
    struct volume *v = p->volume;
    uint64_t pause = pause_ns(v);
    struct region *r = region_peek(v, v->resync.region);
    if (r)
        r->filled |= member_bit(v->resync.member);
    if (!p->error && still_filled(v))
        v->resync.taken |= region_granules(v, p->parts[0].offset, p->length_bytes);
    v->resync.done_bytes += p->length_bytes;
    if (p->error && still_filled(v)) { /* unreadable on all others: the rest is worth having nevertheless */
        volume_log(v, "member %u cannot be filled at %llu: nobody has it right", v->resync.member,
                   (unsigned long long)p->parts[0].offset);
        pause = pause > SECOND_NS ? pause : v->tick_ns ? SECOND_NS : 0;
        if (!pause) { /* without a clock: at the next tick */
            v->resync.running = false;
            return;
        }
    }
    if (pause && !v->closing)
        loop_timer_set(v->loop, &v->resync.pause, loop_now_ns(v->loop) + pause);
    else
        go_on(v);
}

static void copy_run(struct volume *v, unsigned first, uint64_t wanted)
{
    uint32_t granule = geometry_granule_bytes(&v->geometry);
    unsigned count = 1, m = v->resync.member;
    uint32_t max = v->parity.parity ? PARITY_RUN_BYTES : RESYNC_RUN_BYTES;
    while (first + count < GRANULES && wanted >> (first + count) & 1 && (count + 1) * granule <= max)
        count++;
    struct piece *p = piece_get(v, PIECE_RESYNC);
    p->target = member_bit(m);
    p->finished = run_copied;
    p->length_bytes = count * granule;
    p->part_count = 1;
    p->parts[0] = (struct geometry_part){
        region_strand(v, m), v->resync.region * v->geometry.region_bytes + (uint64_t)first * granule, p->length_bytes};
    v->resync.run_begin_ns = loop_now_ns(v->loop);
    v->resync.run_bytes = p->length_bytes;
    piece_enter(p, v->resync.region);
}

static uint64_t wanted_of(const struct volume *v, uint64_t region)
{
    uint64_t wanted = 0;
    for (unsigned g = 0; g < GRANULES; g++)
        if (bit_map_test(&v->missed[v->resync.member], region * GRANULES + g))
            wanted |= UINT64_C(1) << g;
    return wanted;
}

static bool next_region(struct volume *v)
{
    const struct bit_map *missed = &v->missed[v->resync.member];
    uint64_t bit = bit_map_next(missed, v->resync.region * GRANULES);
    if (bit == missed->bits)
        bit = bit_map_next(missed, 0);
    if (bit == missed->bits)
        return false;
    v->resync.region = bit / GRANULES;
    return true;
}

static void choose_member(struct volume *v)
{
    if (v->receiving & member_bit(v->resync.member) &&
        v->members[v->resync.member].counts.returned == v->resync.returned)
        return;
    v->resync.member = (unsigned)__builtin_ctz(v->receiving);
    v->resync.returned = v->members[v->resync.member].counts.returned;
    v->resync.region = v->resync.taken = v->resync.done_bytes = 0;
    v->resync.begin_ns = loop_now_ns(v->loop);
}

static void step(struct volume *v)
{
    choose_member(v);
    v->resync.running = true;
    struct region *r = NULL;
    if (!v->resync.taken && !next_region(v) && !(r = loaded_without(v))) {
        join(v);
        return;
    }
    r = r ? r : region_get(v, v->resync.region);
    if (!r || r->state == REGION_LOADING) { /* region_loaded() or a tick kicks us again */
        v->resync.running = false;
        return;
    }
    if (v->parity.parity && !(r->filled & member_bit(v->resync.member)))
        v->resync.taken = 0; /* the region was forgotten meanwhile, and with it the checksums of what was copied */
    uint64_t wanted = wanted_of(v, v->resync.region) & ~v->resync.taken;
    if (r->lacks & member_bit(v->resync.member))
        read_own_sums(v, r);
    else if (wanted)
        copy_run(v, (unsigned)__builtin_ctzll(wanted), wanted);
    else
        end_region(v, r);
}

void resync_init(struct volume *v)
{
    v->resync.pause.fire = paused;
}

void resync_stop(struct volume *v)
{
    if (v->resync.pause.slot) {
        loop_timer_clear(v->loop, &v->resync.pause);
        v->resync.running = false;
    }
}
