/* Hot regions become cold again when nobody writes to them any more, or when there are too many.
 *
 *     pick -> checksums and maps of missed granules to every member -> FLUSH -> COLD; the hot bit is cleared in memory,
 *                                                                                 and on the members some time later
 *
 * If a member fails on the way the regions stay hot: what it missed has to be on record first (invariant 2). */
#include <errno.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/volume_core.h"

enum { COOL_HEADROOM = 8 }; /* a part of hot_max that is cooled at once when it is full */

void cool_add_missed(struct volume *v, struct fan *fan, uint8_t **maps, size_t *maps_bytes)
{
    size_t count = 0;
    for (unsigned m = 0; m < v->geometry.members; m++)
        for (size_t b = 0; b < bit_map_blocks(&v->missed[m]); b++)
            count += v->missed[m].dirty[b];
    *maps_bytes = count * BIT_MAP_BLOCK_BYTES;
    *maps = count ? volume_buffer(v, *maps_bytes) : NULL;
    uint8_t *copy = *maps;
    for (unsigned m = 0; m < v->geometry.members; m++)
        for (size_t b = 0; b < bit_map_blocks(&v->missed[m]); b++) {
            if (!v->missed[m].dirty[b])
                continue;
            memcpy(copy, bit_map_seal(&v->missed[m], b), BIT_MAP_BLOCK_BYTES);
            for (unsigned to = 0; to < v->geometry.members; to++)
                if (volume_targets(v) & member_bit(to))
                    fan_add(fan, to, BLK_WRITE, 0, v->places.missed[m] + b * BIT_MAP_BLOCK_BYTES, copy,
                            BIT_MAP_BLOCK_BYTES);
            copy += BIT_MAP_BLOCK_BYTES;
        }
}

/* ---- the steps ---- */

/* Who waits may heat its region at once, which asks for others to be cooled: not before the last one is kicked. */
static void end(struct volume *v, enum region_state state)
{
    for (unsigned i = 0; i < v->cool.count; i++) {
        struct region *r = v->cool.regions[i];
        r->state = state;
        r->pins--;
        if (state == REGION_COLD) {
            v->hot_count--;
            v->counts.cooled++;
            bit_map_clear(&v->hot, r->number);
        }
    }
    for (unsigned i = 0; i < v->cool.count; i++)
        piece_kick(v->cool.regions[i]);
    v->cool.running = false;
    resync_kick(v);
    if (state == REGION_COLD && v->hot_count > v->hot_max)
        cool_some(v, false);
}

static bool failed(struct volume *v, struct fan *fan, const char *what)
{
    member_lose_all(v, fan->failed, what, fan->error);
    return fan->failed || !change_settled(v);
}

static void flushed(struct fan *fan)
{
    struct volume *v = fan->volume;
    bool bad = member_judge_flush(v, fan);
    if (!bad)
        journal_flush_end(v, v->cool.journal);
    bad |= !change_settled(v);
    bad |= (v->cool.targets & ~volume_targets(v)) != 0; /* what it misses now was not in the maps that were written */
    if (bad)
        cool_soil_missed(v);
    end(v, bad ? REGION_HOT : REGION_COLD);
}

/* What was written may not be there: it is written again. */
void cool_soil_missed(struct volume *v)
{
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (!(v->in_sync & member_bit(m)))
            bit_map_soil(&v->missed[m]);
}

static void written(struct fan *fan)
{
    struct volume *v = fan->volume;
    volume_buffer_put(v, v->cool.maps, v->cool.maps_bytes);
    if (failed(v, fan, "checksums")) {
        cool_soil_missed(v);
        end(v, REGION_HOT);
        return;
    }
    v->cool.journal = journal_flush_begin(v);
    fan_begin(&v->cool.fan, v, flushed);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (volume_targets(v) & member_bit(m))
            fan_add(&v->cool.fan, m, BLK_FLUSH, 0, 0, NULL, 0);
    fan_end(&v->cool.fan);
}

static bool idle(const struct region *r)
{
    return r->state == REGION_HOT && !r->pins && TAILQ_EMPTY(&r->active) && TAILQ_EMPTY(&r->waiting);
}

static void pick(struct volume *v, bool all)
{
    uint64_t now_ns = loop_now_ns(v->loop);
    unsigned least = v->hot_max - v->hot_max / COOL_HEADROOM;
    struct region *r;
    v->cool.count = 0;
    TAILQ_FOREACH (r, &v->lru, lru) {
        bool full = v->hot_count - v->cool.count > least;
        if (idle(r) && (all || full || now_ns - r->written_ns >= v->cool_ns))
            v->cool.regions[v->cool.count++] = r;
        if (v->cool.count == COOL_BATCH)
            return;
    }
}

void cool_some(struct volume *v, bool all)
{
    /* after a flush that failed nobody knows what is on the members: the next owner is to look at what is hot now */
    if (v->cool.running || v->resync.joining || v->grow.running || v->dead || v->flush_error || !change_settled(v))
        return;
    pick(v, all);
    if (!v->cool.count)
        return;
    v->cool.running = true;
    v->cool.targets = volume_targets(v);
    fan_begin(&v->cool.fan, v, written);
    for (unsigned i = 0; i < v->cool.count; i++) {
        struct region *r = v->cool.regions[i];
        r->state = REGION_COOLING;
        r->pins++;
        for (unsigned m = 0; m < v->geometry.members; m++)
            if (volume_targets(v) & ~r->lacks & member_bit(m))
                fan_add(&v->cool.fan, m, BLK_WRITE, 0, v->places.sums + r->number * v->places.sum_stride,
                        region_sums(r, v, region_strand(v, m)), v->places.sum_stride);
    }
    cool_add_missed(v, &v->cool.fan, &v->cool.maps, &v->cool.maps_bytes);
    fan_end(&v->cool.fan);
}
