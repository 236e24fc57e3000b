/* A member that stays away is replaced by a fresh one on another node: of volumes that ask for it
 * (spec.replace_after_s), when all other members are there and in sync, one at a time. The node that speaks for the
 * volume does it, as `drover volume replace` would. The one that was away is never a source when it comes back: its
 * object is on its way out, and its node removes the bytes.
 *
 * How long one is away is known to this agent only: another one begins to count anew. Thread: the loop's. */
#ifndef NODE_AGENT_SPARE_H
#define NODE_AGENT_SPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct audit;
struct cluster;
struct spare;

/* Which member of the volume is away and may be replaced as soon as it was so for long enough: pure. -1: none. */
int spare_index(const struct mirror *mirror, const struct object *volume);

/* audit NULL: none is kept. NULL: out of memory. */
struct spare *spare_new(struct cluster *cluster, struct audit *audit);
/* What is on its way is not heard of any more. */
void spare_free(struct spare *spare);
void spare_look(struct spare *spare, const struct object *volume);
bool spare_waits(const struct spare *spare); /* somebody is away: it is to look again soon */

#endif
