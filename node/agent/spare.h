/* A member that stays away is replaced by a fresh one on another node: of volumes that ask for it
 * (spec.replace_after_s), when all other members are there and in sync, one at a time. The node that speaks for the
 * volume does it, as `drover volume replace` would. The one that was away is never a source when it comes back: its
 * object is on its way out, and its node removes the bytes.
 *
 * A witness that stays away is replaced likewise, by a blank one, when all members are there and in sync.
 *
 * Since when one is away stands in the volume's state ("away"), so another agent, or this one after a restart, does not
 * begin to count anew; but it waits until it has seen for some seconds itself that somebody is away. Thread: the
 * loop's. */
#ifndef NODE_AGENT_SPARE_H
#define NODE_AGENT_SPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct audit;
struct cluster;
struct spare;

enum { SPARE_NONE = -2 };

/* Which member of the volume (or WITNESS) is away and may be replaced as soon as it was so for long enough: pure. */
int spare_index(const struct mirror *mirror, const struct object *volume);
/* Since when a member that is away now is so, in seconds of the Unix clock, by the volume's state: pure. */
int64_t spare_since(const struct object *volume, const char *member, int64_t now_s);

/* audit NULL: none is kept. NULL: out of memory. */
struct spare *spare_new(struct cluster *cluster, struct audit *audit);
/* What is on its way is not heard of any more. */
void spare_free(struct spare *spare);
void spare_look(struct spare *spare, const struct object *volume);
bool spare_waits(const struct spare *spare); /* somebody is away: it is to look again soon */
/* Who, "" for nobody, and since when: for the volume's state. */
const char *spare_away(const struct spare *spare, int *index, int64_t *since_s);

#endif
