/* The API's verbs on objects: list, show, create, change, delete, for every kind of kind.h, and start and stop of
 * guests. What an object needs beyond its schema (names that exist, addresses, a node) is checked and filled in by
 * complete.h.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_OBJECTS_H
#define NODE_AGENT_OBJECTS_H

#include <stdbool.h>

struct api;
struct cluster;
struct err;
struct objects;

/* state: the node's folder, where the cluster's volume key is. shared: the store is one for several nodes, so that
 * guests can be taken over. */
struct objects *objects_new(struct cluster *cluster, const char *state, bool shared, struct api *api, struct err *err);
void objects_free(struct objects *objects);

#endif
