/* The API's verbs on objects: list, show, create, change, delete, for every kind of kind.h, and start and stop of
 * guests. What an object needs beyond its schema (names that exist, addresses, a node) is checked and filled in by
 * complete.h.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_OBJECTS_H
#define NODE_AGENT_OBJECTS_H

#include <stdbool.h>

struct api;
struct err;
struct object_place;
struct objects;

/* place: is copied. shared: the store is one for several nodes, so that guests can be taken over. */
struct objects *objects_new(const struct object_place *place, bool shared, struct api *api, struct err *err);
void objects_free(struct objects *objects);

#endif
