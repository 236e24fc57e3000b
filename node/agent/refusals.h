/* Keys of nodes that were removed: each node writes them down beside its certificates (`refused-keys`,
 * node/base/tls_refused.h), so that nothing on it, neither its API nor the servers of its members, takes a certificate
 * that was made for one of them. What is written there stays: a node that is to come back makes a key of its own anew.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_REFUSALS_H
#define NODE_AGENT_REFUSALS_H

struct change;
struct cluster;
struct err;
struct loop;
struct object;
struct refusals;

struct refusals_place {
    struct loop *loop;
    struct cluster *cluster;
    const char *tls; /* folder of this node's certificates; lent */
    /* The file is new: what has read it must read it again. */
    void (*changed)(void *context);
    void *context;
};

/* place is copied. */
struct refusals *refusals_new(const struct refusals_place *place, struct err *err);
void refusals_free(struct refusals *refusals);

/* For the change that removes a node: from then on its key is refused by all. */
void refusals_add(struct change *change, const struct object *node);

#endif
