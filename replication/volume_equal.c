/* After an owner fell, members may differ in what was being written: only in regions that were hot. Such a region is
 * made equal before anything is read from it. Also where the members' checksums of a region differ although it was
 * cold.
 *
 * For each block: where the copies differ, one that matches the checksum its member has on record wins, for that is
 * what was there before the write that was cut off; else the member of the lowest index. Both are right answers, as
 * nobody was told that the write is done. In a cold region a block that no copy's checksum vouches for is left alone:
 * it is unreadable, not a matter of choice. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/checksum.h"
#include "replication/volume_core.h"

enum { EQUAL_RUN_BYTES = 256 << 10 };

struct equalizer {
    struct region *region;
    unsigned column;
    uint32_t at, run_bytes; /* in the region */
    member_set holders;
    bool hot;
    uint8_t *data[MEMBERS_MAX];
    struct fan fan;
};

static void next_run(struct volume *v, struct equalizer *e);

static void drop_buffers(struct volume *v, struct equalizer *e)
{
    for (unsigned m = 0; m < v->geometry.members; m++) {
        volume_buffer_put(v, e->data[m], e->run_bytes);
        e->data[m] = NULL;
    }
}

static void finish(struct volume *v, struct equalizer *e, int error)
{
    struct region *r = e->region;
    r->equalizer = NULL;
    free(e);
    if (!error) {
        v->counts.equalized++;
        bit_map_set(&v->unequal, r->number); /* as good as hot: the checksums on the members are not right */
    }
    region_loaded(v, r, error);
}

static uint64_t run_offset(const struct volume *v, const struct equalizer *e)
{
    return v->places.data + e->region->number * v->geometry.region_bytes + e->at;
}

static void run_written(struct fan *fan)
{
    struct equalizer *e = CONTAINER_OF(fan, struct equalizer, fan);
    struct volume *v = fan->volume;
    member_lose_all(v, fan->failed, "a write after a crash", fan->error);
    drop_buffers(v, e);
    if (fan->failed & v->in_sync) {
        finish(v, e, -EIO);
        return;
    }
    e->at += e->run_bytes;
    next_run(v, e);
}

static bool vouched(const struct volume *v, const struct equalizer *e, unsigned member, uint32_t block, uint32_t sum)
{
    const uint8_t *sums = e->region->loaded + (size_t)member * v->places.sum_stride;
    uint32_t recorded;
    memcpy(&recorded, sums + (e->at / BLOCK_BYTES + block) * sizeof recorded, sizeof recorded);
    return recorded == sum;
}

/* Of the members in `have`: whose block is to be everybody's; -1: nobody's. */
static int winner(const struct volume *v, const struct equalizer *e, uint32_t block, member_set have, uint32_t *sum)
{
    int first = -1;
    for (unsigned m = 0; m < v->geometry.members; m++) {
        if (!(have & member_bit(m)))
            continue;
        uint32_t s = htobe32(checksum_block(e->data[m] + (size_t)block * BLOCK_BYTES));
        if (vouched(v, e, m, block, s)) {
            *sum = s;
            return (int)m;
        }
        if (first < 0) {
            first = (int)m;
            *sum = s;
        }
    }
    return e->hot ? first : -1;
}

static void run_read(struct fan *fan)
{
    struct equalizer *e = CONTAINER_OF(fan, struct equalizer, fan);
    struct volume *v = fan->volume;
    member_lose_all(v, fan->failed, "a read after a crash", fan->error);
    member_set have = e->holders & v->in_sync & ~fan->failed;
    if (!have || fan->failed & v->in_sync) {
        drop_buffers(v, e);
        finish(v, e, -EIO);
        return;
    }
    uint32_t *sums = region_sums(e->region, v, e->column) + e->at / BLOCK_BYTES;
    fan_begin(&e->fan, v, run_written);
    for (uint32_t b = 0; b < e->run_bytes / BLOCK_BYTES; b++) {
        uint64_t place = (uint64_t)b * BLOCK_BYTES;
        uint32_t sum;
        int best = winner(v, e, b, have, &sum);
        if (best >= 0)
            sums[b] = sum;
        for (unsigned m = 0; m < v->geometry.members && best >= 0; m++)
            if (have & member_bit(m) && memcmp(e->data[m] + place, e->data[best] + place, BLOCK_BYTES) != 0) {
                v->counts.differing++;
                fan_add(&e->fan, m, BLK_WRITE, 0, run_offset(v, e) + place, e->data[best] + place, BLOCK_BYTES);
            }
    }
    fan_end(&e->fan);
}

static void next_run(struct volume *v, struct equalizer *e)
{
    if (e->at == v->geometry.region_bytes) {
        e->at = 0;
        e->column++;
    }
    if (e->column == geometry_columns(&v->geometry)) {
        finish(v, e, 0);
        return;
    }
    e->run_bytes = v->geometry.region_bytes < EQUAL_RUN_BYTES ? v->geometry.region_bytes : EQUAL_RUN_BYTES;
    e->holders = geometry_holders(&v->geometry, e->column) & v->in_sync & e->region->fan.asked & ~e->region->fan.failed;
    fan_begin(&e->fan, v, run_read);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (e->holders & member_bit(m)) {
            e->data[m] = volume_buffer(v, e->run_bytes);
            fan_add(&e->fan, m, BLK_READ, 0, run_offset(v, e), e->data[m], e->run_bytes);
        }
    fan_end(&e->fan);
}

void equalize(struct volume *v, struct region *r)
{
    struct equalizer *e = calloc(1, sizeof *e);
    if (!e) {
        region_loaded(v, r, -ENOMEM);
        return;
    }
    e->region = r;
    e->hot = bit_map_test(&v->unequal, r->number);
    r->equalizer = e;
    next_run(v, e);
}
