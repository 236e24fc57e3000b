/* That a guest has switched itself off, on its way to the store: "running" becomes false, as if somebody had stopped
 * it. Until that is written it counts here, so that the guest is not started again meanwhile, nor because the store is
 * away.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_GUEST_OFF_H
#define NODE_AGENT_GUEST_OFF_H

#include <stdbool.h>

struct cluster;
struct guest_off;
struct loop;
struct loop_job;
struct object;

/* It has, as the guest is now. look: deferred when there may be something to do; it calls guest_off_holds(). NULL: out
 * of memory. */
struct guest_off *guest_off_new(struct loop *loop, struct cluster *cluster, const struct object *guest,
                                struct loop_job *look);
/* It is not written yet, and nobody has asked for the guest's start since; it is written, or once more. */
bool guest_off_holds(struct guest_off *off, const struct object *guest);
void guest_off_free(struct guest_off *off);

#endif
