/* The driver "volume": a disk over several members. And what its owner's program may ask and tell a running one.
 *
 *     {"driver":"volume", "layout":"raid1", "members":["raw:a.img", "nbd://storage2/v1-1", "missing"]}
 *
 * A member is any stack, or "missing"; one that is not there, or is lost later, is done without as long as the rest may
 * serve. Members are made by `drover-img member create`. docs/replication.md tells how it works, docs/member-format.md
 * what is on a member.
 *
 * Requests are multiples of 4096 bytes. A write is acknowledged when every member in sync has it. When a member fails,
 * the others go on at once after they have recorded (on themselves, and with the witness if there is one) that it is
 * lost; that is the only pause. When too few are left, requests wait for at most `suspend` and fail then, and so does
 * everything later; a guest's disk waits until there are enough again, or another owner has taken the volume over.
 *
 * Thread: the loop's. */
#ifndef REPLICATION_VOLUME_H
#define REPLICATION_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "replication/geometry.h"
#include "replication/stamp.h"

struct blk;
struct blk_driver;
struct err;

extern const struct blk_driver volume_driver;

struct member_counts {
    uint64_t errors;   /* requests that it failed */
    uint64_t repaired; /* blocks that were wrong and were written anew */
    uint64_t resynced_bytes;
    uint64_t lost, returned; /* times */
};

struct volume_counts {
    uint64_t unreadable;     /* blocks that no member had right */
    uint64_t changes;        /* of the set */
    uint64_t equalized;      /* regions compared after a crash */
    uint64_t differing;      /* blocks that were found to differ then */
    uint64_t rounds, cooled; /* writes of the hot map; regions */
    uint64_t scrubbed_bytes;
    uint64_t records, replayed; /* of the journal: written; done again when this owner began */
};

enum member_state { MEMBER_ABSENT, MEMBER_LOST, MEMBER_FOREIGN, MEMBER_SYNCING, MEMBER_IN_SYNC, MEMBER_DOWN };

struct member_status {
    enum member_state state;
    uint64_t missed_bytes; /* not in sync: still to be copied */
    uint64_t read_ns;      /* how long it takes to read, on average */
    struct member_counts counts;
};

struct volume_status {
    struct geometry geometry;
    struct stamp stamp;
    uint64_t epoch;
    bool suspended;    /* requests wait */
    bool has_witness;  /* one is there and knows how the volume is, or did when it was asked last */
    bool witness_lost; /* one does not answer */
    int dead;          /* -errno: everything fails, the volume has to be opened anew */
    uint64_t hot_regions;
    uint64_t left_bytes, left_ns; /* to copy until all that are there are in sync; how long that may take, 0: unknown */
    struct volume_counts counts;
    struct member_status members[MEMBERS_MAX];
};

/* What happened, as it happens; from the loop, never from inside a call of the owner's. */
struct volume_events {
    void (*changed)(void *context); /* the set, or a member's state */
    void *context;
};

/* The layer of the stack that is a volume, or NULL. */
struct blk *volume_in(struct blk *stack);
void volume_status(const struct blk *volume, struct volume_status *status);
void volume_listen(struct blk *volume, const struct volume_events *events);
/* The stack of a member; NULL: it is not there. */
struct blk *volume_member(const struct blk *volume, unsigned index);
/* 0: as fast as the foreground allows. */
void volume_set_resync_rate(struct blk *volume, uint64_t bytes_per_second);
/* Compares all copies and checksums of the whole volume, repairs and counts; -EALREADY: it is doing so. */
int volume_scrub(struct blk *volume, void (*done)(void *context, int result), void *context);
/* Puts another stack in a place whose member is not in sync. The old one is closed. Turns the loop while it opens: not
 * from inside any callback. Errors: -EBUSY the member there is in sync, or has requests in flight. */
int volume_attach(struct blk *volume, unsigned member, const char *stack, struct err *err);

/* The volume's witness is there (again); one that was given before is closed. Errors: -EBUSY it is being told
 * something, -EINVAL the volume has none. */
int volume_attach_witness(struct blk *volume, const char *stack, struct err *err);

const char *member_state_name(enum member_state state);
void replication_drivers_register(void);

#endif
