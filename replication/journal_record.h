/* A record of the journal that the parity layouts keep on their members: the block before its payload.
 * docs/member-format.md has the table.
 *
 * A write of a part of a stripe, and of the parity that goes with it, is recorded before it is done: on each member
 * that it changes, what that member's blocks will be. Whoever starts after a crash does again what was recorded
 * everywhere, and forgets what was not. Foreign until journal_record_read() has accepted it. Pure; any thread. */
#ifndef REPLICATION_JOURNAL_RECORD_H
#define REPLICATION_JOURNAL_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "replication/geometry.h"
#include "replication/superblock.h"

enum {
    JOURNAL_HEAD_BYTES = BLOCK_BYTES,
    JOURNAL_PAYLOAD_BYTES = 64 << 10,
    JOURNAL_SLOT_BYTES = JOURNAL_HEAD_BYTES + JOURNAL_PAYLOAD_BYTES,
    JOURNAL_SLOTS_MIN = 8, /* half of them may be in use */
    JOURNAL_SLOTS_PRESET = 128,
    JOURNAL_SLOTS_MAX = 4096,
    JOURNAL_SUMS_MAX = 512, /* blocks that a record may speak of */
};

/* In the member format: never renumber. */
enum journal_kind {
    JOURNAL_NOTHING = 1, /* only its floor counts */
    JOURNAL_DATA,        /* the payload is what the blocks will be */
    JOURNAL_ZERO,        /* they will be zeroes */
    JOURNAL_SUMS,        /* they are zeroes, and their checksums will be these; there is no payload */
};

struct journal_record {
    enum journal_kind kind;
    uint64_t term;          /* of the owner */
    uint64_t number, floor; /* rising through all terms; what is below the floor is on the members for good */
    uint64_t offset;        /* in the members' data */
    uint32_t length_bytes;
    unsigned index;     /* which member this is */
    member_set members; /* who has such a record */
};

/* What the layout needs for its journal: 0 without parity. */
uint64_t journal_preset_bytes(const struct geometry *g);
unsigned journal_slots(uint64_t journal_bytes);
uint64_t journal_slot_offset(uint64_t number, unsigned slots); /* in the journal */

/* head: JOURNAL_HEAD_BYTES, all of them written. sums: one for each block of DATA and SUMS, as on members. */
void journal_record_write(const struct journal_record *r, const uint8_t *volume, const uint32_t *sums, void *head);
/* False: no record of that volume's, torn, or not one that belongs into this slot of member `index`. */
bool journal_record_read(const void *head, const uint8_t *volume, const struct geometry *g, unsigned index,
                         unsigned slot, unsigned slots, struct journal_record *r);
/* Of a head that was accepted: the checksums. */
const uint32_t *journal_record_sums(const void *head);

#endif
