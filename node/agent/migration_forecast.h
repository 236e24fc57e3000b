/* What a migration would cost: what the guest's process is asked (FORECAST, node/base/guest_message.h), what of earlier
 * migrations it is told, and how its answer reads in a migration's state:
 *
 *     "predicted_bytes", "predicted_s", "predicted_downtime_ms", "goals_hold", "goals_reason", "predicted_from",
 *     and where it ends only by post-copy "predicted_post_copy", "predicted_post_copy_s"; or "needs_post_copy", if that
 *     was not allowed
 *
 * Of the link is known what migrations that are done have shown: between these two nodes, either way; else of any two;
 * else 1 Gbit/s is assumed. Medians of the newest. Pure functions. Threads: any. */
#ifndef NODE_AGENT_MIGRATION_FORECAST_H
#define NODE_AGENT_MIGRATION_FORECAST_H

#include "node/agent/mirror.h"

struct json_t;
struct migration_goals;

enum { MIGRATION_FORECAST_FROM_MAX = 96 };

/* A new object, the request's body. from: what the link's speed is taken from, in words. */
struct json_t *migration_forecast_wish(const struct mirror *mirror, const char *here, const char *to,
                                       const struct migration_goals *goals, char from[MIGRATION_FORECAST_FROM_MAX]);
/* A new object with the keys above, of the process's answer. */
struct json_t *migration_forecast_state(const struct json_t *answer, const char *from);

/* Of the volumes that move along (migration_volumes.h): how many seconds they are likely to take before the guest sets
 * out. wish: as above; spec: of the migration. 0: none does. */
double migration_forecast_volumes(const struct mirror *mirror, const struct json_t *wish, const struct json_t *spec);
/* Of the goals, what is left for the guest then. */
struct migration_goals migration_forecast_rest(const struct migration_goals *goals, double volume_s);
/* state: of the guest alone, or of one of which nothing is predicted. It is of both from now on: with
 * "predicted_volume_bytes", "predicted_volume_s", the sums, and what that does to the goals. */
void migration_forecast_add(struct json_t *state, const struct json_t *spec, double volume_s);

#endif
