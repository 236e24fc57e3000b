/* The changes of the store by which the bytes of a volume move (volume_move.h). Each adds its part to a change that
 * expects everything as the mirror has it. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_MOVE_CHANGE_H
#define NODE_AGENT_VOLUME_MOVE_CHANGE_H

#include <stdbool.h>

#include "node/agent/mirror.h"

struct change;
struct json_t;

/* move: of volume_move_make(); taken over. The record, the volume's mark and the object of the new bytes. */
void volume_move_put(struct change *change, const struct object *volume, struct json_t *move);
/* The switch-over. Whoever has the guest in the same change says in its value that it was moved (guest NULL: its disks
 * are reached over the network from now on); else the volume must be nobody's, of which the caller sees to. */
void volume_move_switch(struct change *change, const struct mirror *mirror, const struct object *move);
/* The new bytes of one that was not switched are replaced by others, which nobody writes to. */
void volume_move_remake(struct change *change, const struct mirror *mirror, const struct object *move);
/* It is over: what does not count is on its way out, and the volume may move again. */
void volume_move_close(struct change *change, const struct mirror *mirror, const struct object *move);
/* With that key of the record's value: "failed", "offline", "cancel". NULL: without it. */
void volume_move_set(struct change *change, const struct object *move, const char *key, struct json_t *value);

#endif
