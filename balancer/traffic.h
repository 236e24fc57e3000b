/* Migrations that are under way and are not of a plan: people's, and those of drains. They count against what may run
 * at a time, in the cluster, at a node, and over the link of a rack or site. A plan's first wave is made to fit beside
 * them (waves.h); no wave begins beside as many as there may be. Pure. Threads: any. */
#ifndef BALANCER_TRAFFIC_H
#define BALANCER_TRAFFIC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct policy;

enum { TRAFFIC_WHY_MAX = 140 };

/* Those that are under way, without those of this plan (its id), by the names of nodes; a new reference:
 *
 *     {NODE: {"moving": N, "over_rack": N, "over_site": N}}    from or to it; of these, over its rack's, its site's
 * link
 *
 * What is 0 is left out. */
json_t *traffic_count(json_t *objects, const char *plan);

/* What the plan's wave has to wait for, by the cluster's objects (snapshot.h): a sentence into *why (len bytes,
 * TRAFFIC_WHY_MAX are enough), or false: nothing. */
bool traffic_forbids(json_t *objects, const json_t *record, int wave, const struct policy *policy, char *why,
                     size_t len);

#endif
