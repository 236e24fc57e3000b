/* A node becomes part of a cluster: the first one begins it, others are invited.
 *
 * An invitation is a file, {"api":..., "ca":..., "token":...}, made by `drover cluster invite`: where the cluster is,
 * by which authority to know it, and a secret that is good once for a while. The new node makes its key itself and
 * sends a request; what comes back is its certificate and where the store is.
 *
 * Thread: the main one; may block. */
#ifndef NODE_AGENT_NODE_SETUP_H
#define NODE_AGENT_NODE_SETUP_H

struct err;

/* NULL: as droverd's help says. */
struct node_setup {
    const char *state;
    const char *cluster; /* of node_setup_init() */
    const char *node, *address, *listen, *store;
};

/* Errors: -EEXIST the node is in a cluster; -EINVAL a name or address; all with a text. */
int node_setup_init(const struct node_setup *setup, struct err *err);
int node_setup_join(const struct node_setup *setup, const char *invitation, struct err *err);

#endif
