/* What is to be done with a volume with a layout that no guest uses. A pure function of the mirror. Thread: the loop's.
 */
#ifndef NODE_AGENT_VOLUME_WORK_H
#define NODE_AGENT_VOLUME_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct volume_work {
    int64_t grow_bytes; /* what it is to have; 0: it has it */
    int64_t scrub;      /* the newest scrub that is wanted and not done; 0: none */
    bool fill;          /* a member that can be reached lacks something */
};

/* False: nothing, or it is not the time: a guest has it or is to have it, it is not made yet, or goes. */
bool volume_work_of(const struct mirror *mirror, const struct object *volume, struct volume_work *work);

/* A guest has it, or is to have it. */
bool volume_work_is_guests(const struct mirror *mirror, const struct object *volume);

#endif
