/* The beginning of a volume's move: its record, the volume that is marked by it, the object of the new bytes, and the
 * task that follows it, all or nothing. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_MOVE_START_H
#define NODE_AGENT_VOLUME_MOVE_START_H

#include "node/agent/task_start.h"

struct cluster;
struct err;
struct json_t;
struct object;

/* move: of volume_move_make(); taken over. node: that has the bytes. done() once, later, unless this fails.
 * Errors: -errno with a text. */
int volume_move_start(struct cluster *cluster, const struct object *volume, struct json_t *move, const char *node,
                      const char *by, task_start_done *done, void *context, struct err *err);

#endif
