/* The bridge of a network on this node: what its guests, its VXLAN device and, where the node is their gateway, the
 * node itself are plugged into.
 *
 * It has the same MAC on every node, so that a guest which moves finds the same gateway there. It runs no spanning tree
 * (a bridge has one way out, its VXLAN device) and no multicast snooping (neighbour discovery would depend on a
 * querier). Without a gateway it speaks neither ARP nor IPv6: guests cannot find the node on it.
 *
 * Threads: as netlink.h. */
#ifndef NODE_AGENT_BRIDGE_H
#define NODE_AGENT_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/address.h"
#include "node/agent/mac.h"

struct err;
struct netlink;

enum { BRIDGE_GATEWAYS_MAX = 4 };

struct bridge_gateway {
    struct address address;
    unsigned prefix;
};

struct bridge_spec {
    const char *id; /* the network's */
    uint32_t mtu;
    struct bridge_gateway gateways[BRIDGE_GATEWAYS_MAX];
    unsigned gateway_count;
};

struct mac bridge_mac(const char *id);
/* Whether it is a gateway of that family. */
bool bridge_speaks(const struct bridge_spec *spec, int family);
/* Makes it so; other addresses are taken off. *index: of the device. Errors: -errno. */
int bridge_ensure(struct netlink *netlink, const struct bridge_spec *spec, uint32_t *index, struct err *err);
/* Well also when it is gone already. */
int bridge_remove(struct netlink *netlink, const char *id, struct err *err);

#endif
