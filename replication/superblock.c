#include "replication/superblock.h"

#include <string.h>

#include "node/base/cursor.h"
#include "node/base/emit.h"
#include "replication/bit_map.h"
#include "replication/checksum.h"

static const uint8_t magic[8] = {'D', 'R', 'O', 'V', 'M', 'E', 'M', 'B'};

enum { FLAG_CLEAN = 1, FLAG_WITNESS = 2, FLAGS_KNOWN = 3, CRC_AT = SUPERBLOCK_BYTES - 4, DATA_ALIGN = 1 << 20 };

#define JOURNAL_MAX_BYTES (UINT64_C(1) << 40)

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

uint64_t superblock_slot_offset(uint64_t sequence)
{
    return sequence % SUPERBLOCK_SLOTS * SUPERBLOCK_SLOT_STRIDE;
}

void superblock_places(const struct geometry *g, uint64_t journal_bytes, struct member_places *p)
{
    uint64_t at = SUPERBLOCK_SLOTS * SUPERBLOCK_SLOT_STRIDE;
    memset(p, 0, sizeof *p);
    p->hot_bytes = bit_map_bytes(geometry_room_regions(g));
    p->missed_bytes = bit_map_bytes(geometry_room_regions(g) * GRANULES);
    p->sum_stride = (uint32_t)round_up(g->region_bytes / BLOCK_BYTES * sizeof(uint32_t), BLOCK_BYTES);
    p->hot = at;
    at += p->hot_bytes;
    for (unsigned i = 0; i < g->members; i++) {
        p->missed[i] = at;
        at += p->missed_bytes;
    }
    p->sums = at;
    at += geometry_room_regions(g) * p->sum_stride;
    p->journal = at;
    at += journal_bytes;
    p->data = round_up(at, DATA_ALIGN);
    p->end = p->data + g->member_bytes;
}

void superblock_advance(struct superblock *sb, struct stamp stamp, member_set in_sync)
{
    for (unsigned i = 0; i < sb->geometry.members; i++)
        if (in_sync >> i & 1)
            sb->left[i] = (struct stamp){0, 0};
        else if (sb->in_sync >> i & 1)
            sb->left[i] = sb->base;
    memmove(&sb->history[1], &sb->history[0], sizeof sb->history - sizeof sb->history[0]);
    sb->history[0] = (struct superblock_past){stamp, in_sync};
    sb->stamp = stamp;
    sb->in_sync = in_sync;
}

static void emit_stamp(struct emit *e, struct stamp s)
{
    emit_u64(e, s.term);
    emit_u64(e, s.generation);
}

static struct stamp cursor_stamp(struct cursor *c)
{
    struct stamp s = {.term = cursor_u64(c)};
    s.generation = cursor_u64(c);
    return s;
}

void superblock_write(const struct superblock *sb, void *slot)
{
    struct emit e = emit_to(slot, SUPERBLOCK_BYTES);
    const struct geometry *g = &sb->geometry;
    memset(slot, 0, SUPERBLOCK_BYTES);
    emit_bytes(&e, magic, sizeof magic);
    emit_u32(&e, g->room_bytes ? SUPERBLOCK_VERSION : SUPERBLOCK_VERSION_FIXED);
    emit_u32(&e, (sb->clean ? FLAG_CLEAN : 0) | (sb->has_witness ? FLAG_WITNESS : 0));
    emit_u64(&e, sb->sequence);
    emit_bytes(&e, sb->cluster, UUID_BYTES);
    emit_bytes(&e, sb->volume, UUID_BYTES);
    emit_u16(&e, (uint16_t)g->layout);
    emit_u16(&e, (uint16_t)g->members);
    emit_u16(&e, (uint16_t)sb->index);
    emit_u16(&e, (uint16_t)sb->quorum);
    emit_u32(&e, g->chunk_bytes);
    emit_u32(&e, g->region_bytes);
    emit_u64(&e, g->member_bytes);
    emit_u64(&e, sb->journal_bytes);
    emit_u64(&e, sb->epoch);
    emit_u64(&e, sb->claimed);
    emit_stamp(&e, sb->stamp);
    emit_stamp(&e, sb->base);
    emit_u32(&e, sb->in_sync);
    emit_u32(&e, 0);
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        emit_stamp(&e, sb->left[i]);
    for (unsigned i = 0; i < SUPERBLOCK_HISTORY; i++) {
        emit_stamp(&e, sb->history[i].stamp);
        emit_u32(&e, sb->history[i].in_sync);
        emit_u32(&e, 0);
    }
    emit_u64(&e, g->room_bytes); /* what a version 1 has there anyway if there is none */
    e.at = e.start + CRC_AT;
    emit_u32(&e, checksum_bytes(slot, CRC_AT));
}

static bool plausible(const struct superblock *sb, uint32_t flags)
{
    const struct geometry *g = &sb->geometry;
    if (flags & ~(uint32_t)FLAGS_KNOWN || geometry_check(g, NULL) || sb->index >= g->members ||
        sb->quorum > g->members || sb->in_sync & ~geometry_all(g) || sb->journal_bytes > JOURNAL_MAX_BYTES ||
        sb->journal_bytes % BLOCK_BYTES)
        return false;
    for (unsigned i = 0; i < SUPERBLOCK_HISTORY; i++)
        if (sb->history[i].in_sync & ~geometry_all(g))
            return false; /* no volume of so many members ever wrote that */
    return stamp_is_zero(sb->stamp) ? !sb->in_sync : geometry_can_serve(g, sb->in_sync);
}

static enum superblock_verdict read_slot(const void *slot, struct superblock *sb)
{
    struct cursor c = cursor_of(slot, SUPERBLOCK_BYTES);
    struct superblock s = {0};
    const uint8_t *bytes = slot;
    if (memcmp(cursor_take(&c, sizeof magic), magic, sizeof magic) != 0) {
        for (unsigned i = 0; i < SUPERBLOCK_BYTES; i++)
            if (bytes[i])
                return SUPERBLOCK_DAMAGED;
        return SUPERBLOCK_NONE;
    }
    struct cursor crc = cursor_of(bytes + CRC_AT, 4);
    if (cursor_u32(&crc) != checksum_bytes(slot, CRC_AT))
        return SUPERBLOCK_DAMAGED;
    uint32_t version = cursor_u32(&c);
    if (version != SUPERBLOCK_VERSION && version != SUPERBLOCK_VERSION_FIXED)
        return SUPERBLOCK_FUTURE;
    uint32_t flags = cursor_u32(&c);
    s.clean = flags & FLAG_CLEAN;
    s.has_witness = flags & FLAG_WITNESS;
    s.sequence = cursor_u64(&c);
    memcpy(s.cluster, cursor_take(&c, UUID_BYTES), UUID_BYTES);
    memcpy(s.volume, cursor_take(&c, UUID_BYTES), UUID_BYTES);
    s.geometry.layout = cursor_u16(&c);
    s.geometry.members = cursor_u16(&c);
    s.index = cursor_u16(&c);
    s.quorum = cursor_u16(&c);
    s.geometry.chunk_bytes = cursor_u32(&c);
    s.geometry.region_bytes = cursor_u32(&c);
    s.geometry.member_bytes = cursor_u64(&c);
    s.journal_bytes = cursor_u64(&c);
    s.epoch = cursor_u64(&c);
    s.claimed = cursor_u64(&c);
    s.stamp = cursor_stamp(&c);
    s.base = cursor_stamp(&c);
    s.in_sync = cursor_u32(&c);
    cursor_u32(&c);
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        s.left[i] = cursor_stamp(&c);
    for (unsigned i = 0; i < SUPERBLOCK_HISTORY; i++) {
        s.history[i].stamp = cursor_stamp(&c);
        s.history[i].in_sync = cursor_u32(&c);
        cursor_u32(&c);
    }
    s.geometry.room_bytes = cursor_u64(&c);
    if ((version == SUPERBLOCK_VERSION_FIXED) != !s.geometry.room_bytes)
        return SUPERBLOCK_DAMAGED;
    if (c.bad || !plausible(&s, flags))
        return SUPERBLOCK_DAMAGED;
    *sb = s;
    return SUPERBLOCK_OK;
}

enum superblock_verdict superblock_read(const void *const slots[SUPERBLOCK_SLOTS], struct superblock *sb)
{
    struct superblock found[SUPERBLOCK_SLOTS];
    enum superblock_verdict worst = SUPERBLOCK_NONE;
    int best = -1;
    for (int i = 0; i < SUPERBLOCK_SLOTS; i++) {
        enum superblock_verdict v = read_slot(slots[i], &found[i]);
        if (v == SUPERBLOCK_OK && (best < 0 || found[i].sequence > found[best].sequence))
            best = i;
        worst = v > worst ? v : worst;
    }
    if (worst == SUPERBLOCK_FUTURE || best < 0)
        return worst;
    *sb = found[best];
    return SUPERBLOCK_OK;
}
