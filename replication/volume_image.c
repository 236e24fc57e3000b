/* The parity layouts' view of a range: what each member has there, row by row of blocks, and who is right.
 *
 *     read from all in sync -> held against the checksums -> solved row by row -> wrong ones written anew -> then()
 *
 * A block that is solved from blocks that are right is right, whatever checksum is on record for it: then it is the
 * checksum that was rotten, and it is made anew, too. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/checksum.h"
#include "replication/volume_core.h"

static void read_all(struct piece *p);

uint32_t image_bytes(const struct piece *p)
{
    return (uint32_t)(p->lock_to - p->lock_from);
}

unsigned image_rows(const struct piece *p)
{
    return image_bytes(p) / BLOCK_BYTES;
}

static size_t whole_bytes(const struct piece *p)
{
    return (size_t)image_bytes(p) * p->volume->geometry.members + image_rows(p) * sizeof(struct image_row);
}

void image_get(struct piece *p)
{
    if (!p->image)
        p->image = volume_buffer(p->volume, whole_bytes(p));
    memset(image_row(p, 0), 0, image_rows(p) * sizeof(struct image_row));
}

void image_put(struct piece *p)
{
    if (p->image)
        volume_buffer_put(p->volume, p->image, whole_bytes(p));
    p->image = NULL;
}

struct image_row *image_row(const struct piece *p, unsigned row)
{
    return (struct image_row *)(void *)(p->image + (size_t)image_bytes(p) * p->volume->geometry.members) + row;
}

uint8_t *image_block(const struct piece *p, unsigned member, unsigned row)
{
    return p->image + (size_t)member * image_bytes(p) + (size_t)row * BLOCK_BYTES;
}

static uint64_t stripe_of(const struct piece *p, unsigned row)
{
    return (p->lock_from + (uint64_t)row * BLOCK_BYTES) / p->volume->geometry.chunk_bytes;
}

unsigned image_run(const struct piece *p, unsigned row, unsigned end, uint8_t **vectors)
{
    const struct geometry *g = &p->volume->geometry;
    const struct image_row *first = image_row(p, row);
    unsigned n = 1;
    for (unsigned i = 0; i < g->members; i++)
        vectors[i] = image_block(p, geometry_vector_member(g, stripe_of(p, row), i), row);
    while (row + n < end && stripe_of(p, row + n) == stripe_of(p, row) && image_row(p, row + n)->known == first->known)
        n++;
    return n;
}

uint32_t image_vectors(const struct piece *p, unsigned row, member_set members)
{
    const struct geometry *g = &p->volume->geometry;
    uint32_t vectors = 0;
    for (unsigned i = 0; i < g->members; i++)
        vectors |= (members >> geometry_vector_member(g, stripe_of(p, row), i) & 1) << i;
    return vectors;
}

static uint32_t *sums_of(const struct piece *p, unsigned member)
{
    const struct volume *v = p->volume;
    return region_sums(p->region, v, member) + p->lock_from % v->geometry.region_bytes / BLOCK_BYTES;
}

static const char lost_magic[8] = {'D', 'R', 'O', 'V', 'L', 'O', 'S', 'T'};

void image_lose(const struct volume *v, uint8_t *block)
{
    memset(block, 0, BLOCK_BYTES);
    memcpy(block, lost_magic, sizeof lost_magic);
    memcpy(block + sizeof lost_magic, v->sb.volume, UUID_BYTES);
}

bool image_is_lost(const struct volume *v, const uint8_t *block)
{
    uint8_t lost[BLOCK_BYTES];
    if (memcmp(block, lost_magic, sizeof lost_magic) != 0)
        return false;
    image_lose(v, lost);
    return memcmp(block, lost, BLOCK_BYTES) == 0;
}

bool image_verify(struct piece *p, member_set have)
{
    bool all = true;
    for (unsigned m = 0; m < p->volume->geometry.members; m++) {
        const uint32_t *sums = sums_of(p, m);
        for (unsigned row = 0; row < image_rows(p) && have & member_bit(m); row++) {
            const uint8_t *block = image_block(p, m, row);
            bool right = sums[row] == htobe32(checksum_block(block)) && !image_is_lost(p->volume, block);
            all &= right;
            if (right)
                image_row(p, row)->known = image_row(p, row)->right |= (uint16_t)member_bit(m);
        }
    }
    return all;
}

/* ---- healing ---- */

static void healed(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    member_lose_all(p->volume, fan->failed, "a repair", fan->error);
    p->then(p);
}

/* A checksum that is rotten itself: of a cold region it is wrong on the member, too. */
static void renew_sum(struct piece *p, unsigned member, unsigned row)
{
    struct volume *v = p->volume;
    struct region *r = p->region;
    uint32_t sum = htobe32(checksum_block(image_block(p, member, row))), *recorded = sums_of(p, member) + row;
    if (*recorded == sum)
        return;
    *recorded = sum;
    volume_log(v, "member %u: the checksum at %llu was not that of what was written", member,
               (unsigned long long)(p->lock_from + (uint64_t)row * BLOCK_BYTES));
    if (r->state == REGION_COLD)
        fan_add(&p->fan, member, BLK_WRITE, 0, v->places.sums + r->number * v->places.sum_stride,
                region_sums(r, v, member), v->places.sum_stride);
}

static void heal_member(struct piece *p, unsigned m)
{
    struct volume *v = p->volume;
    for (unsigned row = 0, n; row < image_rows(p); row += n) {
        for (n = 0; row + n < image_rows(p); n++) {
            const struct image_row *i = image_row(p, row + n);
            if (!(i->known & ~i->right & member_bit(m)))
                break;
            renew_sum(p, m, row + n);
        }
        if (!n) {
            n = 1;
            continue;
        }
        v->members[m].counts.repaired += n;
        volume_log(v, "member %u: %u blocks at %llu were not what was written; written anew", m, n,
                   (unsigned long long)(p->lock_from + (uint64_t)row * BLOCK_BYTES));
        fan_add(&p->fan, m, BLK_WRITE, 0, v->places.data + p->lock_from + (uint64_t)row * BLOCK_BYTES,
                image_block(p, m, row), (uint64_t)n * BLOCK_BYTES);
    }
}

/* True: every row could be solved. */
static bool solve(struct piece *p)
{
    struct volume *v = p->volume;
    member_set all = geometry_all(&v->geometry);
    uint8_t *vectors[MEMBERS_MAX];
    bool enough = true;
    for (unsigned row = 0, n; row < image_rows(p); row += n) {
        n = image_run(p, row, image_rows(p), vectors);
        uint32_t known = image_vectors(p, row, image_row(p, row)->known);
        if (!parity_solve(&v->parity, (size_t)n * BLOCK_BYTES, known, all & ~known, vectors)) {
            enough = false;
            continue;
        }
        for (unsigned i = row; i < row + n; i++)
            image_row(p, i)->known = (uint16_t)all;
    }
    return enough;
}

static void all_read(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    struct volume *v = p->volume;
    image_verify(p, fan->asked & ~fan->failed);
    bool whole = solve(p);
    if (!whole && fan->failed) { /* perhaps they are only away: nothing is lost as long as nobody says so */
        if (p->retried) {
            piece_finish(p, -EIO);
            return;
        }
        p->retried = true;
        member_lose_all(v, fan->failed, "a read", fan->error);
        piece_hold(p, read_all);
        return;
    }
    if (!whole && p->kind != PIECE_READ && journal_may_help(p)) {
        journal_flush(v); /* if that works, nothing was lost with it */
        piece_finish(p, -EIO);
        return;
    }
    member_set asked = fan->asked; /* one that is in sync since then was not read */
    fan_begin(&p->fan, v, healed);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->in_sync & asked & member_bit(m))
            heal_member(p, m);
    fan_end(&p->fan);
}

static void read_all(struct piece *p)
{
    struct volume *v = p->volume;
    image_get(p);
    fan_begin(&p->fan, v, all_read);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (v->in_sync & member_bit(m))
            fan_add(&p->fan, m, BLK_READ, 0, v->places.data + p->lock_from, image_block(p, m, 0), image_bytes(p));
    fan_end(&p->fan);
}

void image_gather(struct piece *p, void (*then)(struct piece *p))
{
    p->then = then;
    read_all(p);
}
