/* Modes of parts of the cluster beside the cluster's own (docs/balancer.md, "Modes of groups"): the policy's `groups`,
 * from keys to "off", "advise" or "automatic". A key is the name of a group that guests are in by their affinity or
 * anti_affinity, or guest/NAME, node/NAME, rack/NAME, site/NAME. What follows from them for a plan is the balancer's
 * (balancer/snapshot_modes.h).
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_BALANCE_MODES_H
#define NODE_AGENT_BALANCE_MODES_H

#include "node/agent/schema.h"

struct mirror;

enum { BALANCE_MODES_MAX = 256 };

extern const struct schema_field balance_modes_field;  /* "groups" of the policy's spec */
extern const struct schema_field balance_modes_answer; /* "groups" of the status */

/* Takes over what was wanted; "default" takes a mode away. -EINVAL: a key that is none, or too many; err has which. */
int balance_modes_change(json_t *spec, const json_t *wanted, struct err *err);
/* [{"group", "mode", "guests", "nodes", "shown"}], with how many are in it now; a new reference. NULL: there are none.
 */
json_t *balance_modes_show(const struct mirror *mirror, const json_t *groups);

#endif
