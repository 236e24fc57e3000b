/* Drills in the API:
 *
 *     GET  /v1/drills, /v1/drills/{name}    (objects.h)
 *     POST /v1/drills                       one begins, if nothing speaks against it and somebody has confirmed it
 *     POST /v1/drills/{name}/abort          its fault is ended, if the node hears it, and it heals
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_DRILL_ROUTES_H
#define NODE_AGENT_DRILL_ROUTES_H

#include <stdbool.h>

struct api;
struct cluster;
struct drill_routes;
struct err;

/* store: where the cluster's is; lent. */
struct drill_routes *drill_routes_new(struct cluster *cluster, const char *store, struct api *api, struct err *err);
void drill_routes_free(struct drill_routes *routes);

#endif
