/* A volume as its own files see it; docs/replication.md draws how they work together. Nobody else includes this.
 *
 *     volume_driver    options, open, close, requests          volume_open      superblocks -> assembly -> claim
 *     volume_piece     requests in pieces, locks                volume_region    hot and cold, checksums
 *     volume_mirror    copies: read, write, heal                volume_cool      regions back to cold
 *     volume_change    who is in sync                           volume_equal     after a crash
 *     volume_return    members that come back                   volume_resync    what they missed
 *     volume_stripe    parity: read, write                      volume_image     parity: rows of blocks, heal
 *     volume_journal   parity: recorded before it is done       volume_replay    ... and done again after a crash
 *     volume_recount   parity: checksums after a crash          volume_grow      it becomes larger
 *     volume_ask       members that have nothing to do
 *
 * Invariants
 *   1. No write is sent to a region before its bit in the hot map is durable on every member in sync.
 *   2. A hot bit is cleared only after the region's checksums and the maps of missed granules were flushed on every
 *      member in sync, and only while the recorded set is the working set.
 *   3. No write or flush is acknowledged while a member that does not have it is in the recorded set.
 *   4. missed[m] holds every granule in which m may differ, for each m that is not in sync.
 *   5. Requests whose ranges meet never run at the same time, unless both read.
 *   6. Parity: nothing is written in place that is not recorded in the journals of all members in sync that it changes.
 *
 * Thread: the loop's, for everything. */
#ifndef REPLICATION_VOLUME_CORE_H
#define REPLICATION_VOLUME_CORE_H

#include <sys/queue.h>

#include "nbd/blk_driver.h"
#include "replication/assembly.h"
#include "replication/bit_map.h"
#include "replication/fan.h"
#include "replication/parity.h"
#include "replication/volume.h"
#include "replication/volume_grow.h"
#include "replication/volume_journal.h"
#include "replication/volume_member.h"
#include "replication/volume_piece.h"
#include "replication/volume_region.h"
#include "replication/witness.h"

enum {
    PIECE_MAX_BYTES = 1 << 20,  /* of a request, at a time */
    RESYNC_RUN_BYTES = 1 << 20, /* copied under one lock */
    REGION_BUCKETS = 1024,
    COOL_BATCH = 32,
};

struct volume {
    struct blk *blk;
    struct loop *loop;
    struct geometry geometry;
    struct member_places places;
    struct parity parity; /* .parity 0: a layout of copies */
    struct superblock sb; /* the last attempt at a change; its base is the last that counted */
    member_set settled;   /* the set that counted last: invariant 3's "recorded set" */
    member_set in_sync;   /* the working set */
    member_set receiving; /* being filled: they get every write, but do not count */
    struct member members[MEMBERS_MAX];
    struct witness *witness; /* NULL: there is none, or it is not there */
    bool witness_given;
    bool witness_lost, witness_asked, witness_knows; /* did not answer last; is being asked; took the last record */
    uint64_t witness_again_ns;                       /* it failed a record: not told anew before */
    struct volume_events events;
    uint64_t eject_ns, suspend_ns, cool_ns, tick_ns, ask_ns, ask_at_ns;
    unsigned hot_max, region_max;

    struct bit_map hot, stored; /* wanted; on every member in sync */
    struct bit_map unequal;     /* hot since the last owner, not looked at yet */
    struct bit_map missed[MEMBERS_MAX];

    struct region_list buckets[REGION_BUCKETS], lru;
    unsigned region_count, hot_count;
    uint64_t ahead_ns; /* when regions were heated ahead; 0: none are */
    struct piece_list idle_pieces, held;
    struct member_io_list idle_ios;
    unsigned pieces; /* not idle */

    struct journal journal;
    /* volume_region.c: the round that makes hot bits durable */
    struct {
        bool running;
        struct fan fan;
        uint8_t *buffer;
        struct region_queue now, next; /* waiting for this round, for the one after it */
        void (*then[2])(struct volume *volume);
        uint64_t begun, ended; /* rounds are numbered from 1 */
    } round;
    /* volume_cool.c */
    struct {
        bool running;
        member_set targets; /* when it began */
        uint64_t journal;   /* the number of its flush */
        struct fan fan;
        struct region *regions[COOL_BATCH];
        unsigned count;
        uint8_t *maps;
        size_t maps_bytes;
    } cool;
    /* volume_change.c */
    struct {
        bool running, told_witness, again;
        member_set set;
        struct fan fan;
        uint8_t *slots;
    } change;
    /* volume_resync.c */
    struct {
        bool running; /* a piece, a fan or a pause is under way */
        bool joining; /* it writes the maps: nobody else may, for then they would count as written too early */
        unsigned member;
        bool ready;                         /* the journal lets it count */
        uint64_t journal;                   /* the number of its flush */
        uint64_t returned;                  /* how often it had come back when this filling began */
        uint64_t region, taken;             /* where it is, and the granules of it that are copied by now */
        uint64_t bps, begin_ns, done_bytes; /* of this filling */
        uint64_t run_begin_ns, run_bytes;
        struct fan fan;
        struct loop_timer pause;
        uint8_t *maps;
        size_t maps_bytes;
    } resync;
    struct growing grow;
    struct {
        bool running;
        uint64_t at; /* in the members' data */
        unsigned member;
        bool failed;
        void (*done)(void *context, int result);
        void *context;
    } scrub;

    struct loop_timer tick;
    uint64_t ticked_ns, foreground_ns, suspended_ns; /* 0: not suspended */
    bool closing;
    int dead;        /* -errno: superseded, or suspended for too long */
    int flush_error; /* a flush that failed and could not be made good: sticky */
    struct volume_counts counts;
};

static inline member_set member_bit(unsigned index)
{
    return UINT32_C(1) << index;
}

/* ---- volume_driver.c ---- */
/* Who gets every write. */
static inline member_set volume_targets(const struct volume *v)
{
    return v->in_sync | v->receiving;
}
/* The stack with the patience that a member may ask for; to be freed. NULL: it is none, err says why. */
char *volume_impatient(const char *stack, uint64_t eject_ns, struct err *err);
void volume_log(const struct volume *v, const char *format, ...) __attribute__((format(printf, 2, 3)));
void *volume_buffer(struct volume *v, size_t len_bytes);
void volume_buffer_put(struct volume *v, void *buffer, size_t len_bytes);
void volume_tick(struct volume *v);
/* Turns the loop until nothing is under way. */
void volume_settle_io(struct volume *v);

/* ---- volume_change.c ---- */
/* A member failed what it was asked: out of the set, or down if there is no serving without it. */
void member_lose(struct volume *v, unsigned member, const char *what, int error);
/* After a flush: who failed it, or another one lately, is lost; if there is no doing without it no flush succeeds any
 * more. Returns who failed. */
member_set member_judge_flush(struct volume *v, struct fan *fan);
void member_lose_all(struct volume *v, member_set failed, const char *what, int error);
void change_kick(struct volume *v);
bool change_settled(const struct volume *v);
/* Of a volume that begins: turns the loop. */
int change_claim(struct volume *v, const struct assembly *a, const struct assembly_seen *seen,
                 const struct assembly_witness *witness, struct err *err);
/* Writes the superblock once more as it is, but for `clean`; also to a witness that did not take the last record. */
void change_note(struct volume *v);
/* Another witness, or none, from now on; the one before was told nothing that is not over. */
void change_witness(struct volume *v, struct witness *witness);
/* Everything fails from now on. */
void volume_die(struct volume *v, int error, const char *why);
/* Who was down may be so no longer. */
void volume_recover(struct volume *v);
void volume_changed(struct volume *v);

/* ---- volume_return.c ---- */
void return_probe(struct volume *v);

/* ---- volume_ask.c ---- */
void ask_idle(struct volume *v);
void ask_witness_is(struct volume *v, bool there); /* it answered, or failed */

/* ---- volume_resync.c ---- */
void resync_init(struct volume *v);
void resync_kick(struct volume *v);
void resync_stop(struct volume *v);

/* ---- volume_open.c ---- */
int volume_assemble(struct volume *v, const struct assembly_wish *wish, struct err *err);
/* A request of one member, waited for: turns the loop. */
int member_now(struct volume *v, unsigned member, enum blk_op op, uint64_t offset, void *data, uint64_t length_bytes);

#endif
