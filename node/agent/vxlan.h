/* A network between nodes: the VXLAN device that is the one way out of its bridge.
 *
 * Frames for guests elsewhere go in UDP datagrams, port 4789, from this node's address to the node that has the guest.
 * A frame for everybody, or for a MAC nobody has spoken with yet, goes to every peer, one datagram each: no multicast
 * is asked of the nodes' network. Which node a MAC is on is learned from the frames that come in, and a guest that
 * starts or arrives announces itself (announce.h). We learn instead of writing an entry per guest because an entry
 * would have to reach every node before the first frame of a guest that has just moved, while its announcement does so
 * by itself, with the store away, too; guests cannot teach lies, as their MAC is guarded where they enter
 * (antispoof.h).
 *
 * VXLAN neither encrypts nor authenticates: UDP port 4789 of the nodes must be reachable for the nodes only.
 *
 * Threads: as netlink.h. Source: RFC 7348; Documentation/networking/vxlan.rst of Linux. */
#ifndef NODE_AGENT_VXLAN_H
#define NODE_AGENT_VXLAN_H

#include <stdint.h>

#include "node/agent/address.h"

struct err;
struct netlink;

enum { VXLAN_PORT = 4789, VXLAN_VNI_MAX = (1 << 24) - 1, VXLAN_PEERS_MAX = 256 };
/* What a datagram adds to a frame's payload: inner Ethernet, VXLAN, UDP, outer IP. */
enum { VXLAN_OVERHEAD_V4 = 50, VXLAN_OVERHEAD_V6 = 70 };

struct vxlan_spec {
    const char *id; /* the network's */
    uint32_t vni;   /* 1 to VXLAN_VNI_MAX, one network each */
    struct address local;
    const struct address *peers; /* the other nodes', of local's family; this node's own is left out */
    unsigned peer_count;         /* at most VXLAN_PEERS_MAX */
    uint32_t mtu;
    uint32_t bridge; /* the index of the device */
};

/* Makes it so; peers that are not named any more are forgotten. Errors: -errno; -EADDRNOTAVAIL when `local` is not an
 * address of this node, -EMSGSIZE when the nodes' network cannot carry that MTU. */
int vxlan_ensure(struct netlink *netlink, const struct vxlan_spec *spec, struct err *err);
/* Well also when it is gone already. */
int vxlan_remove(struct netlink *netlink, const char *id, struct err *err);

#endif
