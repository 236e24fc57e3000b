/* The API of the balancer:
 *
 *     GET   /v1/balance              who is elected, what it sees, what it does
 *     GET   /v1/balance/policy       mode and policy; PATCH changes them (If-Match)
 *     GET   /v1/balance/consolidation which nodes could sleep, which must be woken
 *     GET   /v1/balance/capacity     how many nodes may be lost, how many guests of a shape fit
 *     GET   /v1/cluster/export       the cluster in the format that drover-balancer reads
 *
 * What concerns plans: balance_plans.h; they are listed and shown like other objects. Thread: the loop's. */
#ifndef NODE_AGENT_BALANCE_ROUTES_H
#define NODE_AGENT_BALANCE_ROUTES_H

struct api;
struct balance_place;
struct balance_routes;
struct cluster;
struct err;

/* place is lent. */
struct balance_routes *balance_routes_new(struct cluster *cluster, struct balance_place *place, struct api *api,
                                          struct err *err);
void balance_routes_free(struct balance_routes *routes);

#endif
