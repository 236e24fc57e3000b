/* Where the bytes of a volume may move to, and whether they may move at all. Pure functions of the mirror. Thread: the
 * loop's. */
#ifndef NODE_AGENT_VOLUME_MOVE_PLACE_H
#define NODE_AGENT_VOLUME_MOVE_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/complete.h"
#include "node/agent/volume_move.h"

/* It is made, and nothing else is going on with it; alone: not with its guest. 0, or refused. */
int volume_move_may_begin(const struct mirror *mirror, const struct object *volume, bool alone,
                          struct complete_error *error);
/* Fills index, from, to and bytes of the wish. to: "NODE" or "NODE:POOL"; member -1: the only one that it can be. */
int volume_move_choose(const struct mirror *mirror, const struct object *volume, const char *to, int member,
                       struct volume_move_wish *wish, struct complete_error *error);
/* Bytes of moves under way that the pool is still to get. */
uint64_t volume_move_coming(const struct mirror *mirror, const struct object *pool);
/* Of the volume of a guest that moves from one node to another: which part of it is on the first, and is to move with
 * it. -1 without a layout. False: none. */
bool volume_move_local(const struct mirror *mirror, const struct object *volume, const char *from, const char *to,
                       int *member);

#endif
