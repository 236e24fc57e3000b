/* How much room the pools of this node have, looked at now and then and reported: what placement of new members goes
 * by.
 *
 *     state of a pool: {"bytes":N, "free_bytes":N}, of directories; of others nothing is said
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_POOL_ROOM_H
#define NODE_AGENT_POOL_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct cluster;
struct err;
struct loop;
struct pool_room;
struct report;

struct pool_room *pool_room_new(struct loop *loop, struct cluster *cluster, struct report *report, struct err *err);
void pool_room_free(struct pool_room *room);

/* Would so many bytes fit, as far as anybody knows? */
bool pool_room_fits(const struct object *pool, uint64_t bytes);

#endif
