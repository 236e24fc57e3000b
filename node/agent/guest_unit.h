/* One guest on this node: from what is wanted of it to a process, and back to nothing.
 *
 *                 want                prepared             answers on its control socket
 *     STOPPED ----------> PREPARING -----------> STARTING ------------------------------> RUNNING
 *        ^                    |                      |                                       |
 *        |                    +-------- failed ------+----------- ended by itself -----------+
 *        |                    v                                                              | do not want
 *        |                 WAITING (twice as long each time, then PREPARING again)           v
 *        +----------------------------- CLEANING <-------------------------------------- STOPPING
 *
 * A guest that comes from another node is STARTING -> INCOMING -> RUNNING: its process waits for the guest, and lets it
 * go on when it is wanted here for good. What is incoming is not started again when it ends: FAILED.
 *
 * A guest that has gone to another node before its last pages is LEAVING: its process still has them, and ends by
 * itself.
 *
 * FAILED is WAITING without an end: the policy says that it is not started again. A unit that is made where the guest's
 * process runs already (the agent was restarted) adopts it, and the guest does not notice.
 *
 * What is wanted may change at any time; a process that runs keeps what it was started with until it is started anew.
 * Thread: the loop's. */
#ifndef NODE_AGENT_GUEST_UNIT_H
#define NODE_AGENT_GUEST_UNIT_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/cgroup.h"

struct cluster;
struct err;
struct guest_call;
struct guest_unit;
struct json_t;
struct loop;
struct restart_record;
struct tenure;
struct worker;

enum guest_phase {
    GUEST_PHASE_STOPPED,
    GUEST_PHASE_PREPARING,
    GUEST_PHASE_STARTING,
    GUEST_PHASE_INCOMING,
    GUEST_PHASE_RUNNING,
    GUEST_PHASE_LEAVING,
    GUEST_PHASE_STOPPING,
    GUEST_PHASE_CLEANING,
    GUEST_PHASE_WAITING,
    GUEST_PHASE_FAILED,
    GUEST_PHASE_COUNT,
};

/* What guests of this node share. The three functions run on a worker thread: what a guest needs beside its process
 * (taps, a seed) is made, and is removed again; both may be called twice. plan: as guest_unit_want() was given it, a
 * copy. */
struct guest_place {
    struct loop *loop;
    struct cluster *cluster;     /* where volumes are claimed */
    const struct tenure *tenure; /* how long protected guests may run */
    struct worker *worker;
    const struct cgroups *cgroups;
    const char *program;   /* drover-guest, an absolute path */
    const char *state;     /* the node's folder, where the cluster's volume key is */
    const char *address;   /* where other nodes reach this one: an IP address */
    const char *directory; /* its sockets and logs: a folder of root's, mode 0700 */
    int (*prepare)(void *context, const char *id, const struct json_t *plan, struct err *err);
    int (*announce)(void *context, const char *id, const struct json_t *plan, struct err *err); /* it runs now */
    int (*clean)(void *context, const char *id, const struct json_t *plan, struct err *err);
    void *context;
};

struct guest_unit_handler {
    /* Phase, reason, pid or number of restarts have changed. The unit may be freed in it only if it is STOPPED. */
    void (*changed)(struct guest_unit_handler *handler, struct guest_unit *unit);
    /* The guest has switched itself off and is not wanted to run any more. */
    void (*off)(struct guest_unit_handler *handler, struct guest_unit *unit);
};

/* id must be a file name. place and handler must outlive the unit. NULL: out of memory. */
struct guest_unit *guest_unit_new(const struct guest_place *place, const char *id, struct guest_unit_handler *handler);
/* The guest's process, if there is one, runs on. Turns of the loop are needed afterwards until units_busy is 0. */
void guest_unit_free(struct guest_unit *unit);

/* plan, NULL: it is not to run:
 *     {"config": {...},              what drover-guest --config takes; control and console are added
 *      "restart": "always" | "on-failure" | "never", "on_panic": "keep" ...,       see restart.h
 *      "started": TIME,              when somebody last asked for its start: one that stays down begins anew
 *      "limits": {"cpu_percent": N, "cpu_weight": N},
 *      "protected": true,            it runs no longer than the node's tenure (tenure.h) without being told so again
 *      "volumes": [ID, ...],        claimed before each start, see owner.h; stacks name them as "volume": ID
 *      "moves": {ID: REVISION, ...}, in which its volumes are: they are claimed, too
 *      "incoming": {"migration": ID, "key": WRAPPED},   it comes from another node: not to run yet
 *      "held": true,                 what runs runs on, but no process is started
 *      "stop_seconds": N, ...}       patience after the power button; what else is there is for prepare() */
void guest_unit_want(struct guest_unit *unit, const struct json_t *plan);
/* If an agent before us started its process, and that runs, it is wanted as by that plan (guest_plan_found()). */
void guest_unit_find(struct guest_unit *unit, const struct json_t *plan);
/* Its guest is another node's: the process ends at once, and the guest is not asked. */
void guest_unit_drop(struct guest_unit *unit);
/* Its guest is another node's and needs pages of the process still (post-copy), which ends by itself; one that an agent
 * before us knew is found. */
void guest_unit_let_go(struct guest_unit *unit);
/* The guest's memory is lost: its process ends as by a crash, for that reason, and its policy says what follows. */
void guest_unit_give_up(struct guest_unit *unit, const char *why);
/* It may become another node's: its process ends at once, the guest is not asked, and none is started until it yields
 * no more. */
void guest_unit_yield(struct guest_unit *unit, bool yields);
/* Where an incoming guest is waited for: "tcp:10.0.0.2:40001"; "" unless this agent started its process. */
const char *guest_unit_address(const struct guest_unit *unit);
/* Pull the plug instead of pressing the power button, if it is being stopped. */
void guest_unit_hurry(struct guest_unit *unit);
/* The node's tenure has moved: its process is told, if it is protected. */
void guest_unit_tell_deadline(struct guest_unit *unit);
/* It stands, because its deadline has passed. */
bool guest_unit_is_frozen(const struct guest_unit *unit);
/* There is a process that must not outlive a tenure. */
bool guest_unit_is_bound(const struct guest_unit *unit);
/* Asks the guest, which runs or is leaving, something. -ENOTCONN: it is not. */
int guest_unit_call(struct guest_unit *unit, struct guest_call *call);

const char *guest_unit_id(const struct guest_unit *unit);
enum guest_phase guest_unit_phase(const struct guest_unit *unit);
const char *guest_phase_name(enum guest_phase phase);
/* Why it does not run, or "". */
const char *guest_unit_reason(const struct guest_unit *unit);
int guest_unit_pid(const struct guest_unit *unit);
const struct restart_record *guest_unit_restarts(const struct guest_unit *unit);
/* What another agent knew of its restarts, as the guest's state has it. */
void guest_unit_recall(struct guest_unit *unit, const struct json_t *restarts);
/* A call is on its way to a worker or to the kernel: not to be freed with the loop yet. */
bool guest_unit_busy(const struct guest_unit *unit);

#endif
