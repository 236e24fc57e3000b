/* A node's view of a store, for tests of what the agent does with it: n1's cluster over a world (store_world.h). */
#ifndef TESTS_UNIT_CLUSTER_WORLD_H
#define TESTS_UNIT_CLUSTER_WORLD_H

#include "node/agent/cluster.h"
#include "tests/unit/store_world.h"

/* Turns the world until the mirror shows what the store has. */
struct cluster *cluster_world_open(struct store_world *world);
/* Turns the world until nothing is under way. */
void cluster_world_close(struct store_world *world, struct cluster *cluster);

#endif
