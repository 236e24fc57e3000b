/* The API's verbs on objects: list, show, create, change, delete, for every kind of kind.h, and start and stop of
 * guests. What an object needs beyond its schema (names that exist, addresses, a node) is checked and filled in by
 * complete.h.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_OBJECTS_H
#define NODE_AGENT_OBJECTS_H

#include <stdbool.h>

struct api;
struct api_call;
struct cluster;
struct err;
struct json_t;
struct mirror;
struct object;
struct objects;

/* state: the node's folder, where the cluster's volume key is. shared: the store is one for several nodes, so that
 * guests can be taken over. */
struct objects *objects_new(struct cluster *cluster, const char *state, bool shared, struct api *api, struct err *err);
void objects_free(struct objects *objects);
/* An object as the API shows it, without its key; new reference. */
struct json_t *objects_view(const struct object *object);

/* The object that the call's path names, by name or by id, of the kind its route is tagged with. NULL: answered with
 * 404. */
const struct object *objects_wanted(struct api_call *call, const struct mirror *mirror);

/* Answers a call that made it; task: the one that says what becomes of it, or "". */
void objects_reply_created(struct api_call *call, const struct object *object, const char *task);
/* Answers a call whose change came to nothing; rc and err as change_done() has them. */
void objects_refuse(struct api_call *call, int rc, const struct err *err);

#endif
