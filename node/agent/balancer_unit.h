/* This node's drover-balancer: started, watched, started again. It gives up all rights by itself and speaks with the
 * store alone; it ends when this agent does, by a pipe that it reads.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_BALANCER_UNIT_H
#define NODE_AGENT_BALANCER_UNIT_H

#include <stdbool.h>

struct balancer_unit;
struct cgroups;
struct err;
struct loop;

struct balancer_place {
    struct loop *loop;
    const struct cgroups *cgroups;
    const char *program;
    const char *store, *state, *node; /* as the agent has them */
    const char *log;                  /* the file it logs to */
};

/* place is lent. */
struct balancer_unit *balancer_unit_new(const struct balancer_place *place, struct err *err);
/* What it reads at its start has changed: it ends, and is started again. */
void balancer_unit_renew(struct balancer_unit *unit);
/* It is told to end; then turns of the loop until balancer_unit_busy() ends. */
void balancer_unit_end(struct balancer_unit *unit);
bool balancer_unit_busy(const struct balancer_unit *unit);
void balancer_unit_free(struct balancer_unit *unit);

#endif
