/* A node that is drained sends its running guests to others, a few at a time; those that cannot move are tried again
 * after a while. Guests that are stopped stay. If volumes are to leave it, too (drain_volumes.h), guests take along
 * what theirs have here, and the rest moves by itself; no more is under way at a time.
 *
 * Guests that no node takes are in the node's state, with the reason: "staying": {NAME: WHY}. The balancer plans for
 * these, who may make room by moving others; while such a plan is carried out, they are its.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_DRAIN_H
#define NODE_AGENT_DRAIN_H

struct cluster;
struct drain;
struct err;
struct loop;
struct presence;

enum { DRAIN_STAYING_MAX = 64 /* that are named: the first by their names */ };

/* state: the node's folder; lent. */
struct drain *drain_new(struct loop *loop, struct cluster *cluster, struct presence *presence, const char *state,
                        struct err *err);
void drain_free(struct drain *drain);

#endif
