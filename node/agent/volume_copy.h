/* The bytes of a volume, or of one of its members, that no guest has: `drover-img copy` brings them to where they move.
 *
 *     begun --claimed, if the volume has a layout--> the program runs --ends--> ended(), once
 *
 * A member is read and written as the volume's owner, with an epoch of its own: a guest that is started meanwhile ends
 * the copying by that. Thread: the loop's. */
#ifndef NODE_AGENT_VOLUME_COPY_H
#define NODE_AGENT_VOLUME_COPY_H

#include <stdint.h>

struct err;
struct object;
struct volume_copy;
struct volume_place;
struct volume_watch_place;

/* Both texts are lent; the new bytes are served already. NULL: it cannot be begun, err says why. ended(): later, once,
 * with 0 or -errno; then volume_copy_free(). */
struct volume_copy *volume_copy_new(const struct volume_watch_place *place, const struct volume_place *volumes,
                                    const struct object *move,
                                    void (*ended)(void *context, int rc, const struct err *err), void *context,
                                    struct err *err);
/* Of a volume with a layout: as which owner it was copied; 0: it has none. */
uint64_t volume_copy_epoch(const struct volume_copy *copy);
/* The program is told to end, and nothing of it is heard any more; turns of the loop are needed. NULL is fine. */
void volume_copy_free(struct volume_copy *copy);

#endif
