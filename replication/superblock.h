/* A member's superblock, as bytes and as a struct. docs/member-format.md has the table.
 *
 * Two slots, written in turn with rising sequence numbers: a torn write damages one, and the other still speaks.
 * Everything in it is foreign until superblock_read() has accepted it. Pure; any thread. */
#ifndef REPLICATION_SUPERBLOCK_H
#define REPLICATION_SUPERBLOCK_H

#include "replication/geometry.h"
#include "replication/stamp.h"

enum {
    SUPERBLOCK_BYTES = 4096,
    SUPERBLOCK_SLOTS = 2,
    SUPERBLOCK_SLOT_STRIDE = 64 << 10,
    SUPERBLOCK_HISTORY = 16,
    SUPERBLOCK_VERSION = 2,
    SUPERBLOCK_VERSION_FIXED = 1, /* of a volume that cannot grow: older programs know it, too */
    UUID_BYTES = 16,
};

struct superblock_past {
    struct stamp stamp;
    member_set in_sync;
};

struct superblock {
    uint64_t sequence; /* of the slot; the greater one is valid */
    uint8_t cluster[UUID_BYTES], volume[UUID_BYTES];
    struct geometry geometry;
    unsigned index;  /* which member this is */
    unsigned quorum; /* replica: members that must have a write; 0: no rule */
    bool has_witness, clean;
    uint64_t journal_bytes;
    uint64_t epoch;     /* the owner's, by which storage servers fence; 0: none */
    uint64_t claimed;   /* the greatest term that an owner claimed here; a claim changes nothing else */
    struct stamp stamp; /* zero: fresh, never part of the volume */
    struct stamp base;  /* the last set before this one that is known to have counted; the stamp itself if it did */
    member_set in_sync; /* of this stamp */
    /* Of members that are not in sync: a stamp that they had when they left, or an older one. Zero: never in it. */
    struct stamp left[MEMBERS_MAX];
    struct superblock_past history[SUPERBLOCK_HISTORY]; /* [0] is this stamp itself, then backwards; zero: none */
};

/* Where things lie on a member. */
struct member_places {
    uint64_t hot;                 /* one bit a region */
    uint64_t missed[MEMBERS_MAX]; /* one bit a granule, for each member */
    uint64_t sums;                /* a record of sum_stride for each region */
    uint64_t journal, data;
    uint64_t end;
    uint64_t hot_bytes, missed_bytes; /* multiples of BLOCK_BYTES */
    uint32_t sum_stride;
};

enum superblock_verdict { SUPERBLOCK_OK, SUPERBLOCK_NONE, SUPERBLOCK_DAMAGED, SUPERBLOCK_FUTURE };

void superblock_places(const struct geometry *g, uint64_t journal_bytes, struct member_places *places);
/* slot: SUPERBLOCK_BYTES, all of them written. */
void superblock_write(const struct superblock *sb, void *slot);
/* NONE: both slots are without a trace of one. DAMAGED: neither is valid, but something was there. FUTURE: of a version
 * that is not ours. *sb only with OK. slots[i]: SUPERBLOCK_BYTES. */
enum superblock_verdict superblock_read(const void *const slots[SUPERBLOCK_SLOTS], struct superblock *sb);
/* The next set: those who leave are noted with the oldest stamp they may have, the history moves on, the base
 * stays. */
void superblock_advance(struct superblock *sb, struct stamp stamp, member_set in_sync);
uint64_t superblock_slot_offset(uint64_t sequence);

#endif
