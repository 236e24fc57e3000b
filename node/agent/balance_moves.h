/* Moves of the balancer's active plan that leave this node: those of the wave that is under way are begun here, each
 * once, and only if the guest is still as the plan takes it to be. What becomes of them, the balancer sees.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_BALANCE_MOVES_H
#define NODE_AGENT_BALANCE_MOVES_H

#include <stdbool.h>
#include <stdint.h>

struct balance_moves;
struct cluster;
struct err;
struct loop;
struct mirror;
struct object;

/* state: the node's folder, where the cluster's volume key is; lent. */
struct balance_moves *balance_moves_new(struct loop *loop, struct cluster *cluster, const char *state, struct err *err);
void balance_moves_free(struct balance_moves *moves);
uint64_t balance_moves_begun(const struct balance_moves *moves); /* since the agent began */

/* Is this guest one that the plan moves, in this wave or a later one, and is there a balancer that goes on with it? */
bool balance_moves_has(const struct mirror *mirror, const struct object *guest);

#endif
