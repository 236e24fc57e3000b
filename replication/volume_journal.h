/* The journal of the parity layouts as its volume sees it. For the files of volume_core.h only.
 *
 * Records are numbered; number n lies in slot n mod slots, at the same place on every member that has it. At most half
 * of the slots hold records that a crash may still need: when a slot is written anew, what it held was on the members
 * for good when the record that is half a round older was written. So whoever starts sees from the newest record's
 * floor on everything that counts, even if the slots behind it are torn. */
#ifndef REPLICATION_VOLUME_JOURNAL_H
#define REPLICATION_VOLUME_JOURNAL_H

#include "nbd/blk.h"
#include "replication/fan.h"
#include "replication/journal_record.h"
#include "replication/volume_region.h"

struct journal_slot {
    enum { SLOT_DURABLE, SLOT_BUSY, SLOT_DONE } state; /* DONE: on the members, but not flushed */
    enum journal_kind kind;
    uint64_t done_at; /* how many flushes had begun then */
    uint64_t offset;
    uint32_t length_bytes;
};

struct journal {
    unsigned slots;
    uint64_t next, floor; /* numbers; what is below the floor is durable */
    struct journal_slot *slot;
    uint64_t flushes; /* begun */
    bool flushing;
    uint64_t flush_number;
    struct fan fan;
    struct piece_list waiting; /* for a slot */
    uint8_t *barrier;          /* heads of a record of NOTHING, by member */
};

/* ---- volume_journal.c ---- */
int journal_init(struct volume *v, struct err *err); /* no parity: nothing to do */
void journal_fini(struct volume *v);
/* Of what the piece wrote (p->wrote, its range, p->kind_of_record): recorded on all members that count, then then(). */
void journal_enter(struct piece *p, void (*then)(struct piece *p));
void journal_leave(struct piece *p); /* it is on the members */
void journal_kick(struct volume *v);
/* Around a flush of all members: what was on them when it began is durable when it has succeeded everywhere. */
uint64_t journal_flush_begin(struct volume *v);
void journal_flush_end(struct volume *v, uint64_t number);
/* Makes what is on the members durable, so that the floor rises; resync_kick() when that is over. */
void journal_flush(struct volume *v);
/* Something that was written in the piece's range is not durable yet: if a member lost it, the next owner finds it in
 * the journal, so nothing there may be given up for lost. */
bool journal_may_help(const struct piece *p);
/* A record of NOTHING on every member, in the caller's fan. False: no slot is free now. */
bool journal_add_barrier(struct volume *v, struct fan *fan);

/* ---- volume_replay.c ---- */
/* At the start: does again what was recorded, unless the last owner closed the volume. Turns the loop. */
int journal_replay(struct volume *v, bool clean, struct err *err);

#endif
