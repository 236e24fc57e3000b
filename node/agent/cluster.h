/* What an agent knows of its cluster: the store, the mirror that follows it, and this node's place in it.
 *
 *     OPENING --read, watched--> CURRENT --watch lost or compacted--> READING --> CURRENT
 *
 * While the store is away the mirror stands still: reads are answered from it, guests run on, changes fail with
 * -EHOSTUNREACH. Thread: the loop's. */
#ifndef NODE_AGENT_CLUSTER_H
#define NODE_AGENT_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "node/agent/mirror.h"

struct cluster;
struct err;
struct loop;
struct store;

struct cluster_handler {
    /* The mirror holds everything for the first time. */
    void (*current)(struct cluster_handler *handler);
};

/* store: lent. node: this one's name. */
struct cluster *cluster_new(struct loop *loop, struct store *store, const char *node, struct cluster_handler *handler,
                            struct err *err);
/* Runs once the mirror shows at least that revision of the store; from the loop. */
struct cluster_waiter {
    void (*seen)(struct cluster_waiter *waiter);
    int64_t revision;
    STAILQ_ENTRY(cluster_waiter) link;
};
/* Does the mirror show it already? Of a cluster that is closing it shows all that it ever will. */
bool cluster_shows(const struct cluster *cluster, int64_t revision);
void cluster_wait(struct cluster *cluster, struct cluster_waiter *waiter, int64_t revision);

/* Ends the watch; closed() comes from the loop, once nothing is in flight. Then cluster_free(). */
void cluster_close(struct cluster *cluster, void (*closed)(void *context), void *context);
struct store *cluster_store(const struct cluster *cluster);
void cluster_free(struct cluster *cluster);

struct mirror *cluster_mirror(const struct cluster *cluster);
const char *cluster_node(const struct cluster *cluster);
bool cluster_is_current(const struct cluster *cluster);
/* Why it is not, or "". */
const char *cluster_trouble(const struct cluster *cluster);

#endif
