/* Holds one member's data against its checksums, alone and without changing anything. Regions that are hot are passed
 * by: their checksums are in the owner's memory, or were when it fell. Thread: the loop's, which is turned. */
#ifndef REPLICATION_MEMBER_CHECK_H
#define REPLICATION_MEMBER_CHECK_H

#include "nbd/blk.h"
#include "replication/superblock.h"

struct err;

struct member_check {
    uint64_t blocks, wrong;   /* looked at; not what was written */
    uint64_t first_wrong;     /* in the member's data */
    uint64_t hot_regions;     /* passed by */
    uint64_t damaged_sectors; /* of the map of hot regions */
};

/* Errors: those of the disk. */
int member_check(struct blk *disk, const struct superblock *sb, struct member_check *check, struct err *err);

#endif
