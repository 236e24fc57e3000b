/* The parity layouts: raid5, raid6.
 *
 *     whole stripes             copied -> parity made --------------------------------------------.
 *     a rectangle of a stripe   copied -> what changes and its parity is read, or else what does  |
 *     (chunks x a range)                  not change, whichever is less -> parity follows --------+-> journal, where
 *                                         (a member is missing, or a block is wrong:              |   it is noted
 *                                         all is read and solved, volume_image.c) ----------------'   -> in place
 *
 * Where the parity cannot be made, because a block that goes into it cannot be had, a mark takes its place: what cannot
 * be had stays so, and nobody makes garbage of it. Reads go straight to the members of the data as long as those are
 * right. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/checksum.h"
#include "replication/volume_core.h"

enum { READ_MAX_BYTES = 256 << 10 };

static uint64_t stripe_bytes(const struct volume *v)
{
    return (uint64_t)v->geometry.chunk_bytes * v->parity.data;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- cutting ---- */

static uint64_t whole_rows(const struct piece *p, uint64_t stripe, uint64_t left_bytes)
{
    const struct volume *v = p->volume;
    uint64_t per_region = v->geometry.region_bytes / v->geometry.chunk_bytes;
    uint64_t rows = least(left_bytes / stripe_bytes(v), per_region - stripe % per_region);
    if (p->kind == PIECE_ZERO)
        return rows;
    uint64_t records = v->journal.slots / 4 ? v->journal.slots / 4 : 1;
    rows = least(rows, PIECE_MAX_BYTES / stripe_bytes(v));
    return p->kind == PIECE_READ ? rows : least(rows, records * JOURNAL_PAYLOAD_BYTES / v->geometry.chunk_bytes);
}

void stripe_cut(struct piece *p, uint64_t at, uint64_t left_bytes)
{
    const struct volume *v = p->volume;
    uint32_t chunk_bytes = v->geometry.chunk_bytes, length;
    uint64_t stripe = at / stripe_bytes(v), within = at % stripe_bytes(v), in_chunk = within % chunk_bytes;
    uint64_t rows = within ? 0 : whole_rows(p, stripe, left_bytes);
    uint64_t max = p->kind == PIECE_READ ? READ_MAX_BYTES : JOURNAL_PAYLOAD_BYTES;
    p->chunk = (unsigned)(within / chunk_bytes);
    if (rows) {
        p->whole = true;
        p->chunks = v->parity.data;
        length = (uint32_t)(rows * chunk_bytes);
    } else if (!in_chunk && left_bytes >= chunk_bytes && chunk_bytes <= max) {
        p->chunks = (unsigned)least(left_bytes / chunk_bytes, v->parity.data - p->chunk);
        length = chunk_bytes;
    } else {
        p->chunks = 1;
        length = (uint32_t)least(least(left_bytes, chunk_bytes - in_chunk), max);
    }
    p->length_bytes = length * p->chunks;
    p->part_count = 1;
    p->parts[0] = (struct geometry_part){0, stripe * chunk_bytes + in_chunk, length};
}

/* Where the volume's bytes of the piece are, chunk by chunk: block `row` of member `member`, and `rows` more. */
struct place {
    unsigned member, row, rows;
};

static unsigned places_of(const struct piece *p)
{
    uint32_t chunk_bytes = p->volume->geometry.chunk_bytes;
    return p->whole ? image_bytes(p) / chunk_bytes * p->chunks : p->chunks;
}

static struct place place_of(const struct piece *p, unsigned i)
{
    const struct geometry *g = &p->volume->geometry;
    unsigned per_chunk = g->chunk_bytes / BLOCK_BYTES;
    uint64_t stripe = p->lock_from / g->chunk_bytes + i / p->chunks;
    return (struct place){geometry_data_member(g, stripe, p->chunk + i % p->chunks),
                          p->whole ? i / p->chunks * per_chunk : 0, p->whole ? per_chunk : image_rows(p)};
}

static member_set members_of(const struct piece *p)
{
    member_set set = 0;
    for (unsigned i = 0; i < places_of(p); i++)
        set |= member_bit(place_of(p, i).member);
    return set;
}

/* Of a piece in one stripe. */
static member_set parity_members(const struct piece *p)
{
    const struct geometry *g = &p->volume->geometry;
    member_set set = 0;
    for (uint64_t s = p->lock_from / g->chunk_bytes; s <= (p->lock_to - 1) / g->chunk_bytes; s++)
        for (unsigned i = 0; i < geometry_parity(g); i++)
            set |= member_bit(geometry_parity_member(g, s, i));
    return set;
}

/* ---- writing: in place ---- */

static void in_place(struct piece *p);

static void settled(struct piece *p)
{
    struct volume *v = p->volume;
    member_set have = p->fan.asked & ~p->fan.failed;
    if (p->wrote & v->in_sync & ~have) { /* one that was down, and answers again */
        in_place(p);
        return;
    }
    journal_leave(p);
    piece_finish(p, 0);
}

static void written(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    member_lose_all(p->volume, fan->failed, "a write", fan->error);
    piece_hold(p, settled);
}

/* What the journal has whole is durable already. */
static void in_place(struct piece *p)
{
    struct volume *v = p->volume;
    bool zero = p->record == JOURNAL_ZERO;
    fan_begin(&p->fan, v, written);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (p->wrote & volume_targets(v) & member_bit(m))
            fan_add(&p->fan, m, zero ? BLK_ZERO : BLK_WRITE, p->record == JOURNAL_SUMS ? p->flags : 0,
                    v->places.data + p->lock_from, zero ? NULL : image_block(p, m, 0), image_bytes(p));
    fan_end(&p->fan);
}

/* ---- writing: what is to be there ---- */

void stripe_note(struct piece *p)
{
    struct volume *v = p->volume;
    struct region *r = p->region;
    uint64_t granules = region_granules(v, p->lock_from, image_bytes(p));
    unsigned first = (unsigned)(p->lock_from % v->geometry.region_bytes / BLOCK_BYTES);
    r->written_ns = loop_now_ns(v->loop);
    for (unsigned m = 0; m < v->geometry.members; m++) {
        uint32_t *sums = region_sums(r, v, m) + first;
        if (!(p->wrote & member_bit(m)))
            continue;
        r->touched[m] |= granules;
        for (unsigned row = 0; row < image_rows(p); row++)
            sums[row] = p->record == JOURNAL_ZERO ? 0 : htobe32(checksum_block(image_block(p, m, row)));
        if (volume_targets(v) & member_bit(m) && !(r->lacks & member_bit(m)))
            continue;
        for (uint64_t left = granules; left; left &= left - 1)
            bit_map_set(&v->missed[m], r->number * GRANULES + (unsigned)__builtin_ctzll(left));
    }
}

static uint8_t *new_block(const struct piece *p, unsigned vector, unsigned row)
{
    return p->buffer + (size_t)(vector - p->chunk) * image_bytes(p) + (size_t)row * BLOCK_BYTES;
}

/* A run of rows of which the same members are known: the new data are put in, and the parity follows if it can. */
static void merge_run(struct piece *p, unsigned row, unsigned rows, uint8_t **vectors)
{
    struct volume *v = p->volume;
    size_t length = (size_t)rows * BLOCK_BYTES;
    uint32_t data = (UINT32_C(1) << v->parity.data) - 1, changed = ((UINT32_C(1) << p->chunks) - 1) << p->chunk;
    uint32_t known = image_vectors(p, row, image_row(p, row)->known);
    uint32_t parity = ((UINT32_C(1) << v->parity.parity) - 1) << v->parity.data;
    bool encode = !(data & ~(known | changed)), update = !((changed | parity) & ~known);
    for (unsigned i = p->chunk; i < p->chunk + p->chunks; i++) {
        uint8_t *new = new_block(p, i, row);
        if (update && !encode) {
            parity_add(vectors[i], new, length);
            parity_update(&v->parity, length, i, vectors[i], vectors + v->parity.data);
        }
        memcpy(vectors[i], new, length);
    }
    if (encode)
        parity_encode(&v->parity, length, vectors);
    for (unsigned i = 0; i < v->parity.parity && !encode && !update; i++)
        for (size_t at = 0; at < length; at += BLOCK_BYTES)
            image_lose(v, vectors[v->parity.data + i] + at);
}

static void merge(struct piece *p)
{
    uint8_t *vectors[MEMBERS_MAX];
    for (unsigned row = 0, n; row < image_rows(p); row += n) {
        n = image_run(p, row, image_rows(p), vectors);
        merge_run(p, row, n, vectors);
    }
    journal_enter(p, in_place);
}

static void old_read(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    if (fan->failed || !image_verify(p, fan->asked))
        image_gather(p, merge);
    else
        merge(p);
}

/* What is read for a rectangle: 0: everything, as neither way is open. */
static member_set sources(const struct piece *p)
{
    const struct volume *v = p->volume;
    member_set changed = members_of(p), parity = parity_members(p);
    member_set with = changed | parity, without = geometry_all(&v->geometry) & ~with;
    bool less = __builtin_popcount(without) < __builtin_popcount(with);
    if (!(without & ~v->in_sync) && (less || with & ~v->in_sync))
        return without;
    return with & ~v->in_sync ? 0 : with;
}

static void write_rectangle(struct piece *p)
{
    struct volume *v = p->volume;
    p->record = JOURNAL_DATA;
    p->wrote = members_of(p) | parity_members(p);
    if (p->length_bytes)
        p->buffer = volume_buffer(v, p->length_bytes);
    if (p->kind == PIECE_WRITE && p->req)
        piece_copy(p, p->req_at, p->buffer, p->length_bytes);
    else if (p->length_bytes)
        memset(p->buffer, 0, p->length_bytes);
    member_set from = p->chunks ? sources(p) : 0;
    if (!from) {
        image_gather(p, merge);
        return;
    }
    image_get(p);
    fan_begin(&p->fan, v, old_read);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (from & member_bit(m))
            fan_add(&p->fan, m, BLK_READ, 0, v->places.data + p->lock_from, image_block(p, m, 0), image_bytes(p));
    fan_end(&p->fan);
}

/* All of it is known to be zeroes. */
static bool was_zero(const struct piece *p)
{
    const struct volume *v = p->volume;
    size_t first = p->lock_from % v->geometry.region_bytes / BLOCK_BYTES;
    for (unsigned m = 0; m < v->geometry.members; m++)
        for (unsigned row = 0; row < image_rows(p); row++)
            if (region_sums(p->region, v, m)[first + row])
                return false;
    return !p->region->lacks && image_rows(p) <= JOURNAL_SUMS_MAX;
}

static void write_whole(struct piece *p)
{
    struct volume *v = p->volume;
    uint8_t *vectors[MEMBERS_MAX];
    uint64_t done = 0;
    p->wrote = geometry_all(&v->geometry);
    p->record = p->kind == PIECE_ZERO ? JOURNAL_ZERO : was_zero(p) ? JOURNAL_SUMS : JOURNAL_DATA;
    if (p->kind == PIECE_WRITE) {
        image_get(p);
        for (unsigned i = 0; i < places_of(p); i++) {
            struct place at = place_of(p, i);
            piece_copy(p, p->req_at + done, image_block(p, at.member, at.row), (uint64_t)at.rows * BLOCK_BYTES);
            done += (uint64_t)at.rows * BLOCK_BYTES;
        }
        for (unsigned row = 0, n; row < image_rows(p); row += n) {
            n = image_run(p, row, image_rows(p), vectors);
            parity_encode(&v->parity, (size_t)n * BLOCK_BYTES, vectors);
        }
    }
    journal_enter(p, in_place);
}

void stripe_write(struct piece *p)
{
    p->whole ? write_whole(p) : write_rectangle(p);
}

/* ---- reading ---- */

static const uint32_t *sums_at(const struct piece *p, const struct place *at)
{
    const struct volume *v = p->volume;
    return region_sums(p->region, v, at->member) + p->lock_from % v->geometry.region_bytes / BLOCK_BYTES + at->row;
}

static void solved(struct piece *p)
{
    struct volume *v = p->volume;
    uint64_t done = 0;
    unsigned unreadable = 0;
    for (unsigned i = 0; i < places_of(p); i++) {
        struct place at = place_of(p, i);
        for (unsigned row = at.row; row < at.row + at.rows; row++)
            unreadable += !(image_row(p, row)->known & member_bit(at.member));
    }
    for (unsigned i = 0; i < places_of(p) && !unreadable; i++) {
        struct place at = place_of(p, i);
        piece_copy(p, p->req_at + done, image_block(p, at.member, at.row), (uint64_t)at.rows * BLOCK_BYTES);
        done += (uint64_t)at.rows * BLOCK_BYTES;
    }
    v->counts.unreadable += unreadable;
    if (unreadable)
        volume_log(v, "%u blocks at %llu of the volume cannot be had from the members that are left", unreadable,
                   (unsigned long long)p->offset);
    piece_finish(p, unreadable ? -EIO : 0);
}

static bool is_lost(const struct volume *v, const struct iovec *iov, unsigned count)
{
    bool lost = false;
    for (unsigned i = 0; i < count; i++)
        for (size_t at = 0; at < iov[i].iov_len; at += BLOCK_BYTES)
            lost |= image_is_lost(v, (const uint8_t *)iov[i].iov_base + at);
    return lost;
}

static void data_read(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    const struct iovec *iov = p->slice;
    bool right = !fan->failed;
    for (unsigned i = 0, n; i < places_of(p) && right; i++, iov += n) {
        struct place at = place_of(p, i);
        size_t length = 0;
        for (n = 0; length < (size_t)at.rows * BLOCK_BYTES; n++)
            length += iov[n].iov_len;
        right = piece_right(iov, n, sums_at(p, &at)) && !is_lost(p->volume, iov, n);
    }
    if (!right) {
        image_gather(p, solved);
        return;
    }
    if (p->buffer)
        piece_copy(p, p->req_at, p->buffer, p->length_bytes);
    piece_finish(p, 0);
}

/* Where each place is read to: into the request's memory if that is whole blocks. What is wrong there is made anew in
 * an image, so it does not matter who else changes it. */
static unsigned aim(struct piece *p, unsigned i, unsigned used, uint64_t done)
{
    uint64_t length = (uint64_t)place_of(p, i).rows * BLOCK_BYTES;
    if (!p->buffer)
        return piece_slice(p, p->req_at + done, length, p->slice + used, PIECE_SLICES - used);
    p->slice[used] = (struct iovec){p->buffer + done, length};
    return 1;
}

static bool aim_all(struct piece *p)
{
    unsigned used = 0, n = 1;
    uint64_t done = 0;
    for (unsigned i = 0; i < places_of(p) && n; i++, used += n) {
        n = aim(p, i, used, done);
        done += (uint64_t)place_of(p, i).rows * BLOCK_BYTES;
    }
    return n;
}

static void read_data(struct piece *p)
{
    struct volume *v = p->volume;
    if (members_of(p) & ~v->in_sync) {
        image_gather(p, solved);
        return;
    }
    p->slice = volume_buffer(v, PIECE_SLICES * sizeof *p->slice);
    if (!aim_all(p)) {
        p->buffer = volume_buffer(v, p->length_bytes);
        aim_all(p);
    }
    const struct iovec *iov = p->slice;
    fan_begin(&p->fan, v, data_read);
    for (unsigned i = 0, n; i < places_of(p); i++, iov += n) {
        struct place at = place_of(p, i);
        uint64_t length = 0;
        for (n = 0; length < (uint64_t)at.rows * BLOCK_BYTES; n++)
            length += iov[n].iov_len;
        fan_add_read(&p->fan, at.member, v->places.data + p->lock_from + (uint64_t)at.row * BLOCK_BYTES, iov, n,
                     length);
    }
    fan_end(&p->fan);
}

/* ---- scrub ---- */

static void scrubbed(struct piece *p)
{
    struct volume *v = p->volume;
    unsigned parity = v->parity.parity, data = v->parity.data, bad = 0;
    uint8_t *vectors[MEMBERS_MAX];
    p->buffer = volume_buffer(v, p->length_bytes * parity);
    for (unsigned row = 0, n; row < image_rows(p); row += n) {
        n = image_run(p, row, image_rows(p), vectors);
        size_t length = (size_t)n * BLOCK_BYTES;
        if (image_row(p, row)->known != geometry_all(&v->geometry)) {
            bad += n;
            continue;
        }
        const uint8_t *there[PARITY_MAX];
        for (unsigned i = 0; i < parity; i++) {
            there[i] = vectors[data + i];
            vectors[data + i] = p->buffer + i * length;
        }
        parity_encode(&v->parity, length, vectors);
        for (unsigned i = 0; i < parity; i++)
            p->differs |= memcmp(there[i], vectors[data + i], length) != 0;
    }
    volume_buffer_put(v, p->buffer, p->length_bytes * parity);
    p->buffer = NULL;
    v->counts.unreadable += bad;
    piece_finish(p, bad ? -EIO : 0);
}

void stripe_read(struct piece *p)
{
    if (p->forced)
        image_gather(p, scrubbed);
    else
        read_data(p);
}

/* ---- filling a member ---- */

static void filled(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    member_lose_all(p->volume, fan->failed, "a write of what it missed", fan->error);
    piece_finish(p, fan->failed ? -EIO : 0);
}

/* What cannot be had on this member either stays so. */
static void fill(struct piece *p)
{
    struct volume *v = p->volume;
    unsigned m = (unsigned)__builtin_ctz(p->target), lost = 0;
    uint32_t *sums = region_sums(p->region, v, m) + p->lock_from % v->geometry.region_bytes / BLOCK_BYTES;
    bool zero = true;
    for (unsigned row = 0; row < image_rows(p); row++) {
        bool known = image_row(p, row)->known & p->target;
        if (!known)
            image_lose(v, image_block(p, m, row));
        sums[row] = htobe32(checksum_block(image_block(p, m, row)));
        zero &= !sums[row];
        lost += !known;
    }
    if (lost)
        volume_log(v, "member %u: %u blocks at %llu cannot be had from the others: they stay unreadable", m, lost,
                   (unsigned long long)p->lock_from);
    fan_begin(&p->fan, v, filled);
    if (v->receiving & p->target) {
        v->members[m].counts.resynced_bytes += image_bytes(p);
        fan_add(&p->fan, m, zero ? BLK_ZERO : BLK_WRITE, 0, v->places.data + p->lock_from,
                zero ? NULL : image_block(p, m, 0), image_bytes(p));
    }
    fan_end(&p->fan);
}

void stripe_resync(struct piece *p)
{
    image_gather(p, fill);
}
