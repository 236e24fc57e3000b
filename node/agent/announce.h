/* A guest that starts or arrives makes itself known: bridges and VXLAN devices of all nodes learn where its MAC is, and
 * its neighbours which MAC its addresses have now.
 *
 * Frames are sent into the bridge in the guest's name: a RARP request (what QEMU sends, too), an ARP announcement for
 * each IPv4 address (RFC 5227) and an unsolicited neighbour advertisement for each IPv6 one (RFC 4861 4.4). This node's
 * bridge does not learn from what it sends itself; it is told which port the guest is at.
 *
 * Threads: as netlink.h. */
#ifndef NODE_AGENT_ANNOUNCE_H
#define NODE_AGENT_ANNOUNCE_H

#include <stddef.h>
#include <stdint.h>

#include "node/agent/address.h"
#include "node/agent/mac.h"

struct err;
struct netlink;

enum { ANNOUNCE_FRAME_MAX = 86 };

/* The frames; each returns its length. Pure. */
size_t announce_rarp(const struct mac *mac, uint8_t frame[ANNOUNCE_FRAME_MAX]);
size_t announce_address(const struct mac *mac, const struct address *address, uint8_t frame[ANNOUNCE_FRAME_MAX]);

/* Once; nobody answers, so who wants to be sure calls again a little later. While nobody has the tap open, other nodes
 * and neighbours are told, but not this node's own bridge: it learns from the guest's first frame then. */
int announce_send(struct netlink *netlink, uint32_t bridge, uint32_t tap, const struct mac *mac,
                  const struct address *addresses, unsigned count, struct err *err);

#endif
