/* The volumes, and members of volumes with a layout, in this node's pools: each has a unit (volume_unit.h), and what
 * becomes of it is reported.
 *
 *     state of either: {"node":..., "phase":..., "path":..., "uri":..., "bytes":..., "reason":...}
 *
 * A volume is served to others while a guest of another node has it, a member always. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUMES_H
#define NODE_AGENT_VOLUMES_H

#include <stdbool.h>
#include <stddef.h>

struct cluster;
struct err;
struct object;
struct report;
struct volume_place;
struct volumes;

struct volumes *volumes_new(struct cluster *cluster, struct report *report, const struct volume_place *place,
                            struct err *err);
/* Servers run on. */
void volumes_free(struct volumes *volumes);

/* Where drover-img finds what the volume begins as, "": it begins empty. False: the image is not there yet. */
bool volumes_source(struct cluster *cluster, const struct volume_place *place, const struct object *volume,
                    char *source, size_t room);

#endif
