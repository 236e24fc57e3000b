/* What one guest has of a node: what is promised to it, and what it wants.
 *
 * Promised is what its spec says, whether it runs or not: by that guests are spread. Taken is what it has if it is to
 * run: that is limited. What it wants is the p95 of what it used and waited for (load.h), as the node it is on has
 * measured it, more where that node's guests stood in each other's way. Thread: the mirror's. */
#ifndef NODE_AGENT_PLACEMENT_SHARE_H
#define NODE_AGENT_PLACEMENT_SHARE_H

#include <stdbool.h>

#include "node/agent/placement_policy.h"

struct json_t;

struct placement_share {
    double memory_bytes, vcpus; /* promised */
    double taken_bytes, taken_vcpus;
    double load[PLACEMENT_LOADS]; /* processors, bytes, bytes a second; all that its disks exchange goes over links */
    bool measured;                /* false: it is not, and load is 0 */
    struct json_t *storage;       /* what its disks do, by node; borrowed of the record, NULL: nothing */
    double storage_unit;          /* bytes a second */
};

/* record: what the node it is on says of its guests (load.h), NULL: nothing. guest: its id. */
struct placement_share placement_share_of(const struct json_t *record, const char *guest, const struct json_t *spec);

/* Bytes a second that its disks do on this node. */
double placement_share_storage(const struct placement_share *share, const char *node);

#endif
