/* What nodes have left for one more guest, and how full they would be with it: the memory and vCPUs that are promised,
 * and the part of their processors that their guests want.
 *
 * Promised is what all guests of a node have in their specs, whether they run or not: by that they are spread. Taken is
 * what those have that are to run: that is limited. Who is on his way counts on both of his nodes. What a guest wants
 * is the p95 of what it used and waited for (load.h), as the node it is on has measured it. One that has not been
 * measured there for long enough, as a new one, wants as much for each vCPU as those that are measured do. Who does not
 * run wants nothing. Thread: the mirror's. */
#ifndef NODE_AGENT_PLACEMENT_ROOM_H
#define NODE_AGENT_PLACEMENT_ROOM_H

#include <stdbool.h>
#include <stddef.h>

#include "node/agent/mirror.h"
#include "node/agent/placement_limits.h"

struct json_t;

/* Of a node. */
struct placement_share {
    double memory_bytes, vcpus; /* promised */
    double taken_bytes, taken_vcpus;
    double cpus; /* wanted */
};

/* All zero: nothing was gathered. It is as the mirror was then, and holds for this turn of the loop. */
struct placement_room {
    struct placement_room_node {
        const struct object *node;
        const struct json_t *measured; /* what it says of its guests */
        struct placement_share given;  /* cpus: to those that are measured */
        double unmeasured_vcpus;       /* of the others that run */
    } * nodes;                         /* in the order of their names */
    size_t count;
    double cpus_per_vcpu; /* of guests that are measured, on average */
    struct placement_limits limits;
    bool gathered, failed; /* failed: there was no memory for it */
};

/* A guest to be placed. */
struct placement_load {
    struct placement_share needs, counted; /* counted: on each of the nodes that it has a share of already */
    const char *on[2];                     /* those; "": none */
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

/* With it there: the sum of the squares of both parts, memory and processors, so that the scarcer one counts most. A
 * node that does not say how much memory it has comes after all that do. */
double placement_room_after(const struct placement_room *room, const struct placement_load *load,
                            const struct object *node);

#endif
