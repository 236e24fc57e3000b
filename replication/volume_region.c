/* Regions: what the owner remembers of a range of the members' data.
 *
 *                .--- equalize (hot when the last owner fell, or the members' checksums differ) ---.
 *                |                                                                                 v
 *     (none) -> LOADING -> COLD --first write--> HEATING --bit durable--> HOT --idle--> COOLING -> COLD
 *                  ^         |                                                              |
 *                  |         '-- forgotten when others need the room                        '-- a member failed: HOT
 *                  '-- reading the checksums failed: again when the volume serves again
 *
 * A hot region's checksums are valid in memory only. The bits of several regions that heat at about the same time are
 * made durable by one round of writes. `stored` is what every member's map has at the least: a bit is taken out when a
 * round that clears it begins, and put in when one that sets it has ended. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/volume_core.h"

unsigned region_strand(const struct volume *v, unsigned member)
{
    return geometry_parity(&v->geometry) ? member : member / geometry_copies(&v->geometry);
}

unsigned region_strands(const struct volume *v)
{
    return geometry_parity(&v->geometry) ? v->geometry.members : geometry_columns(&v->geometry);
}

uint32_t *region_sums(const struct region *r, const struct volume *v, unsigned strand)
{
    return (uint32_t *)(void *)(r->sums + (size_t)strand * v->places.sum_stride);
}

uint64_t region_granules(const struct volume *v, uint64_t offset, uint64_t length_bytes)
{
    uint32_t granule = geometry_granule_bytes(&v->geometry);
    uint64_t within = offset % v->geometry.region_bytes;
    unsigned first = (unsigned)(within / granule), last = (unsigned)((within + length_bytes - 1) / granule);
    return (last == 63 ? UINT64_MAX : (UINT64_C(1) << (last + 1)) - 1) & ~((UINT64_C(1) << first) - 1);
}

/* ---- loading ---- */

enum { HEAT_AHEAD = 8 };

static void load(struct volume *v, struct region *r);

/* Of the members of one column: whose sums are all alike become the region's. */
bool region_adopt_sums(struct volume *v, struct region *r)
{
    bool alike = true;
    int first[MEMBERS_MAX];
    member_set whose = v->parity.parity ? volume_targets(v) : v->in_sync;
    memset(first, -1, sizeof first);
    r->lacks = v->parity.parity ? geometry_all(&v->geometry) & ~(whose & r->fan.asked & ~r->fan.failed) : 0;
    for (unsigned m = 0; m < v->geometry.members; m++) {
        if (!(whose & r->fan.asked & ~r->fan.failed & member_bit(m)))
            continue;
        unsigned strand = region_strand(v, m);
        const uint8_t *sums = r->loaded + (size_t)m * v->places.sum_stride;
        if (first[strand] < 0) {
            first[strand] = (int)m;
            memcpy(region_sums(r, v, strand), sums, v->places.sum_stride);
        } else {
            alike &= memcmp(region_sums(r, v, strand), sums, v->places.sum_stride) == 0;
        }
    }
    return alike;
}

static size_t loaded_bytes(const struct volume *v)
{
    return (size_t)v->places.sum_stride * v->geometry.members;
}

void region_loaded(struct volume *v, struct region *r, int error)
{
    volume_buffer_put(v, r->loaded, loaded_bytes(v));
    r->loaded = NULL;
    r->pins--;
    r->error = error;
    if (!error) {
        bool was_hot = bit_map_test(&v->unequal, r->number);
        bit_map_clear(&v->unequal, r->number);
        r->state = REGION_COLD;
        r->all_touched = was_hot;
        if (was_hot)
            region_heat(v, r);
    }
    piece_kick(r);
    resync_kick(v);
}

static void sums_read(struct fan *fan)
{
    struct region *r = CONTAINER_OF(fan, struct region, fan);
    struct volume *v = fan->volume;
    member_lose_all(v, fan->failed, "reading checksums", fan->error);
    bool enough = geometry_can_serve(&v->geometry, v->in_sync & fan->asked & ~fan->failed);
    bool alike = enough && region_adopt_sums(v, r);
    if (!enough)
        region_loaded(v, r, -EIO);
    else if (!alike || bit_map_test(&v->unequal, r->number))
        v->parity.parity ? recount(v, r) : equalize(v, r);
    else
        region_loaded(v, r, 0);
}

static void load(struct volume *v, struct region *r)
{
    r->state = REGION_LOADING;
    r->error = 0;
    r->pins++;
    r->loaded = volume_buffer(v, loaded_bytes(v));
    fan_begin(&r->fan, v, sums_read);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if ((v->parity.parity ? volume_targets(v) : v->in_sync) & member_bit(m))
            fan_add(&r->fan, m, BLK_READ, 0, v->places.sums + r->number * v->places.sum_stride,
                    r->loaded + (size_t)m * v->places.sum_stride, v->places.sum_stride);
    fan_end(&r->fan);
}

/* ---- the table ---- */

static struct region_list *bucket_of(struct volume *v, uint64_t number)
{
    return &v->buckets[number % REGION_BUCKETS];
}

struct region *region_peek(struct volume *v, uint64_t number)
{
    struct region *r;
    TAILQ_FOREACH (r, bucket_of(v, number), hash)
        if (r->number == number)
            return r;
    return NULL;
}

static bool can_go(const struct region *r)
{
    return r->state == REGION_COLD && !r->pins && TAILQ_EMPTY(&r->active) && TAILQ_EMPTY(&r->waiting);
}

static struct region *room(struct volume *v)
{
    struct region *r;
    if (v->region_count >= v->region_max)
        TAILQ_FOREACH (r, &v->lru, lru)
            if (can_go(r)) {
                TAILQ_REMOVE(&v->lru, r, lru);
                TAILQ_REMOVE(bucket_of(v, r->number), r, hash);
                return r;
            }
    r = calloc(1, sizeof *r);
    if (r)
        r->sums = malloc((size_t)v->places.sum_stride * region_strands(v));
    if (!r || !r->sums) {
        free(r);
        return NULL;
    }
    v->region_count++;
    return r;
}

struct region *region_get(struct volume *v, uint64_t number)
{
    struct region *r = region_peek(v, number);
    if (r) {
        TAILQ_REMOVE(&v->lru, r, lru);
        TAILQ_INSERT_TAIL(&v->lru, r, lru);
        return r;
    }
    r = room(v);
    if (!r)
        return NULL;
    uint8_t *sums = r->sums;
    *r = (struct region){.number = number, .sums = sums};
    TAILQ_INIT(&r->active);
    TAILQ_INIT(&r->waiting);
    TAILQ_INSERT_TAIL(&v->lru, r, lru);
    TAILQ_INSERT_HEAD(bucket_of(v, number), r, hash);
    load(v, r);
    return r;
}

void region_retry(struct volume *v)
{
    struct region *r;
    TAILQ_FOREACH (r, &v->lru, lru)
        if (r->state == REGION_LOADING && r->error)
            load(v, r);
}

void region_free_all(struct volume *v)
{
    struct region *r;
    while ((r = TAILQ_FIRST(&v->lru))) {
        TAILQ_REMOVE(&v->lru, r, lru);
        free(r->sums);
        free(r);
    }
}

/* ---- the round ---- */

static bool dirty(const struct volume *v)
{
    for (size_t b = 0; b < bit_map_blocks(&v->hot); b++)
        if (v->hot.dirty[b])
            return true;
    return false;
}

static void now_hot(struct volume *v, struct region *r)
{
    r->state = REGION_HOT;
    r->pins--;
    v->hot_count++;
    memset(r->touched, r->all_touched ? 0xff : 0, sizeof r->touched);
    r->all_touched = false;
    r->written_ns = loop_now_ns(v->loop);
    piece_kick(r);
    if (v->hot_count > v->hot_max)
        cool_some(v, false);
}

static void round_over(struct fan *fan)
{
    struct volume *v = fan->volume;
    struct region *r;
    struct region_queue now = STAILQ_HEAD_INITIALIZER(now);
    member_lose_all(v, fan->failed, "writing the map of hot regions", fan->error);
    bool stored = !(fan->failed & v->in_sync); /* who is still needed has it */
    v->round.running = false;
    if (stored)
        v->round.ended = v->round.begun;
    if (!stored) { /* again, when the volume serves again */
        bit_map_soil(&v->hot);
        STAILQ_CONCAT(&v->round.now, &v->round.next);
        STAILQ_CONCAT(&v->round.next, &v->round.now);
        return;
    }
    for (size_t b = 0; b < bit_map_blocks(&v->hot); b++)
        if (v->stored.dirty[b])
            memcpy(v->stored.sectors + b * BIT_MAP_BLOCK_BYTES, v->round.buffer + b * BIT_MAP_BLOCK_BYTES,
                   BIT_MAP_BLOCK_BYTES);
    STAILQ_CONCAT(&now, &v->round.now);
    while ((r = STAILQ_FIRST(&now))) {
        STAILQ_REMOVE_HEAD(&now, heat);
        now_hot(v, r);
    }
    if (!STAILQ_EMPTY(&v->round.next))
        region_round(v);
    resync_kick(v);
}

void region_round(struct volume *v)
{
    if (v->round.running || (STAILQ_EMPTY(&v->round.next) && !dirty(v)))
        return;
    v->round.running = true;
    v->round.begun++;
    v->counts.rounds++;
    STAILQ_CONCAT(&v->round.now, &v->round.next);
    fan_begin(&v->round.fan, v, round_over);
    for (size_t b = 0; b < bit_map_blocks(&v->hot); b++) {
        v->stored.dirty[b] = v->hot.dirty[b];
        if (!v->hot.dirty[b])
            continue;
        uint8_t *copy = v->round.buffer + b * BIT_MAP_BLOCK_BYTES;
        uint8_t *stored = v->stored.sectors + b * BIT_MAP_BLOCK_BYTES;
        memcpy(copy, bit_map_seal(&v->hot, b), BIT_MAP_BLOCK_BYTES);
        for (size_t i = 0; i < BIT_MAP_BLOCK_BYTES; i++)
            stored[i] &= copy[i];
        for (unsigned m = 0; m < v->geometry.members; m++)
            if (volume_targets(v) & member_bit(m))
                fan_add(&v->round.fan, m, BLK_WRITE, BLK_FUA, v->places.hot + b * BIT_MAP_BLOCK_BYTES, copy,
                        BIT_MAP_BLOCK_BYTES);
    }
    fan_end(&v->round.fan);
}

/* A stream that comes from the region before will want those behind: one round for several of them. */
static void heat_ahead(struct volume *v, uint64_t number)
{
    if (!number || !bit_map_test(&v->stored, number - 1) || v->hot_count + HEAT_AHEAD > v->hot_max)
        return;
    for (uint64_t n = number + 1; n <= number + HEAT_AHEAD && n < v->hot.bits; n++)
        bit_map_set(&v->hot, n);
    v->ahead_ns = loop_now_ns(v->loop);
}

/* What was heated ahead and not written after all. */
void region_forget_ahead(struct volume *v)
{
    if (!v->ahead_ns || loop_now_ns(v->loop) - v->ahead_ns < v->cool_ns)
        return;
    v->ahead_ns = 0;
    for (uint64_t n = bit_map_next(&v->hot, 0); n < v->hot.bits; n = bit_map_next(&v->hot, n + 1)) {
        const struct region *r = region_peek(v, n);
        if ((!r || r->state == REGION_COLD) && !bit_map_test(&v->unequal, n))
            bit_map_clear(&v->hot, n);
    }
}

void region_heat(struct volume *v, struct region *r)
{
    bit_map_set(&v->hot, r->number);
    r->state = REGION_HEATING;
    r->pins++;
    if (bit_map_test(&v->stored, r->number)) {
        now_hot(v, r);
        return;
    }
    heat_ahead(v, r->number);
    STAILQ_INSERT_TAIL(&v->round.next, r, heat);
    region_round(v);
}
