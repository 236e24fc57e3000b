/* Members of volumes whose node is away: does what serves them still answer? An agent that is gone does not take the
 * members' servers with it, and a volume that can be opened is no reason to let its guest wait.
 *
 * The same is asked for the members of guests that their own nodes cannot run (give_aways.h), wherever those members
 * are: what this node reaches of them goes into its state, as "reaches".
 *
 * Asked is as probe.h does it, at most PROBES_MAX servers at a time. Safety does not hang on it: who opens a volume is
 * decided by epochs. Thread: the loop's. */
#ifndef NODE_AGENT_MEMBER_PROBE_H
#define NODE_AGENT_MEMBER_PROBE_H

#include <stdbool.h>

struct json_t;
struct member_probe;
struct mirror;

struct member_probe *member_probe_new(const struct mirror *mirror); /* NULL: out of memory */
void member_probe_free(struct member_probe *probe);
/* Some time has passed. */
void member_probe_tick(struct member_probe *probe);
/* uri: as a member's state has it, nbds://HOST:PORT/ID. The last answer came a moment ago. probe: NULL: no. */
bool member_probe_answers(const struct member_probe *probe, const char *uri);
/* [HOST:PORT, ...]: what answers of the members of guests that are stuck; a new reference. */
struct json_t *member_probe_reached(const struct member_probe *probe);
/* reaches: as above, of any node. */
bool member_probe_is_reached(const struct json_t *reaches, const char *uri);

#endif
