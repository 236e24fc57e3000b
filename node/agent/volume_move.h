/* The bytes of a volume, or of one of its members, on their way to another pool: the record of it, and the rules by
 * which it goes. Pure functions of the mirror.
 *
 *     value   {"kind":"volume-move", "id":..., "name":...,
 *              "spec":{"volume", "volume_id", "index": the member's, -1: it has no layout, "from", "to": pools,
 *                      "node": the destination's, "member": the object of the new bytes, "bytes", "by", "began",
 *                      "migration": of the guest that moves with it, or ""},
 *              "cancel": true once somebody asked for it, "failed": why it will not be,
 *              "offline": true, without a guest: they are being copied by the node that has them,
 *              "switched": true}
 *     state   {"phase", "reason", "done_bytes", "total_bytes", "ended"}, written by volume_move_conductor()
 *
 * The volume's value names it while it goes on: "move": ID. The new bytes are an object of kind member, "arriving"
 * until the switch-over; the old ones are one from then on, "retired", until nobody has them open, and then on their
 * way out. The switch-over is one change: before it the old bytes are the volume, after it the new ones. Whoever has
 * the volume open writes to both from before the switch-over is asked for until he knows what became of it
 * (nbd/move.h), so whoever falls at any time, the store says which of them counts, and that one has everything.
 *
 *     waiting --new bytes are served--> copying --all there--> [copied -->] settled --switch-over--> done
 *        +------------+---------------------+------------------+--> failed, cancelled: the old bytes are the volume
 *
 * Of a guest that moves along (migration_volumes.h) it is copied until all that the guest has are.
 *
 * Threads: any. */
#ifndef NODE_AGENT_VOLUME_MOVE_H
#define NODE_AGENT_VOLUME_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct json_t;

enum volume_move_phase {
    VOLUME_MOVE_WAITING,
    VOLUME_MOVE_COPYING,
    VOLUME_MOVE_COPIED, /* and waits for others of the same guest */
    VOLUME_MOVE_SETTLED,
    VOLUME_MOVE_DONE,
    VOLUME_MOVE_FAILED,
    VOLUME_MOVE_CANCELLED,
    VOLUME_MOVE_PHASE_COUNT
};

struct volume_move_wish {
    const char *id, *member;        /* new */
    int index;                      /* -1: the volume has no layout */
    const struct object *from, *to; /* pools */
    uint64_t bytes;                 /* of the new bytes, with all that is in front of them */
    const char *migration, *by;
    const struct json_t *taken; /* {POOL: bytes} that others of the same change get; NULL: there are none */
};

/* A new record; new reference, NULL: out of memory. */
struct json_t *volume_move_make(const struct object *volume, const struct volume_move_wish *wish);

const char *volume_move_phase_name(enum volume_move_phase phase);
enum volume_move_phase volume_move_phase_of(const struct object *move); /* from its state */
bool volume_move_has_ended(const struct object *move);
bool volume_move_is_switched(const struct object *move);
int volume_move_index(const struct object *move);

/* The one that the volume is in, or NULL. */
const struct object *volume_move_of(const struct mirror *mirror, const struct object *volume);
const struct object *volume_move_volume(const struct mirror *mirror, const struct object *move); /* or NULL */
/* The new bytes, until the switch-over; NULL: they are gone. */
const struct object *volume_move_member(const struct mirror *mirror, const struct object *move);
/* The first of a guest's volumes that is on its way; NULL: none is. */
const struct object *volume_move_of_guest(const struct mirror *mirror, const struct object *guest);
/* Where the new bytes are served; "": not yet. */
const char *volume_move_uri(const struct mirror *mirror, const struct object *move);
/* The node that does the work: that of the volume's guest, if one runs or is to, else the one that has the old bytes,
 * or speaks for the volume. */
const char *volume_move_conductor(const struct mirror *mirror, const struct object *move);

/* ---- what the conductor does ---- */

/* What the guest's process says of the disk. */
enum volume_move_process {
    VOLUME_MOVE_UNKNOWN, /* there is, or will be, one that cannot be asked now */
    VOLUME_MOVE_NONE,    /* none runs */
    VOLUME_MOVE_IDLE,    /* it has the volume, and moves nothing */
    VOLUME_MOVE_COPIES,
    VOLUME_MOVE_SYNCED,
    VOLUME_MOVE_HOLDS,   /* settled: it writes to both, whatever it takes */
    VOLUME_MOVE_GAVE_UP, /* it stays with the old bytes */
};

/* The program that copies where no guest has the volume. */
enum volume_move_copy { VOLUME_MOVE_COPY_NONE, VOLUME_MOVE_COPY_RUNS, VOLUME_MOVE_COPY_DONE, VOLUME_MOVE_COPY_FAILED };

struct volume_move_view {
    const struct mirror *mirror;
    const struct object *move;
    enum volume_move_process process;
    enum volume_move_copy copy;
    bool waits;      /* HOLDS: one of both does not take a write */
    bool late;       /* the new bytes were given time enough to be made */
    const char *why; /* what has failed here; "": nothing */
};

enum volume_move_step {
    VOLUME_MOVE_STEP_WAIT,
    VOLUME_MOVE_STEP_BEGIN,  /* the process is asked to copy */
    VOLUME_MOVE_STEP_SETTLE, /* ... to write to both from now on */
    VOLUME_MOVE_STEP_COMMIT, /* the switch-over */
    VOLUME_MOVE_STEP_LEAVE,  /* it was made: the process leaves the old bytes */
    VOLUME_MOVE_STEP_MARK,   /* it is written down that it will not be, before anybody acts so */
    VOLUME_MOVE_STEP_STAY,   /* it will not be: the process leaves the new bytes */
    VOLUME_MOVE_STEP_COPY,   /* a program is to copy */
    VOLUME_MOVE_STEP_STOP,   /* it is to end: a guest comes */
    VOLUME_MOVE_STEP_REMAKE, /* others may still write to the new bytes: others are made */
    VOLUME_MOVE_STEP_CLOSE,  /* write how it ended */
};

struct volume_move_decision {
    enum volume_move_step step;
    enum volume_move_phase phase; /* of CLOSE: how */
    const char *reason;           /* of CLOSE and MARK */
};

struct volume_move_decision volume_move_decide(const struct volume_move_view *view);

#endif
