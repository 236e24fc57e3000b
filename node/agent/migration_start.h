/* The beginning of a migration: its record, the guest that is marked by it, and the task that follows it, all or
 * nothing. Thread: the loop's. */
#ifndef NODE_AGENT_MIGRATION_START_H
#define NODE_AGENT_MIGRATION_START_H

#include <stdint.h>

#include "node/agent/task_start.h"

struct cluster;
struct err;
struct migration_goals;
struct object;

/* The move of a plan (OBJECT_PLAN) that it is: it begins only if the plan still has that revision. */
struct migration_origin {
    const char *plan; /* its id */
    uint64_t revision;
    int move;
};

/* done() once, later, unless this fails; -ESTALE: the guest, a volume or the plan is not what the mirror said, -EAGAIN:
 * somebody else was given room where it goes (room_claim.h). state: the node's folder, where the cluster's volume key
 * is. origin: NULL if no plan asks for it. Errors: -errno with a text. */
int migration_start(struct cluster *cluster, const char *state, const struct object *guest, const char *to,
                    const struct migration_goals *goals, const char *by, const struct migration_origin *origin,
                    task_start_done *done, void *context, struct err *err);

#endif
