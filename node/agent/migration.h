/* A migration: the record of a guest on its way to another node, and the rules by which both ends act. Pure functions.
 *
 *     value   {"kind":"migration", "id":..., "name":..., "key": the stream's, wrapped,
 *              "spec":{"guest", "guest_id", "from", "to", "max_downtime_ms", "within_s", "post_copy", "by", "began",
 *                      and of which plan it is which move: "plan", "move"},
 *              "address": where the destination listens, "refused": why it cannot,
 *              "cancel": true once somebody asked for it, "switched": true,
 *              "follows": true, if the guest goes before its last pages (post-copy), and then
 *              "arrived": {"asked": pages, "longest_wait_ms"}, or "lost": why its memory never will be whole}
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
 * With "follows" there is post-copy between switching and done: the source's process lives on until the destination,
 * which alone knows what is there, says "arrived" or "lost", in one change with the guest's mark. Until then the guest
 * is in this migration, and no process is started for it. What is lost is as by a crash of its process.
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
    MIGRATION_FOLLOWING, /* "post-copy": it runs there, and its last pages follow it */
    MIGRATION_DONE,
    MIGRATION_FAILED,
    MIGRATION_CANCELLED,
    MIGRATION_PHASE_COUNT
};

struct migration_goals {
    uint64_t max_downtime_ms, within_s;
    bool post_copy;    /* rather than give it up: the guest goes before its last pages */
    bool with_volumes; /* what of them is on the node that it leaves moves, too (migration_volumes.h) */
};

/* Whether a guest may go before its last pages: its spec's "post_copy". */
enum migration_post_copy { MIGRATION_POST_COPY_NEVER, MIGRATION_POST_COPY_ASKED, MIGRATION_POST_COPY_ALLOWED };

/* A new one; new reference, NULL: out of memory. key: wrapped, for its id. */
struct json_t *migration_make(const struct object *guest, const char *id, const char *to, const char *key,
                              const struct migration_goals *goals, const char *by);
struct migration_goals migration_goals(const struct object *migration);
enum migration_post_copy migration_post_copy(const struct object *guest);

const char *migration_phase_name(enum migration_phase phase);
enum migration_phase migration_phase_of(const struct object *migration); /* from its state */
bool migration_has_ended(const struct object *migration);

/* The one that the guest is in, or NULL. */
const struct object *migration_of(const struct mirror *mirror, const struct object *guest);
/* It runs, as it is to, and nothing else is going on with it: it may be sent away. */
bool migration_may_begin(const struct mirror *mirror, const struct object *guest);
/* The guest is that node's, or on its way to it. */
bool migration_concerns(const struct mirror *mirror, const struct object *guest, const char *node);
/* The migration by which that node's process still has pages of a guest that runs at its destination, or NULL. */
const struct object *migration_followed(const struct mirror *mirror, const struct object *guest, const char *node);
/* The guest has left the node it was started on: its disks are reached over the network until it is started anew. */
bool migration_moved(const struct object *guest);

/* ---- what the source does ---- */

/* What the guest's process says of itself. */
enum migration_process {
    MIGRATION_PROCESS_NONE, /* it does not run */
    MIGRATION_PROCESS_IDLE, /* it runs, and was not asked to move */
    MIGRATION_PROCESS_MOVING,
    MIGRATION_PROCESS_READY,  /* it stands still, and all of it is at the destination, or follows */
    MIGRATION_PROCESS_SERVES, /* it was told to go: its last pages follow it */
    MIGRATION_PROCESS_FAILED, /* it could not move, and runs on */
};

struct migration_view {
    const struct object *migration, *guest; /* as the mirror has them; guest NULL: it is gone */
    enum migration_process process;
    bool asked;                              /* the process was asked to move */
    bool committing;                         /* the switch-over was asked for, and there is no answer yet */
    bool store_away;                         /* it could not be asked for: it was not made, and will not be */
    bool late;                               /* the destination was given time enough */
    bool broken;                             /* pages follow, and the connections that they take are broken */
    const struct migration_volumes *volumes; /* that it takes along and that are to be there first; NULL: none */
    bool overdue;                            /* they have had all the time that there is */
};

enum migration_step {
    MIGRATION_STEP_WAIT,
    MIGRATION_STEP_ASK,       /* the process to move */
    MIGRATION_STEP_COMMIT,    /* the switch-over */
    MIGRATION_STEP_REFUSE,    /* there will be none: write why */
    MIGRATION_STEP_LEAVE,     /* it has happened: the process ends */
    MIGRATION_STEP_GO,        /* it has happened, and pages follow: the process is told that it will not run again */
    MIGRATION_STEP_RESUME,    /* they cannot: it gets new connections */
    MIGRATION_STEP_TAKE_BACK, /* it will not happen: the process goes on */
    MIGRATION_STEP_RECALL,    /* it is written down that the volumes are not to go on, and why */
    MIGRATION_STEP_VOLUMES,   /* ... that all of them are there */
    MIGRATION_STEP_CLOSE,     /* write how it ended */
};

struct migration_decision {
    enum migration_step step;
    enum migration_phase phase; /* of CLOSE: how */
    const char *reason;         /* of CLOSE, REFUSE, RECALL and TAKE_BACK; "": the process knows */
};

struct migration_decision migration_decide(const struct migration_view *view);

/* ---- what the destination does while pages follow ---- */

/* What the guest's process says there. */
enum migration_there {
    MIGRATION_THERE_NONE,  /* it does not run */
    MIGRATION_THERE_MUTE,  /* it does not answer: it may wait for a page itself; or its connections are broken */
    MIGRATION_THERE_FED,   /* pages come */
    MIGRATION_THERE_WHOLE, /* all of its memory is there */
};

struct migration_arrival {
    const struct object *migration, *guest;
    enum migration_there process;
    bool away; /* the source's node, and for so long that it is not only its agent that begins anew */
};

enum migration_arrival_step {
    MIGRATION_ARRIVAL_WAIT,
    MIGRATION_ARRIVAL_WHOLE, /* write that it is */
    MIGRATION_ARRIVAL_END,   /* the process, for that reason */
    MIGRATION_ARRIVAL_LOST,  /* write that its memory was lost */
};

enum migration_arrival_step migration_arrive(const struct migration_arrival *view, const char **reason);

#endif
