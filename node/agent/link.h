/* Network devices of this namespace: what there is, what it should be, and which of them are ours.
 *
 * A device of ours has a name made from the id of what it is for, always the same on every node, and an alias that
 * spells it out ("drover network 2f1c..."). The alias is what counts: a device of our name without it, or with another
 * one, is somebody else's and is never touched.
 *
 * Threads: as netlink.h. */
#ifndef NODE_AGENT_LINK_H
#define NODE_AGENT_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node/agent/address.h"
#include "node/agent/mac.h"

struct err;
struct netlink;

/* The kinds of device we make; each has a letter after "dr" in its name. */
enum link_role { LINK_BRIDGE, LINK_VXLAN, LINK_TAP, LINK_ROLES };

enum { LINK_NAME_MAX = 16, LINK_ALIAS_MAX = 128, LINK_ID_MAX = 64, LINK_KIND_MAX = 16, LINK_LIST_MAX = 65536 };

struct link_vxlan {
    uint32_t vni;
    uint16_t port;
    struct address local;
    bool learning;
};

struct link_tap {
    bool tap, vnet_hdr, packet_info, persistent,
        several;    /* IFF_TAP, IFF_VNET_HDR, not IFF_NO_PI, ..., IFF_MULTI_QUEUE */
    uint32_t owner; /* UINT32_MAX: none */
};

struct link {
    char name[LINK_NAME_MAX], alias[LINK_ALIAS_MAX], kind[LINK_KIND_MAX]; /* kind: "bridge", "vxlan", "tun"... */
    uint32_t index, mtu, master;                                          /* master: 0 = none */
    bool up, carrier, no_arp;
    uint8_t address_mode; /* IN6_ADDR_GEN_MODE_... */
    struct mac mac;
    struct link_vxlan vxlan;
    struct link_tap tap;
};

/* drb0123456789ab, drv..., drt...; index: the NIC of a guest, else 0. Returns name. */
char *link_name(enum link_role role, const char *id, unsigned index, char name[LINK_NAME_MAX]);
/* "drover network ID" for bridge and VXLAN, "drover guest ID nic N" for taps. Returns alias. Ids are of letters, digits
 * and '-', at most LINK_ID_MAX - 1 of them: link_check_id() says so. */
char *link_alias(enum link_role role, const char *id, unsigned index, char alias[LINK_ALIAS_MAX]);
int link_check_id(const char *id, struct err *err);
/* What the alias says, if name and alias are ours and belong together. */
bool link_ours(const struct link *link, enum link_role *role, char id[LINK_ID_MAX], unsigned *index);

/* 1: found, 0: there is no such device, or -errno. */
int link_find(struct netlink *netlink, const char *name, struct link *link, struct err *err);
/* As link_find(), but a device of that name that is not ours (kind and alias) is an error that says so: -EEXIST. A
 * device of ours that has no alias yet, because whoever made it was killed, counts as ours if it is down and in no
 * bridge. */
int link_find_ours(struct netlink *netlink, enum link_role role, const char *id, unsigned index, struct link *link,
                   struct err *err);
/* Those of ours and those that were left without an alias (link_ours() says no then), in the order the kernel has them.
 * *links is the caller's to free(). */
int link_list(struct netlink *netlink, struct link **links, size_t *count, struct err *err);
/* Both are well also when it is gone already. */
int link_remove(struct netlink *netlink, const char *name, struct err *err);
/* Never somebody else's: -EEXIST then, as link_find_ours(). */
int link_remove_ours(struct netlink *netlink, enum link_role role, const char *id, unsigned index, struct err *err);

/* How a device should be. Only what differs is changed. */
struct link_wish {
    const char *alias;     /* NULL: as it is */
    const struct mac *mac; /* NULL: as it is */
    uint32_t mtu;          /* 0: as it is */
    uint32_t master;       /* 0: none */
    uint8_t address_mode;
    bool no_arp;
};
/* Makes it so, and up. */
int link_adjust(struct netlink *netlink, const struct link *link, const struct link_wish *wish, struct err *err);

#endif
