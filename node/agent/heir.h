/* Who looks after what a node that was removed has left in the store: records that nobody else would end or delete.
 *
 * Pure. Thread: the loop's. */
#ifndef NODE_AGENT_HEIR_H
#define NODE_AGENT_HEIR_H

#include <stdbool.h>

struct mirror;

/* The node itself as long as it is one of the cluster's, whether it is alive or not; else the first one by name
 * that is alive: two may believe that for a moment, so what they write is checked against what they saw. Lives as long
 * as node and the mirror's objects. */
const char *heir_of(const struct mirror *mirror, const char *node);
/* There is no such node any more. */
bool heir_is_needed(const struct mirror *mirror, const char *node);

#endif
