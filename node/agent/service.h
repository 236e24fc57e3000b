/* What the service manager is told: ready, more time, still alive. The protocol of sd_notify(3), a datagram; without a
 * service manager (NOTIFY_SOCKET) nothing is said.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_SERVICE_H
#define NODE_AGENT_SERVICE_H

#include "node/base/loop.h"

/* "READY=1"; a failure is logged. */
void service_say(const char *text);

/* A word of life at half of the time after which the manager ends a process that is silent (WATCHDOG_USEC, if it is
 * meant for this process). It comes from the loop, so it stops when the loop does. */
struct service_watch {
    struct loop *loop;
    struct loop_timer timer;
    uint64_t every_ns; /* 0: nobody waits for it */
};
void service_watch_begin(struct service_watch *watch, struct loop *loop);
void service_watch_end(struct service_watch *watch);

#endif
