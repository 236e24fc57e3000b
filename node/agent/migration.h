/* A migration: the record of a guest on its way to another node, and the rules by which both ends act. Pure functions.
 *
 *     value   {"kind":"migration", "id":..., "name":..., "key": the stream's, wrapped,
 *              "spec":{"guest", "guest_id", "from", "to", "max_downtime_ms", "within_s", "by", "began",
 *                      and of which plan it is which move: "plan", "move"},
 *              "address": where the destination listens, "refused": why it cannot,
 *              "cancel": true once somebody asked for it, "switched": true}
 *     state   {"phase", "reason", "done_bytes", "total_bytes", "ended", ...}, written by spec.from
 *
 * The guest's value names the migration while it goes on: "migration": ID. Every part of the value is written by
 * compare-and-swap, so that of a cancellation, a refusal and the switch-over exactly one takes place. The switch-over
 * is one change of guest and migration: before it the guest is spec.from's, after it spec.to's ("node" in the guest's
 * spec). The source's process stands still before it is asked for and never runs again once it may have happened; the
 * destination's does not run before it is seen.
 *
 *     [volumes -->] waiting --destination listens--> copying --all but a remainder--> switching --switch-over--> done
 *        +-------------+--------------------------+--> failed, cancelled: the guest runs on where it was
 *
 * Threads: any. */
#ifndef NODE_AGENT_MIGRATION_H
#define NODE_AGENT_MIGRATION_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct json_t;

enum migration_phase {
    MIGRATION_WAITING,
    MIGRATION_VOLUMES, /* those that the guest takes along are on their way */
    MIGRATION_COPYING,
    MIGRATION_SWITCHING,
    MIGRATION_DONE,
    MIGRATION_FAILED,
    MIGRATION_CANCELLED,
    MIGRATION_PHASE_COUNT
};

struct migration_goals {
    uint64_t max_downtime_ms, within_s;
    bool with_volumes; /* what of them is on the node that it leaves moves, too (migration_volumes.h) */
};

/* A new one; new reference, NULL: out of memory. key: wrapped, for its id. */
struct json_t *migration_make(const struct object *guest, const char *id, const char *to, const char *key,
                              const struct migration_goals *goals, const char *by);
struct migration_goals migration_goals(const struct object *migration);

const char *migration_phase_name(enum migration_phase phase);
enum migration_phase migration_phase_of(const struct object *migration); /* from its state */
bool migration_has_ended(const struct object *migration);

/* The one that the guest is in, or NULL. */
const struct object *migration_of(const struct mirror *mirror, const struct object *guest);
/* It runs, as it is to, and nothing else is going on with it: it may be sent away. */
bool migration_may_begin(const struct mirror *mirror, const struct object *guest);
/* The guest is that node's, or on its way to it. */
bool migration_concerns(const struct mirror *mirror, const struct object *guest, const char *node);
/* The guest has left the node it was started on: its disks are reached over the network until it is started anew. */
bool migration_moved(const struct object *guest);

/* ---- what the source does ---- */

/* What the guest's process says of itself. */
enum migration_process {
    MIGRATION_PROCESS_NONE, /* it does not run */
    MIGRATION_PROCESS_IDLE, /* it runs, and was not asked to move */
    MIGRATION_PROCESS_MOVING,
    MIGRATION_PROCESS_READY,  /* it stands still, and all of it is at the destination */
    MIGRATION_PROCESS_FAILED, /* it could not move, and runs on */
};

struct migration_view {
    const struct object *migration, *guest; /* as the mirror has them; guest NULL: it is gone */
    enum migration_process process;
    bool asked;                              /* the process was asked to move */
    bool committing;                         /* the switch-over was asked for, and there is no answer yet */
    bool store_away;                         /* it could not be asked for: it was not made, and will not be */
    bool late;                               /* the destination was given time enough */
    const struct migration_volumes *volumes; /* that it takes along and that are to be there first; NULL: none */
    bool overdue;                            /* they have had all the time that there is */
};

enum migration_step {
    MIGRATION_STEP_WAIT,
    MIGRATION_STEP_ASK,       /* the process to move */
    MIGRATION_STEP_COMMIT,    /* the switch-over */
    MIGRATION_STEP_LEAVE,     /* it has happened: the process ends */
    MIGRATION_STEP_TAKE_BACK, /* it will not happen: the process goes on */
    MIGRATION_STEP_RECALL,    /* it is written down that the volumes are not to go on, and why */
    MIGRATION_STEP_VOLUMES,   /* ... that all of them are there */
    MIGRATION_STEP_CLOSE,     /* write how it ended */
};

struct migration_decision {
    enum migration_step step;
    enum migration_phase phase; /* of CLOSE: how */
    const char *reason;         /* of CLOSE, RECALL and TAKE_BACK; "": the process knows */
};

struct migration_decision migration_decide(const struct migration_view *view);

#endif
