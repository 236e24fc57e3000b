/* What there is of a guest on this node, for the files that bring it about and tell of it. Thread: the loop's. */
#ifndef NODE_AGENT_GUEST_UNIT_INSIDE_H
#define NODE_AGENT_GUEST_UNIT_INSIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/guest_deadline.h"
#include "node/agent/guest_handed.h"
#include "node/agent/guest_link.h"
#include "node/agent/guest_unit.h"
#include "node/agent/process.h"
#include "node/agent/restart.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/worker.h"

struct owner_claim;

enum { GUEST_UNIT_ID_MAX = 64 };

/* Work for a worker thread, with a copy of everything it looks at. */
struct guest_chore {
    struct worker_task task;
    struct guest_unit *unit;
    struct json_t *plan;
    enum { CHORE_PREPARE, CHORE_ANNOUNCE, CHORE_CLEAN } kind;
    bool busy;
    int rc;
    struct err err;
};

struct guest_unit {
    const struct guest_place *place;
    struct guest_unit_handler *handler;
    char id[GUEST_UNIT_ID_MAX];
    enum guest_phase phase;
    struct json_t *plan, *made_of; /* what is wanted, and what it was last prepared with */
    struct process process;
    struct guest_link *link;
    struct guest_link_handler link_handler;
    struct guest_call stop_call, go_call, look_call;
    char address[GUEST_HANDED_ADDRESS_BYTES];
    bool stop_asked, off, freed;
    bool yields;  /* no process is to be started now */
    bool dropped; /* the process that ends is of a guest that has left; one that is wanted now begins anew */
    unsigned tries;
    struct restart_record restarts;
    enum restart_cause trouble; /* of the process, as it said last; RESTART_CAUSES: none */
    bool ending, again;         /* ending: for that trouble; again: it has ended, and is started again by its policy */
    uint64_t backoff_ms, since_ms, stop_ms;
    struct loop_timer timer;
    struct guest_chore chore, announcement;
    struct guest_deadline deadline;
    bool bound;                /* the process has a deadline, or may have one */
    struct owner_claim *claim; /* while one is on its way */
    struct err reason, lost;   /* lost: why its last process was made to end; "": it was not */
};

#endif
