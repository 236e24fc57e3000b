/* The parity layouts' part of what happens after an owner fell: a region that was hot has no checksums on record. The
 * journal was done again, so its stripes are whole; what the blocks are is read, and their checksums are made anew.
 *
 * Where a stripe is not whole nevertheless, something rotted. If all blocks but so few as can be solved match what is
 * on record for them, these few are made from the rest; else the parity follows the data. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/checksum.h"
#include "replication/volume_core.h"

enum { RUN_BYTES = 64 << 10 };

static void next_run(struct piece *p);

static void finish(struct piece *p, int error)
{
    struct volume *v = p->volume;
    struct region *r = p->region;
    p->region = NULL; /* it was never in the region's lists */
    v->counts.equalized += !error;
    region_loaded(v, r, error);
    piece_finish(p, error);
}

static void run_over(struct piece *p)
{
    image_put(p);
    p->lock_from = p->lock_to;
    if (p->lock_from % p->volume->geometry.region_bytes)
        next_run(p);
    else
        finish(p, 0);
}

static void mended(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    member_lose_all(p->volume, fan->failed, "a write after a crash", fan->error);
    if (fan->failed & p->volume->in_sync)
        finish(p, -EIO);
    else
        run_over(p);
}

/* Members whose block of the row is what is on record for it. */
static member_set vouched(const struct piece *p, unsigned row)
{
    const struct volume *v = p->volume;
    uint64_t block = p->lock_from % v->geometry.region_bytes / BLOCK_BYTES + row;
    member_set set = 0;
    for (unsigned m = 0; m < v->geometry.members; m++) {
        uint32_t recorded;
        memcpy(&recorded, p->region->loaded + (size_t)m * v->places.sum_stride + block * sizeof recorded, 4);
        if (p->wrote & member_bit(m) && recorded == htobe32(checksum_block(image_block(p, m, row))))
            set |= member_bit(m);
    }
    return set;
}

/* A mark says only that nothing can be had there. */
static member_set readable(const struct piece *p, unsigned row)
{
    member_set set = p->wrote;
    for (unsigned m = 0; m < p->volume->geometry.members; m++)
        if (set & member_bit(m) && image_is_lost(p->volume, image_block(p, m, row)))
            set &= ~member_bit(m);
    return set;
}

static bool is_whole(const struct piece *p, uint32_t there, uint8_t *const *vectors)
{
    struct volume *v = p->volume;
    uint32_t rest = there;
    for (unsigned i = 0; i < v->parity.data; i++)
        rest &= rest - 1;
    bool whole = true;
    for (; rest; rest &= rest - 1) { /* what the first ones say that the others are */
        unsigned i = (unsigned)__builtin_ctz(rest);
        uint8_t *try[MEMBERS_MAX];
        memcpy(try, vectors, sizeof try);
        try[i] = p->buffer;
        parity_solve(&v->parity, BLOCK_BYTES, there & ~(UINT32_C(1) << i), UINT32_C(1) << i, try);
        whole &= memcmp(p->buffer, vectors[i], BLOCK_BYTES) == 0;
    }
    return whole;
}

static void mend(struct piece *p, unsigned row, uint32_t there, uint8_t **vectors)
{
    struct volume *v = p->volume;
    uint32_t right = there & image_vectors(p, row, vouched(p, row)), data = (UINT32_C(1) << v->parity.data) - 1, wrong;
    if ((unsigned)__builtin_popcount(right) >= v->parity.data) {
        wrong = there & ~right;
        parity_solve(&v->parity, BLOCK_BYTES, right, wrong, vectors);
    } else if ((there & data) == data) {
        wrong = there & ~data;
        parity_encode(&v->parity, BLOCK_BYTES, vectors);
    } else {
        return;
    }
    v->counts.differing++;
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (image_vectors(p, row, member_bit(m)) & wrong)
            fan_add(&p->fan, m, BLK_WRITE, 0, v->places.data + p->lock_from + (uint64_t)row * BLOCK_BYTES,
                    image_block(p, m, row), BLOCK_BYTES);
}

static void run_read(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    struct volume *v = p->volume;
    uint64_t first = p->lock_from % v->geometry.region_bytes / BLOCK_BYTES;
    member_lose_all(v, fan->failed, "a read after a crash", fan->error);
    p->wrote = fan->asked & v->in_sync;
    if (fan->failed & v->in_sync || !geometry_can_serve(&v->geometry, p->wrote)) {
        finish(p, -EIO);
        return;
    }
    fan_begin(&p->fan, v, mended);
    for (unsigned row = 0; row < image_rows(p); row++) {
        uint8_t *vectors[MEMBERS_MAX];
        uint32_t there = image_vectors(p, row, readable(p, row));
        image_run(p, row, row + 1, vectors);
        if (!is_whole(p, there, vectors))
            mend(p, row, there, vectors);
        for (unsigned m = 0; m < v->geometry.members; m++)
            if (p->wrote & member_bit(m))
                region_sums(p->region, v, m)[first + row] = htobe32(checksum_block(image_block(p, m, row)));
    }
    fan_end(&p->fan);
}

static void next_run(struct piece *p)
{
    struct volume *v = p->volume;
    p->lock_to = p->lock_from + (v->geometry.region_bytes < RUN_BYTES ? v->geometry.region_bytes : RUN_BYTES);
    image_get(p);
    fan_begin(&p->fan, v, run_read);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->in_sync & p->region->fan.asked & ~p->region->fan.failed & member_bit(m))
            fan_add(&p->fan, m, BLK_READ, 0, v->places.data + p->lock_from, image_block(p, m, 0), image_bytes(p));
    fan_end(&p->fan);
}

static void over(struct piece *p)
{
    (void)p;
}

void recount(struct volume *v, struct region *r)
{
    struct piece *p = piece_get(v, PIECE_READ);
    p->region = r;
    p->finished = over;
    p->length_bytes = BLOCK_BYTES;
    p->buffer = volume_buffer(v, BLOCK_BYTES);
    p->lock_from = r->number * v->geometry.region_bytes;
    next_run(p);
}
