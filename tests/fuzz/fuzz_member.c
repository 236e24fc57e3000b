/* Superblocks of members and of the witness: any bytes, with the checksum put right so that what lies behind it is
 * reached. What is accepted is written and read again without a change; what is made of several of them keeps the
 * promises of assembly.h. */
#include <stdlib.h>
#include <string.h>

#include "node/base/emit.h"
#include "node/base/err.h"
#include "replication/assembly.h"
#include "replication/bit_map.h"
#include "replication/checksum.h"
#include "tests/fuzz/fuzz_env.h"

enum { SEEN = 5, CRC_AT = SUPERBLOCK_BYTES - 4 };

/* The slot's bytes from the input; with_crc: as if its owner had written them. */
static void take_slot(const uint8_t **data, size_t *size, uint8_t *slot, bool with_crc)
{
    size_t n = *size < SUPERBLOCK_BYTES ? *size : SUPERBLOCK_BYTES;
    memset(slot, 0, SUPERBLOCK_BYTES);
    memcpy(slot, *data, n);
    *data += n;
    *size -= n;
    struct emit crc = emit_to(slot + CRC_AT, 4);
    if (with_crc)
        emit_u32(&crc, checksum_bytes(slot, CRC_AT));
}

static void check_round_trip(const struct superblock *sb)
{
    static uint8_t again[SUPERBLOCK_BYTES], none[SUPERBLOCK_BYTES];
    const void *const slots[SUPERBLOCK_SLOTS] = {again, none};
    struct superblock copy;
    struct member_places places;
    superblock_write(sb, again);
    if (superblock_read(slots, &copy) != SUPERBLOCK_OK || memcmp(&copy, sb, sizeof copy) != 0)
        abort();
    superblock_places(&sb->geometry, sb->journal_bytes, &places);
    if (places.sums <= places.hot || places.data < places.journal || places.end <= places.data)
        abort();
}

static void check_assembly(const struct assembly_seen *seen, const struct assembly_witness *witness)
{
    struct assembly_wish wish = {.members = SEEN - 1};
    struct assembly a;
    struct err err = {0};
    for (int i = 0; i < SEEN - 1; i++)
        if (seen[i].verdict == SUPERBLOCK_OK)
            wish.layout = seen[i].sb.geometry.layout;
    if (assembly_decide(&wish, seen, witness, &a, &err)) {
        if (!*err.text)
            abort();
        return;
    }
    if (!geometry_can_serve(&a.truth.geometry, a.in_sync))
        abort();
    for (int i = 0; i < SEEN - 1; i++)
        if (a.in_sync >> i & 1 && (seen[i].verdict != SUPERBLOCK_OK || stamp_is_zero(seen[i].sb.stamp)))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t slot[SUPERBLOCK_BYTES], other[SUPERBLOCK_BYTES];
    const void *const slots[SUPERBLOCK_SLOTS] = {slot, other};
    struct assembly_seen seen[MEMBERS_MAX] = {0};
    struct assembly_witness witness = {0};
    uint8_t how = size ? *data : 0;
    data += size != 0;
    size -= size != 0;
    for (int i = 0; i < SEEN && size; i++) {
        take_slot(&data, &size, slot, !(how >> i & 1));
        seen[i].there = true;
        seen[i].verdict = superblock_read(slots, &seen[i].sb);
        if (seen[i].verdict == SUPERBLOCK_OK)
            check_round_trip(&seen[i].sb);
    }
    witness.seen = seen[SEEN - 1];
    witness.given = how >> 7;
    check_assembly(seen, &witness);
    return 0;
}
