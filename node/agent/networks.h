/* The networks of this node as a whole: what other nodes there are is told to those that have guests here, and what
 * nobody needs any more is swept, when the agent begins and after changes.
 *
 * Thread: the loop's; the work is done on a worker. */
#ifndef NODE_AGENT_NETWORKS_H
#define NODE_AGENT_NETWORKS_H

struct cluster;
struct err;
struct guest_plan_place;
struct guests;
struct loop;
struct networks;
struct worker;

/* place, guests: lent; whoever runs here keeps what is plugged in for it. */
struct networks *networks_new(struct loop *loop, struct worker *worker, struct cluster *cluster,
                              const struct guest_plan_place *place, struct guests *guests, struct err *err);
/* What the worker does is let finish: freed once it has, at the latest with the worker. */
void networks_free(struct networks *networks);

#endif
