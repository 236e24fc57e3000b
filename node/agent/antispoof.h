/* What a guest may say of itself: frames that its tap takes must come from its own MAC and its own addresses.
 *
 * Judged where the frame enters the node (nftables, netdev family, ingress of the tap), before the bridge learns from
 * it. Let through, if addresses are guarded:
 *
 *     ARP    for Ethernet and IPv4, the sender being the guest's MAC and one of its addresses, or 0.0.0.0 (a probe)
 *     IPv4   from its addresses; no answers of a DHCP server, no redirects
 *     IPv6   from its addresses or the link-local one made of its MAC (EUI-64), or from :: while it asks for an
 * address; neighbour advertisements for these only; no router advertisements, no redirects, no DHCPv6 answers
 *
 * and nothing else, VLAN tags included. Without addresses only the MAC is guarded: what is above it is then the guests'
 * own affair. A guest that is a router for others has to have its guard taken off.
 *
 * What is refused is counted: the counter is "spoofed" of the table. Pure functions. Threads: any. */
#ifndef NODE_AGENT_ANTISPOOF_H
#define NODE_AGENT_ANTISPOOF_H

#include <stdint.h>

#include "node/agent/address.h"
#include "node/agent/mac.h"

struct err;
struct ruleset;

enum { ANTISPOOF_ADDRESSES_MAX = 32 };

struct antispoof_spec {
    const char *tap; /* the device's name */
    struct mac mac;
    const struct address *addresses;
    unsigned address_count; /* at most ANTISPOOF_ADDRESSES_MAX */
};

/* Adds the counter and the chain "guard" to a table of family netdev. Errors: -E2BIG. */
int antispoof_add(const struct antispoof_spec *spec, struct ruleset *rules, struct err *err);

#endif
