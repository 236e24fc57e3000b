/* A node's part of a network, and the NICs of its guests that are plugged into it: what the modules below it make, in
 * the right order. See docs/networks.md for the whole.
 *
 *     guest --- tap (limit, guard) --- bridge (border) --- VXLAN (gate) --- the other nodes
 *
 * Every function makes it so: twice is as good as once, and what was half made is completed or removed. All of them
 * work in the network namespace of the calling thread and may block for some milliseconds. Threads: any but the loop's;
 * one works at a time, the others wait. */
#ifndef NODE_AGENT_NETWORK_H
#define NODE_AGENT_NETWORK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "node/agent/address.h"
#include "node/agent/bridge.h"
#include "node/agent/link.h"
#include "node/agent/mac.h"
#include "node/agent/shaping.h"

struct err;

enum { NETWORK_MTU_MIN = 1280, NETWORK_MTU_MAX = 9000, NETWORK_MTU_DEFAULT = 1450 };

struct network_spec {
    struct bridge_spec bridge; /* with gateways, the node is the guests' way out */
    uint32_t vni;              /* 0: a network of this node alone, the rest is not looked at then */
    struct address local;
    const struct address *peers;
    unsigned peer_count;
};

/* Errors: -errno, the text names device and network. */
int network_ensure(const struct network_spec *spec, struct err *err);
/* -EBUSY while a guest is plugged in. */
int network_remove(const char *id, struct err *err);

struct network_card {
    const char *guest;
    unsigned index;      /* which NIC, below TAP_NICS_MAX */
    const char *network; /* its id; network_ensure() was called for it */
    struct mac mac;
    const struct address *addresses;
    unsigned address_count;
    bool unguarded; /* may speak from any MAC and address: a router */
    struct shaping_rates rates;
    unsigned queues;
    uid_t owner; /* who may open the tap beside root; (uid_t)-1: nobody */
    uint32_t mtu;
};

/* The tap is there, guarded, and plugged in. */
int network_plug(const struct network_card *card, struct err *err);
/* Tells the network where the guest is now: when it starts, and where it arrives. -EAGAIN: drover-guest does not have
 * the tap open yet. */
int network_announce(const struct network_card *card, struct err *err);
int network_unplug(const char *guest, unsigned index, struct err *err);
/* Every NIC of the guest. */
int network_unplug_all(const char *guest, struct err *err);

struct network_traffic {
    uint64_t spoofed_frames;                /* refused for their addresses */
    uint64_t limited_frames, limited_bytes; /* from the guest, too fast */
    struct shaping_state to_guest;
};
int network_traffic(const char *guest, unsigned index, struct network_traffic *traffic, struct err *err);

/* Removes every device and table of ours that keep() does not want: after a restart, and now and then. id: the
 * network's or the guest's. Goes on after an error, and returns the first. *removed: how many went; may be NULL. */
int network_sweep(bool (*keep)(enum link_role role, const char *id, unsigned index, void *context), void *context,
                  unsigned *removed, struct err *err);

#endif
