/* What volumes have on this node while it is drained of them, too: volumes without a layout, and members of others,
 * move to nodes that take guests, where their guest is if it can be, else where there is most room. What a guest of
 * this node uses goes with that guest (migration_volumes.h); what no other node can take stays, and it is said why.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_DRAIN_VOLUMES_H
#define NODE_AGENT_DRAIN_VOLUMES_H

#include <stdbool.h>

#include "node/agent/mirror.h"

struct cluster;
struct drain_volumes;
struct err;

struct drain_volumes *drain_volumes_new(struct cluster *cluster, struct err *err);
/* Moves away from this node that are under way, or on their way to the store; not those that go with a guest. */
unsigned drain_volumes_under_way(const struct drain_volumes *volumes);
/* One is on its way to the store: where others have room is known when it is there. */
bool drain_volumes_starting(const struct drain_volumes *volumes);
/* Begins one; those that could not move are tried again after a while. */
void drain_volumes_go(struct drain_volumes *volumes);
void drain_volumes_free(struct drain_volumes *volumes);

#endif
