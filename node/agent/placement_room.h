/* What nodes have left for one more guest, and how well spread the cluster would be with it there.
 *
 * Who is on his way counts on both of his nodes. One that runs and has not been measured for long enough where it is,
 * as a new one, wants as much for each vCPU as those that are measured do, and of its memory the same part. Who does
 * not run wants nothing. Thread: the mirror's. */
#ifndef NODE_AGENT_PLACEMENT_ROOM_H
#define NODE_AGENT_PLACEMENT_ROOM_H

#include <stdbool.h>
#include <stddef.h>

#include "node/agent/mirror.h"
#include "node/agent/placement_policy.h"
#include "node/agent/placement_score.h"
#include "node/agent/placement_share.h"

struct json_t;

/* All zero: nothing was gathered. It is as the mirror was then, and holds for this turn of the loop. */
struct placement_room {
    struct placement_room_node {
        const struct object *node;
        const struct json_t *record;   /* what it says of its guests (load.h) */
        struct placement_share given;  /* load: to those that are measured, and to volumes' members here */
        double unmeasured[2];          /* vCPUs and memory of the others that run */
        double bears[PLACEMENT_LOADS]; /* processors, bytes, bytes a second; 0: it does not say */
    } * nodes;                         /* in the order of their names */
    size_t count;
    double usual[PLACEMENT_LOADS]; /* of guests that are measured, for each vCPU, or byte of memory */
    struct placement_policy policy;
    struct placement_score score; /* of nodes that take guests */
    bool gathered, failed;        /* failed: there was no memory for it */
};

/* A guest to be placed. */
struct placement_load {
    struct placement_share needs, counted; /* counted: on each of the nodes that it has a share of already */
    const char *on[2];                     /* those; "": none */
    struct placement_score without;        /* the cluster's */
};

/* One pass over all guests. */
void placement_room_gather(struct placement_room *room, const struct mirror *mirror);
/* Of that node alone, and only what is promised. */
void placement_room_gather_of(struct placement_room *room, const struct mirror *mirror, const struct object *node);
void placement_room_fini(struct placement_room *room);

/* guest: its id ("": it is new). Valid as long as the room. */
struct placement_load placement_room_load(const struct placement_room *room, const struct mirror *mirror,
                                          const char *guest, const struct json_t *spec);

/* Has the node room for it, within the limits of the policy? One that is not to run has it anywhere. *why (placement.h;
 * NULL: nobody asks): what it lacks. */
bool placement_room_fits(const struct placement_room *room, const struct placement_load *load,
                         const struct object *node, char *why);

/* With it there: the score (placement_score.h). A node that does not say how much memory it has comes after all that
 * do. */
double placement_room_after(const struct placement_room *room, const struct placement_load *load,
                            const struct object *node);
/* The part of its memory that would be promised: of nodes with the same score the least one, whatever is weighed. */
double placement_room_filled(const struct placement_room *room, const struct placement_load *load,
                             const struct object *node);

#endif
