/* When each node's load record (load.h) was new, and what each guest was measured to use last: who has just come to a
 * node, or whose node's agent has just begun, is known from before. The elected balancer remembers the same
 * (balancer/follow.c) for its own plans; this is for what droverd asks a balancer.
 *
 * Of a record a guest's own part alone is kept, shared with the mirror while the record is there. Who is gone is
 * forgotten, so there is one entry at the most for each guest that the mirror has. Whether something is too old the
 * policy says (`patience.stale`), and who reads it. Thread: the loop's. */
#ifndef NODE_AGENT_MEASURED_H
#define NODE_AGENT_MEASURED_H

#include <stdint.h>

struct json_t;
struct measured;
struct mirror;

/* It hears what the mirror takes from now on. clock_ms: the clock by which things age. NULL: no memory. */
struct measured *measured_new(struct mirror *mirror, uint64_t (*clock_ms)(void));
/* Before the mirror. */
void measured_free(struct measured *measured);

/* Seconds of that clock: now, and when a node's record changed last. What was read anew has not changed; of a node that
 * nothing was heard of it is now. */
double measured_now(const struct measured *measured);
double measured_seen(const struct measured *measured, const char *node_id);

/* Guests that are to run and that their nodes have not measured for long enough, as they were measured last, in the
 * form of "measured" of balancer/snapshot.h: {ID: {"state": {"unit", "guests": {ID: {...}}}, "seen"}}. A new reference,
 * which shares with the mirror. */
struct json_t *measured_before(const struct measured *measured);

#endif
