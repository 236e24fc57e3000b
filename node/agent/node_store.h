/* A node's store moves: from a file of its own to a cluster's etcd, or back, while no agent runs.
 *
 * Thread: the main one; blocks. */
#ifndef NODE_AGENT_NODE_STORE_H
#define NODE_AGENT_NODE_STORE_H

struct err;

/* Copies everything to the store at `uri`, and writes into the node's configuration that it is there from now on. The
 * old one is left as it is. Errors: -errno with a text; the node keeps its old store then. Safe to repeat. */
int node_store_move(const char *state, const char *uri, struct err *err);

#endif
