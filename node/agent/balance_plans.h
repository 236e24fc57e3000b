/* The API of plans, beside their lists:
 *
 *     POST  /v1/balance/plan           what would be planned now
 *     POST  /v1/balance/plan/apply     ... and have it carried out
 *     POST  /v1/balance/consolidation  have nodes emptied that can sleep
 *     POST  /v1/plans/{name}/apply     a proposal is to be carried out
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_BALANCE_PLANS_H
#define NODE_AGENT_BALANCE_PLANS_H

struct api;
struct balance_routes;
struct err;

/* routes are lent. */
int balance_plans_add_routes(struct balance_routes *routes, struct api *api, struct err *err);

#endif
