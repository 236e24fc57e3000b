/* Migrations that are under way and are not of a plan: people's, and those of drains. They count against what may run
 * at a time, in the cluster and at a node. A plan's first wave is made to fit beside them (waves.h); no wave begins
 * beside as many as there may be. Pure. Threads: any. */
#ifndef BALANCER_TRAFFIC_H
#define BALANCER_TRAFFIC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct policy;

/* How many are under way from or to each node, by its name, without those of this plan (its id); a new reference. */
json_t *traffic_count(json_t *objects, const char *plan);

/* What the plan's wave has to wait for, by the cluster's objects (snapshot.h): a sentence into *why (len bytes), or
 * false: nothing. */
bool traffic_forbids(json_t *objects, const json_t *record, int wave, const struct policy *policy, char *why,
                     size_t len);

#endif
