/* Fail-over in the API:
 *
 *     GET  /v1/ha          armed or not, who is protected, how many nodes may be lost now
 *     POST /v1/ha/arm      guests of lost nodes are taken over (as from the beginning)
 *     POST /v1/ha/disarm   they are not; deadlines are kept all the same
 *     POST /v1/ha/pledge   for nodes: whether this one pledges to take nothing over (failsafe.h)
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_FAILOVER_ROUTES_H
#define NODE_AGENT_FAILOVER_ROUTES_H

struct api;
struct cluster;
struct err;
struct failover_routes;
struct failovers;
struct power_watch;
struct tenure;

struct failover_routes *failover_routes_new(struct cluster *cluster, struct api *api, struct err *err);
/* What the routes need, once it is there; until then they answer 503. */
void failover_routes_attach(struct failover_routes *routes, struct failovers *failovers,
                            const struct power_watch *power, struct tenure *tenure);
void failover_routes_free(struct failover_routes *routes);

#endif
