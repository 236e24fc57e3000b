/* What the mirror shows of the cluster, as failover.h looks at it: nodes, the guests that are wanted running, what each
 * needs. Pure functions of the mirror.
 *
 *     /drover/failover/cluster   {"kind":"failover", "id":"cluster", "name":"cluster",
 *                                 "spec":{"armed":bool, "by":..., "at":...}}       not there: armed
 *     a guest's value            "failover": {"count":N, "at":..., "from":..., "to":..., "reason":...,
 *                                           "cause":..., "asked":...}    these two if it was given away (give_aways.h)
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_FAILOVER_VIEW_H
#define NODE_AGENT_FAILOVER_VIEW_H

#include <stdbool.h>

#include "node/agent/failover.h"
#include "node/agent/mirror.h"
#include "node/agent/placement.h"

struct json_t;
struct member_probe;

#define FAILOVER_RECORD "cluster"
enum { FAILOVER_PRIORITY = 50 }; /* of who does not say */

/* The record, or NULL: nobody has ever armed or disarmed it. */
const struct object *failover_record(const struct mirror *mirror);
bool failover_is_armed(const struct mirror *mirror);
unsigned failover_count(const struct object *guest); /* how often it was taken over */

/* The guest's value once it is that node's, with its record; a new reference. */
struct json_t *failover_handed(const struct object *guest, const char *to, const char *reason);

/* Every node's lost is set to alive's opposite, gone_ms and cool_ms to 0: only who watches knows better. probe: which
 * members of nodes that are away answer; NULL: none. objects: the guests' objects, in the view's order, which is that
 * of their priorities. False: out of memory. */
struct failover_scene {
    struct failover_view view;
    const struct object *nodes[FAILOVER_NODES_MAX];
    const struct object **objects;
    const struct member_probe *probe;
    struct {
        char name[PLACEMENT_GROUP_MAX];
        bool apart;
    } groups[FAILOVER_GROUPS_MAX]; /* by their bit in the view */
    unsigned group_count;
};
bool failover_scene_make(struct failover_scene *scene, const struct mirror *mirror, const struct member_probe *probe,
                         const char *self);
void failover_scene_free(struct failover_scene *scene);

#endif
