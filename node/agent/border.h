/* What may pass between a network and its node.
 *
 * Without a gateway: nothing, neither to the node nor through it. With one, guests may ping the node, and go out
 * through it under the node's own address (masquerade); what answers comes back in. Not let through: other networks,
 * new connections from outside, and UDP port 4789 of anybody, as a datagram of this node's would be taken for a frame
 * of any network. Forwarding is switched on in the kernel; interfaces that take router advertisements go on doing so.
 *
 * A gateway's address and MAC are the same on every node, so what speaks of it does not enter from the VXLAN device:
 * each guest finds its own node's.
 *
 * Threads: as ruleset.h. */
#ifndef NODE_AGENT_BORDER_H
#define NODE_AGENT_BORDER_H

#include "node/agent/bridge.h"

struct err;
struct ruleset;

/* The rules as text. Pure. */
void border_rules(const struct bridge_spec *spec, struct ruleset *rules);
void border_gate_rules(const struct bridge_spec *spec, struct ruleset *rules);

/* Makes it so: the node's side, before the bridge has addresses. */
int border_ensure(const struct bridge_spec *spec, struct err *err);
/* The gate at the VXLAN device, which must be there. */
int border_ensure_gate(const struct bridge_spec *spec, struct err *err);
/* Well also when it is gone already. Forwarding stays on: others may have come to need it. */
int border_remove(const char *id, struct err *err);

#endif
