/* See network.h. */
#include "node/agent/network.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/announce.h"
#include "node/agent/antispoof.h"
#include "node/agent/border.h"
#include "node/agent/netlink.h"
#include "node/agent/ruleset.h"
#include "node/agent/tap.h"
#include "node/agent/vxlan.h"
#include "node/base/err.h"

/* Two threads that make the same bridge would each find the other's half. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static int enter(struct netlink **netlink, struct err *err)
{
    pthread_mutex_lock(&one_at_a_time);
    int rc = netlink_open(netlink, NETLINK_ROUTE, err);
    if (rc)
        pthread_mutex_unlock(&one_at_a_time);
    return rc;
}

static int leave(struct netlink *netlink, int rc)
{
    netlink_close(netlink);
    pthread_mutex_unlock(&one_at_a_time);
    return rc;
}

static int check_mtu(const char *what, const char *id, uint32_t mtu, struct err *err)
{
    if (mtu < NETWORK_MTU_MIN || mtu > NETWORK_MTU_MAX)
        return err_set(err, EINVAL, "%s %s: the mtu must be %d to %d, not %u", what, id, NETWORK_MTU_MIN,
                       NETWORK_MTU_MAX, mtu);
    return 0;
}

/* ---- networks ---- */

static int ensure_vxlan(struct netlink *netlink, const struct network_spec *spec, uint32_t bridge, struct err *err)
{
    struct vxlan_spec vxlan = {.id = spec->bridge.id,
                               .vni = spec->vni,
                               .local = spec->local,
                               .peers = spec->peers,
                               .peer_count = spec->peer_count,
                               .mtu = spec->bridge.mtu,
                               .bridge = bridge};
    if (!spec->vni)
        return vxlan_remove(netlink, spec->bridge.id, err);
    int rc = vxlan_ensure(netlink, &vxlan, err);
    return rc ? rc : border_ensure_gate(&spec->bridge, err);
}

int network_ensure(const struct network_spec *spec, struct err *err)
{
    struct netlink *netlink;
    struct link found;
    uint32_t bridge;
    int rc = link_check_id(spec->bridge.id, err);
    if (!rc)
        rc = check_mtu("network", spec->bridge.id, spec->bridge.mtu, err);
    if (!rc)
        rc = enter(&netlink, err);
    if (rc)
        return rc;
    rc = link_find_ours(netlink, LINK_BRIDGE, spec->bridge.id, 0, &found, err);
    if (rc < 0)
        return leave(netlink, rc);
    rc = border_ensure(&spec->bridge, err); /* before there is anything that could get through */
    if (!rc)
        rc = bridge_ensure(netlink, &spec->bridge, &bridge, err);
    if (!rc)
        rc = ensure_vxlan(netlink, spec, bridge, err);
    return leave(netlink, rc);
}

static int check_unused(struct netlink *netlink, const char *id, struct err *err)
{
    struct link bridge, *links;
    size_t count;
    int rc = link_find_ours(netlink, LINK_BRIDGE, id, 0, &bridge, err);
    if (rc <= 0)
        return rc;
    rc = link_list(netlink, &links, &count, err);
    if (rc)
        return rc;
    for (size_t i = 0; !rc && i < count; i++) {
        enum link_role role;
        char guest[LINK_ID_MAX];
        unsigned index;
        if (links[i].master == bridge.index && link_ours(&links[i], &role, guest, &index) && role == LINK_TAP)
            rc = err_set(err, EBUSY, "network %s: guest %s is plugged in with nic %u: unplug it first", id, guest,
                         index);
    }
    free(links);
    return rc;
}

int network_remove(const char *id, struct err *err)
{
    struct netlink *netlink;
    int rc = link_check_id(id, err);
    if (!rc)
        rc = enter(&netlink, err);
    if (rc)
        return rc;
    rc = check_unused(netlink, id, err);
    if (!rc)
        rc = vxlan_remove(netlink, id, err);
    if (!rc)
        rc = bridge_remove(netlink, id, err);
    if (!rc)
        rc = border_remove(id, err);
    return leave(netlink, rc);
}

/* ---- cards ---- */

static int check_card(const struct network_card *card, struct err *err)
{
    int rc = link_check_id(card->guest, err);
    if (!rc)
        rc = link_check_id(card->network, err);
    if (!rc && card->index >= TAP_NICS_MAX)
        rc = err_set(err, EINVAL, "guest %s: a guest has at most %d NICs; there is no nic %u", card->guest,
                     TAP_NICS_MAX, card->index);
    return rc ? rc : check_mtu("nic of guest", card->guest, card->mtu, err);
}

static int find_bridge(struct netlink *netlink, const struct network_card *card, uint32_t *index, struct err *err)
{
    struct link l;
    int rc = link_find_ours(netlink, LINK_BRIDGE, card->network, 0, &l, err);
    if (rc == 0)
        return err_set(err, ENODEV, "guest %s, nic %u: network %s is not on this node yet", card->guest, card->index,
                       card->network);
    if (rc == 1)
        *index = l.index;
    return rc < 0 ? rc : 0;
}

/* One table a tap: what nft reads of the node to write one grows with their number. */
static void card_table(const char *tap, char name[RULESET_NAME_MAX])
{
    snprintf(name, RULESET_NAME_MAX, "%.15s-card", tap);
}

static int remove_table(const char *tap, struct err *err)
{
    char name[RULESET_NAME_MAX];
    card_table(tap, name);
    return ruleset_remove("netdev", name, err);
}

static int ensure_table(const struct network_card *card, const char *tap, struct err *err)
{
    char name[RULESET_NAME_MAX];
    struct ruleset rules;
    struct antispoof_spec guard = {
        .tap = tap, .mac = card->mac, .addresses = card->addresses, .address_count = card->address_count};
    card_table(tap, name);
    ruleset_begin(&rules, "netdev", name);
    int rc = card->unguarded ? 0 : antispoof_add(&guard, &rules, err);
    if (!rc)
        rc = shaping_add(tap, &card->rates, &rules, err);
    if (rc)
        return rc;
    return rules.length ? ruleset_ensure(&rules, err) : ruleset_remove("netdev", name, err);
}

int network_plug(const struct network_card *card, struct err *err)
{
    struct netlink *netlink;
    char name[TAP_NAME_MAX];
    struct tap_spec tap = {
        .guest = card->guest, .index = card->index, .queues = card->queues, .owner = card->owner, .mtu = card->mtu};
    tap_name(card->guest, card->index, name);
    int rc = check_card(card, err);
    if (!rc)
        rc = enter(&netlink, err);
    if (rc)
        return rc;
    rc = find_bridge(netlink, card, &tap.bridge, err);
    if (!rc)
        rc = tap_ensure(netlink, &tap, err);
    if (rc == 1) /* rules of a device that went may be bound to it still, and not to this one */
        rc = remove_table(name, err);
    if (!rc)
        rc = ensure_table(card, name, err);
    if (!rc)
        rc = shaping_ensure(netlink, name, &card->rates, err);
    if (!rc) /* at last: what cannot be guarded is not plugged in */
        rc = tap_plug(netlink, &tap, err);
    return leave(netlink, rc);
}

int network_announce(const struct network_card *card, struct err *err)
{
    struct netlink *netlink;
    struct link tap;
    int rc = check_card(card, err);
    if (!rc)
        rc = enter(&netlink, err);
    if (rc)
        return rc;
    rc = link_find_ours(netlink, LINK_TAP, card->guest, card->index, &tap, err);
    if (rc == 0 || (rc == 1 && !tap.master))
        rc = err_set(err, ENODEV, "guest %s, nic %u: is not plugged in, so it cannot be announced", card->guest,
                     card->index);
    if (rc == 1)
        rc = announce_send(netlink, tap.master, tap.index, &card->mac, card->addresses, card->address_count, err);
    return leave(netlink, rc);
}

/* The device first: what its table guards is gone then. */
static int unplug(struct netlink *netlink, const char *guest, unsigned index, struct err *err)
{
    char name[TAP_NAME_MAX];
    tap_name(guest, index, name);
    int rc = tap_remove(netlink, guest, index, err);
    return rc ? rc : remove_table(name, err);
}

int network_unplug(const char *guest, unsigned index, struct err *err)
{
    struct netlink *netlink;
    int rc = link_check_id(guest, err);
    if (!rc)
        rc = enter(&netlink, err);
    return rc ? rc : leave(netlink, unplug(netlink, guest, index, err));
}

int network_unplug_all(const char *guest, struct err *err)
{
    struct netlink *netlink;
    struct link *links = NULL;
    size_t count = 0;
    int rc = link_check_id(guest, err);
    if (!rc)
        rc = enter(&netlink, err);
    if (rc)
        return rc;
    rc = link_list(netlink, &links, &count, err);
    for (size_t i = 0; !rc && i < count; i++) {
        enum link_role role;
        char id[LINK_ID_MAX];
        unsigned index;
        if (link_ours(&links[i], &role, id, &index) && role == LINK_TAP && strcmp(id, guest) == 0)
            rc = unplug(netlink, guest, index, err);
    }
    free(links);
    return leave(netlink, rc);
}

int network_traffic(const char *guest, unsigned index, struct network_traffic *traffic, struct err *err)
{
    struct netlink *netlink;
    struct network_traffic t = {.spoofed_frames = 0};
    char tap[TAP_NAME_MAX], name[RULESET_NAME_MAX];
    uint64_t bytes;
    tap_name(guest, index, tap);
    card_table(tap, name);
    int rc = enter(&netlink, err);
    if (rc)
        return rc;
    rc = ruleset_counter("netdev", name, "spoofed", &t.spoofed_frames, &bytes, err);
    if (!rc || rc == -ENOENT) /* a router, which has no guard */
        rc = ruleset_counter("netdev", name, "limited", &t.limited_frames, &t.limited_bytes, err);
    if (!rc || rc == -ENOENT)
        rc = shaping_read(netlink, tap, &t.to_guest, err);
    if (!rc)
        *traffic = t;
    return leave(netlink, rc);
}

/* ---- leftovers ---- */

struct sweep {
    struct netlink *netlink;
    unsigned removed;
    int rc; /* the first error */
    struct err *err;
};

static void note(struct sweep *s, int rc, const struct err *e)
{
    if (rc && !s->rc) {
        s->rc = rc;
        if (s->err)
            *s->err = *e;
    }
    s->removed += rc == 0;
}

/* Tables are named after their device: one whose device is gone guards nothing. The border of a bridge that is being
 * made is not seen here, as only one works at a time. */
static int sweep_table(const char *family, const char *name, void *context, struct err *err)
{
    struct sweep *s = context;
    struct err e = {.code = 0};
    char device[LINK_NAME_MAX];
    struct link l;
    (void)err;
    snprintf(device, sizeof device, "%s", name);
    if (strlen(name) < LINK_NAME_MAX || name[LINK_NAME_MAX - 1] != '-')
        return 0;
    int rc = link_find(s->netlink, device, &l, &e);
    if (rc == 0)
        note(s, ruleset_remove(family, name, &e), &e);
    else if (rc < 0)
        note(s, rc, &e);
    return 0;
}

int network_sweep(bool (*keep)(enum link_role role, const char *id, unsigned index, void *context), void *context,
                  unsigned *removed, struct err *err)
{
    struct sweep s = {.err = err};
    struct link *links = NULL;
    size_t count = 0;
    int rc = enter(&s.netlink, err);
    if (rc)
        return rc;
    rc = link_list(s.netlink, &links, &count, err);
    for (size_t i = 0; !rc && i < count; i++) {
        struct err e = {.code = 0};
        enum link_role role;
        char id[LINK_ID_MAX];
        unsigned index;
        if (!link_ours(&links[i], &role, id, &index) || !keep(role, id, index, context))
            note(&s, link_remove(s.netlink, links[i].name, &e), &e);
    }
    free(links);
    if (!rc)
        rc = ruleset_each("dr", sweep_table, &s, err);
    if (removed)
        *removed = s.removed;
    return leave(s.netlink, rc ? rc : s.rc);
}
