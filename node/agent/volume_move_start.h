/* The beginning of a volume's move: its record, the volume that is marked by it, the object of the new bytes, and the
 * task that follows it, all or nothing. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_MOVE_START_H
#define NODE_AGENT_VOLUME_MOVE_START_H

#include "node/agent/record_name.h"
#include "node/base/uuid.h"

struct cluster;
struct err;
struct json_t;
struct object;

struct volume_move_started {
    char id[UUID_TEXT_BYTES], task[RECORD_NAME_BYTES];
};

/* move: of volume_move_make(); taken over. node: that has the bytes. done() once, later, unless this fails: rc and err
 * as change_done() has them. Errors: -errno with a text. */
int volume_move_start(struct cluster *cluster, const struct object *volume, struct json_t *move, const char *node,
                      const char *by,
                      void (*done)(void *context, int rc, const struct volume_move_started *started,
                                   const struct err *err),
                      void *context, struct err *err);

#endif
