/* Connections to another node, made on a worker thread because that may take its time. Thread: the loop's, where
 * nothing else is said. */
#ifndef NODE_AGENT_DIAL_H
#define NODE_AGENT_DIAL_H

#include "node/base/err.h"
#include "node/base/worker.h"

enum { DIAL_MAX = 8, DIAL_ADDRESS_BYTES = 128 };

/* Belongs to the worker from dial_begin() until done(). */
struct dial {
    /* rc: 0, and fds[0] to fds[count - 1] are whoever's this is; or -errno with err, and there are none. */
    void (*done)(struct dial *dial, int rc);
    char address[DIAL_ADDRESS_BYTES]; /* "tcp:10.0.0.2:40001" or "tcp:[fd00::2]:40001" */
    unsigned count;                   /* at most DIAL_MAX */
    unsigned patience_ms;             /* with each; 0: five seconds */
    int fds[DIAL_MAX];
    int rc;
    struct err err;
    struct worker_task task;
};

void dial_begin(struct dial *dial, struct worker *worker);
void dial_close(struct dial *dial); /* the connections */

#endif
