/* From a guest as people describe it to what this node needs to run it: the configuration of drover-guest, its taps and
 * its seed. Pure functions of the mirror.
 *
 *     {"config": {...}, "restart":..., "stop_seconds": N, "limits": {...},          for guest_unit.h
 *      "taps": [{"network": ID, "index": N, "mac":..., "address":..., "rate_mbit": N, "mtu": N, "vni": N, "subnet":...,
 *                "gateway":...}],      gateway: of this node, if it is one
 *      "protected": true,             if it is to be restarted elsewhere when its node is lost
 *      "volumes": [ID, ...],          with a layout: each is claimed (owner.h) before the guest starts
 *      "moves": {ID: REVISION, ...},  not switched over yet: the disks are where they lie as long as these stay so
 *      "local":..., "peers": [...],    addresses of this node and of the others
 *      "seed": {"path":..., "instance_id":..., "hostname":..., "ssh_keys": [...], "user_data":..., "cards": [...]}}
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_GUEST_PLAN_H
#define NODE_AGENT_GUEST_PLAN_H

#include "node/agent/mirror.h"

struct boot_copies;
struct err;
struct json_t;
struct member_probe;

struct guest_plan_place {
    const char *node;                 /* this one's name */
    const char *address;              /* and its address among the nodes */
    const char *directory;            /* where seeds are put */
    const char *tls;                  /* folder of certificates for other nodes' volumes; NULL: in clear */
    const struct member_probe *probe; /* of members whose node is away; NULL: they are, too */
    const struct boot_copies *copies; /* of what it boots from; NULL: there are none */
};

/* NULL: it cannot run yet; err says what it waits for. EINPROGRESS: for a copy that is being made. */
struct json_t *guest_plan(const struct mirror *mirror, const struct object *guest, const struct guest_plan_place *place,
                          struct err *err);
/* For one whose process an agent before us started: as much as it needs to run on. None is started by it ("held"). */
struct json_t *guest_plan_found(const struct object *guest);
/* The part of a plan that guest_network_refresh() looks at, for one network. */
struct json_t *guest_plan_network(const struct mirror *mirror, const struct object *network,
                                  const struct guest_plan_place *place);

/* A stack that is a server's export. */
struct json_t *guest_plan_server(const char *uri, const struct guest_plan_place *place);

/* How this node reaches a member of a volume with a layout (WITNESS: its witness), as a stack; the epoch is still to be
 * put to the URI. NULL: not at the moment. */
struct json_t *guest_plan_member(const struct mirror *mirror, const struct object *volume, int index,
                                 const struct guest_plan_place *place);

/* How this node opens a volume with a layout, as guest_plan() has it for a disk: with the members that can be reached,
 * without their epochs, with the wrapped key of an encrypted one (guest_handed.h). NULL: not now, err says why. */
struct json_t *guest_plan_volume(const struct mirror *mirror, const struct object *volume,
                                 const struct guest_plan_place *place, struct err *err);

#endif
