/* Layouts of copies: raid0, raid1, raid10, replica.
 *
 * A write is copied first: a guest may change its memory while a request is under way, and then the copies, or their
 * checksums, would differ. It goes to every member that holds its columns, in sync or being filled; those that are
 * neither have the granule noted as missed.
 *
 * A read goes to one member of each column. What does not match its checksum is sought with the others, block by block;
 * the members that were wrong are written anew with what is right. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "node/base/container.h"
#include "replication/checksum.h"
#include "replication/volume_core.h"

/* ---- between the request's vector and the buffer ---- */

static void copy_request(struct piece *p)
{
    const struct geometry *g = &p->volume->geometry;
    for (uint32_t done = 0, run; done < p->length_bytes; done += run) {
        unsigned column, part = 0;
        uint64_t offset;
        geometry_locate(g, p->offset + done, &column, &offset, &run);
        run = run < p->length_bytes - done ? run : p->length_bytes - done;
        while (p->parts[part].column != column)
            part++;
        piece_copy(p, p->req_at + done, p->buffer + p->part_at[part] + (offset - p->parts[part].offset), run);
    }
}

/* ---- checksums ---- */

static uint32_t *sums_of(const struct piece *p, unsigned part)
{
    uint64_t within = p->parts[part].offset % p->volume->geometry.region_bytes;
    return region_sums(p->region, p->volume, p->parts[part].column) + within / BLOCK_BYTES;
}

static unsigned blocks_of(const struct piece *p, unsigned part)
{
    return p->parts[part].length_bytes / BLOCK_BYTES;
}

static bool block_right(const struct piece *p, unsigned part, unsigned block, const uint8_t *bytes)
{
    return sums_of(p, part)[block] == htobe32(checksum_block(bytes + (size_t)block * BLOCK_BYTES));
}

static bool part_right(const struct piece *p, unsigned part, const uint8_t *bytes)
{
    for (unsigned b = 0; b < blocks_of(p, part); b++)
        if (!block_right(p, part, b, bytes))
            return false;
    return true;
}

/* ---- writing ---- */

/* What the owner must know of a write before it is sent. */
static void note_write(struct piece *p)
{
    struct volume *v = p->volume;
    struct region *r = p->region;
    r->written_ns = loop_now_ns(v->loop);
    for (unsigned i = 0; i < p->part_count; i++) {
        const struct geometry_part *part = &p->parts[i];
        uint64_t granules = region_granules(v, part->offset, part->length_bytes);
        uint32_t *sums = sums_of(p, i);
        r->touched[part->column] |= granules;
        for (unsigned b = 0; b < blocks_of(p, i); b++)
            sums[b] = p->kind == PIECE_ZERO
                          ? 0
                          : htobe32(checksum_block(p->buffer + p->part_at[i] + (size_t)b * BLOCK_BYTES));
        for (unsigned m = 0; m < v->geometry.members; m++) {
            if (volume_targets(v) & member_bit(m) || region_strand(v, m) != part->column)
                continue;
            for (uint64_t left = granules; left; left &= left - 1)
                bit_map_set(&v->missed[m], r->number * GRANULES + (unsigned)__builtin_ctzll(left));
        }
    }
}

static void send_write(struct piece *p);

/* Every member that counts must have it: one that was down, and answers again, may not. */
static void write_settled(struct piece *p)
{
    struct volume *v = p->volume;
    member_set have = p->fan.asked & ~p->fan.failed & v->in_sync;
    for (unsigned i = 0; i < p->part_count; i++)
        if (v->in_sync & ~have & geometry_holders(&v->geometry, p->parts[i].column)) {
            note_write(p);
            send_write(p);
            return;
        }
    piece_finish(p, 0);
}

static void written(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    member_lose_all(p->volume, fan->failed, "a write", fan->error);
    piece_hold(p, write_settled);
}

static void send_write(struct piece *p)
{
    struct volume *v = p->volume;
    fan_begin(&p->fan, v, written);
    for (unsigned i = 0; i < p->part_count; i++) {
        const struct geometry_part *part = &p->parts[i];
        for (unsigned m = 0; m < v->geometry.members; m++) {
            if (!(volume_targets(v) & geometry_holders(&v->geometry, part->column) & member_bit(m)))
                continue;
            bool zero = p->kind == PIECE_ZERO;
            fan_add(&p->fan, m, zero ? BLK_ZERO : BLK_WRITE, p->flags, v->places.data + part->offset,
                    zero ? NULL : p->buffer + p->part_at[i], part->length_bytes);
        }
    }
    fan_end(&p->fan);
}

void mirror_write(struct piece *p)
{
    if (p->kind == PIECE_WRITE) {
        p->buffer = volume_buffer(p->volume, p->length_bytes);
        copy_request(p);
    }
    note_write(p);
    send_write(p);
}

/* ---- reading ---- */

static void read_over(struct piece *p);
static void heal(struct piece *p);

/* The one that is fastest for its load; -1: none is left. */
static int choose(const struct volume *v, member_set from)
{
    uint64_t best_cost = UINT64_MAX;
    int best = -1;
    for (unsigned m = 0; m < v->geometry.members; m++) {
        if (!(from & member_bit(m)))
            continue;
        uint64_t cost = v->members[m].read_ns * (1 + blk_in_flight(v->members[m].blk));
        if (cost < best_cost || best < 0) {
            best_cost = cost;
            best = (int)m;
        }
    }
    return best;
}

static member_set holders(const struct piece *p, unsigned part)
{
    return geometry_holders(&p->volume->geometry, p->parts[part].column) & p->volume->in_sync;
}

static void restart_read(struct piece *p)
{
    volume_buffer_put(p->volume, p->spare, p->parts[p->heal_part].length_bytes);
    p->spare = NULL;
    mirror_read(p);
}

static void repaired(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    member_lose_all(p->volume, fan->failed, "a repair", fan->error);
    volume_buffer_put(p->volume, p->spare, p->parts[p->heal_part].length_bytes);
    p->spare = NULL;
    p->heal_part++;
    heal(p);
}

/* The part is right now: so be it with those that had it wrong. */
static void repair(struct piece *p)
{
    struct volume *v = p->volume;
    const struct geometry_part *part = &p->parts[p->heal_part];
    fan_begin(&p->fan, v, repaired);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (p->bad & v->in_sync & member_bit(m)) {
            v->members[m].counts.repaired++;
            volume_log(v, "member %u: %u bytes at %llu were not what was written; written anew", m, part->length_bytes,
                       (unsigned long long)part->offset);
            fan_add(&p->fan, m, BLK_WRITE, 0, v->places.data + part->offset, p->buffer + p->part_at[p->heal_part],
                    part->length_bytes);
        }
    fan_end(&p->fan);
}

static void unreadable(struct piece *p)
{
    struct volume *v = p->volume;
    v->counts.unreadable++;
    volume_log(v, "no member has %u bytes at %llu of column %u right", p->parts[p->heal_part].length_bytes,
               (unsigned long long)p->parts[p->heal_part].offset, p->parts[p->heal_part].column);
    volume_buffer_put(v, p->spare, p->parts[p->heal_part].length_bytes);
    p->spare = NULL;
    if (p->kind != PIECE_RESYNC || p->unknown) {
        piece_finish(p, -EIO);
        return;
    }
    /* It is copied as it is. Its checksum goes with it, so it stays what it is: unreadable. */
    p->heal_part++;
    heal(p);
}

static void read_spare(struct fan *fan);

static void heal_next(struct piece *p)
{
    struct volume *v = p->volume;
    const struct geometry_part *part = &p->parts[p->heal_part];
    if (!p->unknown && part_right(p, p->heal_part, p->buffer + p->part_at[p->heal_part])) {
        repair(p);
        return;
    }
    int m = choose(v, holders(p, p->heal_part) & ~p->tried);
    if (m < 0 && p->silent && !p->retried) { /* perhaps they are only away */
        p->retried = true;
        member_lose_all(v, p->silent, "a read", -EIO);
        piece_hold(p, restart_read);
        return;
    }
    if (m < 0) {
        unreadable(p);
        return;
    }
    p->tried |= member_bit((unsigned)m);
    fan_begin(&p->fan, v, read_spare);
    fan_add(&p->fan, (unsigned)m, BLK_READ, 0, v->places.data + part->offset, p->spare, part->length_bytes);
    fan_end(&p->fan);
}

static void read_spare(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    uint8_t *bytes = p->buffer + p->part_at[p->heal_part];
    bool wrong = fan->failed;
    p->silent |= fan->failed;
    for (unsigned b = 0; b < blocks_of(p, p->heal_part) && !fan->failed; b++) {
        uint8_t *spare = p->spare + (size_t)b * BLOCK_BYTES;
        bool right = block_right(p, p->heal_part, b, p->spare);
        wrong |= !right;
        if (p->unknown || (right && !block_right(p, p->heal_part, b, bytes)))
            memcpy(bytes + (size_t)b * BLOCK_BYTES, spare, BLOCK_BYTES);
    }
    if (!fan->failed)
        p->unknown = false;
    if (wrong)
        p->bad |= fan->asked;
    heal_next(p);
}

/* From part to part; those that are right are passed by. */
static void heal(struct piece *p)
{
    struct volume *v = p->volume;
    for (; p->heal_part < p->part_count; p->heal_part++) {
        member_set source = member_bit(p->source[p->heal_part]);
        p->unknown = p->unread & source;
        if (!p->unknown && part_right(p, p->heal_part, p->buffer + p->part_at[p->heal_part]))
            continue;
        p->tried = p->bad = source;
        p->silent = p->unread & source;
        p->spare = volume_buffer(v, p->parts[p->heal_part].length_bytes);
        heal_next(p);
        return;
    }
    read_over(p);
}

static void read_done(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    p->heal_part = 0;
    p->unread = fan->failed;
    heal(p);
}

static void direct_done(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    if (!fan->failed && piece_right(p->slice, p->slices, sums_of(p, 0))) {
        piece_finish(p, 0);
        return;
    }
    p->indirect = true;
    mirror_read(p);
}

/* A piece of one part is read to where it is wanted. What is wrong there is sought anew, in memory that nobody else
 * changes. */
static bool read_direct(struct piece *p)
{
    struct volume *v = p->volume;
    if (p->kind != PIECE_READ || !p->req || p->part_count != 1 || p->indirect)
        return false;
    p->slice = p->slice ? p->slice : volume_buffer(v, PIECE_SLICES * sizeof *p->slice);
    p->slices = piece_slice(p, p->req_at, p->length_bytes, p->slice, PIECE_SLICES);
    int m = choose(v, holders(p, 0));
    if (!p->slices || m < 0)
        return false;
    fan_begin(&p->fan, v, direct_done);
    fan_add_read(&p->fan, (unsigned)m, v->places.data + p->parts[0].offset, p->slice, p->slices, p->length_bytes);
    fan_end(&p->fan);
    return true;
}

void mirror_read(struct piece *p)
{
    struct volume *v = p->volume;
    if (read_direct(p))
        return;
    if (!p->buffer)
        p->buffer = volume_buffer(v, p->length_bytes);
    for (unsigned i = 0; i < p->part_count; i++) {
        int m = p->forced && holders(p, i) & member_bit(p->forced_source) ? (int)p->forced_source
                                                                          : choose(v, holders(p, i));
        p->source[i] = (unsigned)m;
    }
    fan_begin(&p->fan, v, read_done);
    for (unsigned i = 0; i < p->part_count; i++)
        fan_add(&p->fan, p->source[i], BLK_READ, 0, v->places.data + p->parts[i].offset, p->buffer + p->part_at[i],
                p->parts[i].length_bytes);
    fan_end(&p->fan);
}

/* ---- filling a member ---- */

static void filled(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    member_lose_all(p->volume, fan->failed, "a write of what it missed", fan->error);
    piece_finish(p, fan->failed ? -EIO : 0);
}

static bool all_zero(const struct piece *p)
{
    for (unsigned b = 0; b < blocks_of(p, 0); b++)
        if (sums_of(p, 0)[b])
            return false;
    for (uint32_t i = 0; i < p->length_bytes; i += 8)
        if (*(const uint64_t *)(const void *)(p->buffer + i))
            return false;
    return true;
}

static void fill(struct piece *p)
{
    struct volume *v = p->volume;
    bool zero = all_zero(p);
    fan_begin(&p->fan, v, filled);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (p->target & v->receiving & member_bit(m)) {
            v->members[m].counts.resynced_bytes += p->length_bytes;
            fan_add(&p->fan, m, zero ? BLK_ZERO : BLK_WRITE, 0, v->places.data + p->parts[0].offset,
                    zero ? NULL : p->buffer, p->length_bytes);
        }
    fan_end(&p->fan);
}

void mirror_resync(struct piece *p)
{
    mirror_read(p);
}

static void read_over(struct piece *p)
{
    if (p->kind == PIECE_RESYNC) {
        fill(p);
        return;
    }
    if (p->req)
        copy_request(p);
    piece_finish(p, 0);
}
