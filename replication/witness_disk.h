/* A witness on a small disk of its own, perhaps on a third node. Thread: the loop's. */
#ifndef REPLICATION_WITNESS_DISK_H
#define REPLICATION_WITNESS_DISK_H

#include "nbd/blk.h"
#include "replication/witness.h"

/* May turn the loop. Errors: those of blk_open(); -EINVAL it is too small. */
int witness_disk_open(const struct blk_env *env, const char *stack, struct witness **witness, struct err *err);

#endif
