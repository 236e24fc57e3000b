/* A member as its volume sees it, and a request that is under way to it. For the files of volume_core.h only. */
#ifndef REPLICATION_VOLUME_MEMBER_H
#define REPLICATION_VOLUME_MEMBER_H

#include "nbd/blk.h"
#include "replication/assembly.h"
#include "replication/fan.h"
#include "replication/volume.h"

struct member_io {
    struct blk_req req;
    struct fan *fan;
    struct member *member;
    struct iovec iov[2];
    uint64_t begin_ns;
    TAILQ_ENTRY(member_io) link; /* outstanding, oldest first; or idle */
};

TAILQ_HEAD(member_io_list, member_io);

struct member {
    struct volume *volume;
    unsigned index;
    struct blk *blk; /* NULL: absent */
    enum member_role role;
    bool unsure;  /* failed a flush: another one that succeeds meanwhile says nothing */
    bool absent;  /* lost, and not seen since */
    bool down;    /* in sync and needed, but does not answer */
    bool shunned; /* foreign: not looked at again */
    bool heard;   /* has answered since it was thought of last (volume_ask.c) */
    uint64_t abandoned_ns;
    uint64_t sequence;             /* of its superblock */
    uint64_t retry_ns, backoff_ns; /* when to look at it again */
    uint64_t round;                /* being filled: the hot round after which it has the maps */
    uint64_t journal_from;         /* being filled: records before this one are not for it */
    uint64_t read_ns;              /* a moving average; 0: never read */
    struct member_io_list outstanding;
    struct member_counts counts;
    /* being looked at again, or asked whether it is there */
    bool probing;
    struct fan probe;
    uint8_t *slots;
};

#endif
