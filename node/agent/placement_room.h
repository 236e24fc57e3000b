/* How full nodes would be with one more guest: the part of their memory that is promised, and the part of their
 * processors that their guests want.
 *
 * What a guest wants is the p95 of what it used and waited for (load.h), whichever node measured it last. One that
 * nobody has measured yet, as a new one, wants as much for each vCPU as those that are measured do. Guests on their way
 * count on both of their nodes. Thread: the mirror's. */
#ifndef NODE_AGENT_PLACEMENT_ROOM_H
#define NODE_AGENT_PLACEMENT_ROOM_H

#include <stddef.h>

#include "node/agent/mirror.h"

struct json_t;

struct placement_room {
    struct placement_room_node {
        const struct object *node;
        double memory_bytes, cpus; /* promised, and wanted */
    } * nodes;                     /* in the order of their names */
    size_t count;
    double cpus_per_vcpu; /* of guests that are measured, on average */
    double cpus;          /* that the guest itself wants */
    double memory_bytes;  /* and its memory */
};

/* One pass over all guests; guest: the id of the one to be placed ("": it is new), which counts nowhere. Without memory
 * all nodes are equally full. */
void placement_room_gather(struct placement_room *room, const struct mirror *mirror, const char *guest,
                           const struct json_t *spec);
void placement_room_fini(struct placement_room *room);

/* With it there: the sum of both parts' squares, so that the scarcer one counts most. A node that does not say
 * how much memory it has comes after all that do. */
double placement_room_after(const struct placement_room *room, const struct object *node);

#endif
