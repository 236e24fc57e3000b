/* Migrations that are under way and are not of a plan: people's, and those of drains. They count against what may run
 * at a time, in the cluster and at a node, before a wave of the plan begins; what begins later is not waited for. Pure.
 * Threads: any. */
#ifndef BALANCER_TRAFFIC_H
#define BALANCER_TRAFFIC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct policy;

/* What the plan's wave has to wait for, by the cluster's objects (snapshot.h): a sentence into *why (len bytes), or
 * false: nothing. */
bool traffic_forbids(json_t *objects, const json_t *record, int wave, const struct policy *policy, char *why,
                     size_t len);

#endif
