/* Requests for migrations:
 *
 *     POST /v1/guests/{name}/migrate   {"to": NODE, "max_downtime_ms": N, "within_s": N, "post_copy": BOOL,
 *                                       "with_volumes": BOOL}
 *     ...?dry_run=true                 what it would cost (forecasts.h); nothing is made
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_MIGRATION_REQUEST_H
#define NODE_AGENT_MIGRATION_REQUEST_H

struct api;
struct cluster;
struct err;
struct forecasts;
struct migration_requests;
struct room_turns;

/* state: the node's folder, where the cluster's volume key is. All are lent. */
struct migration_requests *migration_requests_new(struct cluster *cluster, struct forecasts *forecasts,
                                                  const char *state, struct room_turns *turns, struct api *api,
                                                  struct err *err);
void migration_requests_free(struct migration_requests *requests);

#endif
