#include "replication/journal_record.h"

#include <string.h>

#include "node/base/cursor.h"
#include "node/base/emit.h"
#include "replication/checksum.h"

static const uint8_t magic[8] = {'D', 'R', 'O', 'V', 'J', 'R', 'N', 'L'};

enum { VERSION = 1, SUMS_AT = 512, CRC_AT = JOURNAL_HEAD_BYTES - 4 };

uint64_t journal_preset_bytes(const struct geometry *g)
{
    return geometry_parity(g) ? (uint64_t)JOURNAL_SLOTS_PRESET * JOURNAL_SLOT_BYTES : 0;
}

unsigned journal_slots(uint64_t journal_bytes)
{
    uint64_t slots = journal_bytes / JOURNAL_SLOT_BYTES;
    return slots < JOURNAL_SLOTS_MAX ? (unsigned)slots : JOURNAL_SLOTS_MAX;
}

uint64_t journal_slot_offset(uint64_t number, unsigned slots)
{
    return number % slots * JOURNAL_SLOT_BYTES;
}

static bool has_sums(const struct journal_record *r)
{
    return r->kind == JOURNAL_DATA || r->kind == JOURNAL_SUMS;
}

void journal_record_write(const struct journal_record *r, const uint8_t *volume, const uint32_t *sums, void *head)
{
    struct emit e = emit_to(head, JOURNAL_HEAD_BYTES);
    memset(head, 0, JOURNAL_HEAD_BYTES);
    emit_bytes(&e, magic, sizeof magic);
    emit_u32(&e, VERSION);
    emit_u32(&e, r->kind);
    emit_u32(&e, 0);
    emit_u32(&e, r->index);
    emit_bytes(&e, volume, UUID_BYTES);
    emit_u64(&e, r->term);
    emit_u64(&e, r->number);
    emit_u64(&e, r->floor);
    emit_u64(&e, r->offset);
    emit_u32(&e, r->length_bytes);
    emit_u32(&e, r->members);
    e.at = e.start + SUMS_AT;
    if (has_sums(r))
        emit_bytes(&e, sums, r->length_bytes / BLOCK_BYTES * sizeof *sums);
    e.at = e.start + CRC_AT;
    emit_u32(&e, checksum_bytes(head, CRC_AT));
}

static bool plausible(const struct journal_record *r, const struct geometry *g, unsigned index)
{
    if (r->kind < JOURNAL_NOTHING || r->kind > JOURNAL_SUMS || r->index != index || r->floor > r->number ||
        r->members & ~geometry_all(g) || !(r->members >> index & 1))
        return false;
    if (r->kind == JOURNAL_NOTHING)
        return true;
    if (!r->length_bytes || r->length_bytes % BLOCK_BYTES || r->offset % BLOCK_BYTES ||
        r->length_bytes > g->region_bytes || r->offset >= g->member_bytes ||
        r->offset % g->region_bytes + r->length_bytes > g->region_bytes)
        return false;
    return r->kind == JOURNAL_DATA ? r->length_bytes <= JOURNAL_PAYLOAD_BYTES
                                   : r->kind == JOURNAL_ZERO || r->length_bytes / BLOCK_BYTES <= JOURNAL_SUMS_MAX;
}

bool journal_record_read(const void *head, const uint8_t *volume, const struct geometry *g, unsigned index,
                         unsigned slot, unsigned slots, struct journal_record *out)
{
    struct cursor c = cursor_of(head, JOURNAL_HEAD_BYTES);
    struct journal_record r = {0};
    if (memcmp(cursor_take(&c, sizeof magic), magic, sizeof magic) != 0)
        return false;
    struct cursor crc = cursor_of((const uint8_t *)head + CRC_AT, 4);
    if (cursor_u32(&crc) != checksum_bytes(head, CRC_AT) || cursor_u32(&c) != VERSION)
        return false;
    r.kind = (enum journal_kind)cursor_u32(&c);
    cursor_u32(&c);
    r.index = cursor_u32(&c);
    if (memcmp(cursor_take(&c, UUID_BYTES), volume, UUID_BYTES) != 0)
        return false;
    r.term = cursor_u64(&c);
    r.number = cursor_u64(&c);
    r.floor = cursor_u64(&c);
    r.offset = cursor_u64(&c);
    r.length_bytes = cursor_u32(&c);
    r.members = cursor_u32(&c);
    if (c.bad || r.number % slots != slot || !plausible(&r, g, index))
        return false;
    *out = r;
    return true;
}

const uint32_t *journal_record_sums(const void *head)
{
    return (const uint32_t *)(const void *)((const uint8_t *)head + SUMS_AT);
}
