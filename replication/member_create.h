/* Makes members: what drover-img and the agent do before a volume is opened for the first time, and when a member is
 * replaced. Thread: the loop's, which is turned. */
#ifndef REPLICATION_MEMBER_CREATE_H
#define REPLICATION_MEMBER_CREATE_H

#include "nbd/blk.h"
#include "replication/superblock.h"

struct err;

/* What a file or device needs for a member of that geometry. */
uint64_t member_create_bytes(const struct geometry *g, uint64_t journal_bytes);

/* Writes a member: zeroes everywhere, then sb (index, uuids, geometry, quorum, witness are the caller's). fresh: one
 * that will replace another; else one of a new volume, all of whose members are made like this, and equal. Whatever was
 * on the disk is gone. Errors: -EINVAL too small, unfit, or geometry_check()'s; those of the disk. */
int member_create(struct blk *disk, const struct superblock *sb, bool fresh, struct err *err);

/* The witness of a new volume: the same superblock goes there. It must be all zeroes so far where the slots are, or
 * hold a superblock; -EEXIST: something else is there. fresh: one that takes another's place: it knows nothing, so
 * zeroes go there, and it is no proof of anything until an owner has told it something. */
int member_create_witness(struct blk *disk, const struct superblock *sb, bool fresh, struct err *err);

/* Reads a member's superblock. */
int member_read(struct blk *disk, enum superblock_verdict *verdict, struct superblock *sb, struct err *err);

#endif
