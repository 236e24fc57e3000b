/* The beginning of a migration: its record, the guest that is marked by it, and the task that follows it, all or
 * nothing. Thread: the loop's. */
#ifndef NODE_AGENT_MIGRATION_START_H
#define NODE_AGENT_MIGRATION_START_H

#include "node/agent/record_name.h"
#include "node/base/uuid.h"

#include <stdint.h>

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

struct migration_started {
    char id[UUID_TEXT_BYTES], task[RECORD_NAME_BYTES];
};

/* done() once, later, unless this fails: rc and err as change_done() has them. state: the node's folder, where the
 * cluster's volume key is. origin: NULL if no plan asks for it. Errors: -errno with a text. */
int migration_start(struct cluster *cluster, const char *state, const struct object *guest, const char *to,
                    const struct migration_goals *goals, const char *by, const struct migration_origin *origin,
                    void (*done)(void *context, int rc, const struct migration_started *started, const struct err *err),
                    void *context, struct err *err);

#endif
