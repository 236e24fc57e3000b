/* The tap of a guest's NIC: one end is a port of its network's bridge, the other is served by drover-guest.
 *
 * It is persistent, so it outlives both programs, and has IFF_VNET_HDR and no packet information, which is what
 * drover-guest asks for (hv/tap.h). Whoever opens it must ask for the same number of queues: one, or several.
 *
 * Threads: as netlink.h. Source: Documentation/networking/tuntap.rst of Linux. */
#ifndef NODE_AGENT_TAP_H
#define NODE_AGENT_TAP_H

#include <stdint.h>
#include <sys/types.h>

struct err;
struct netlink;

enum { TAP_NAME_MAX = 16, TAP_QUEUES_MAX = 8, TAP_NICS_MAX = 32 };

struct tap_spec {
    const char *guest; /* its id */
    unsigned index;    /* which of its NICs */
    unsigned queues;   /* 1 to TAP_QUEUES_MAX */
    uid_t owner;       /* who may open it beside root; (uid_t)-1: nobody */
    uint32_t mtu;
    uint32_t bridge; /* the index of the device */
};

/* The name of that tap, always the same. Returns name. */
char *tap_name(const char *guest, unsigned index, char name[TAP_NAME_MAX]);

/* The device as it should be, but still unplugged where it is new, so that its guards can be set first. One that nobody
 * has open is made anew where its queues or its owner are others; one that is open is an error then: -EBUSY.
 * Returns 1 if it was made, 0 if it was there. */
int tap_ensure(struct netlink *netlink, const struct tap_spec *spec, struct err *err);
/* Into its bridge, with its MTU, and up. */
int tap_plug(struct netlink *netlink, const struct tap_spec *spec, struct err *err);

/* Well also when it is gone already. Whoever has it open reads errors from then on. */
int tap_remove(struct netlink *netlink, const char *guest, unsigned index, struct err *err);

#endif
