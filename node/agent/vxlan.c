/* See vxlan.h. */
#include "node/agent/vxlan.h"

#include <endian.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

#include "node/agent/link.h"
#include "node/agent/netlink.h"
#include "node/base/err.h"

enum { TTL = 64 };

/* ---- the nodes' network ---- */

struct underlay {
    const struct address *local;
    uint32_t index;
};

static void start_looking(void *context)
{
    struct underlay *u = context;
    u->index = 0;
}

static void find_local(struct nlmsghdr *message, void *context)
{
    struct underlay *u = context;
    struct nlattr *a[IFA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWADDR || nlmsg_parse(message, sizeof(struct ifaddrmsg), a, IFA_MAX, NULL) < 0)
        return;
    const struct ifaddrmsg *header = nlmsg_data(message);
    const struct nlattr *local = a[IFA_LOCAL] ? a[IFA_LOCAL] : a[IFA_ADDRESS];
    unsigned n = address_bytes(u->local);
    if (header->ifa_family == u->local->family && local && nla_len(local) >= (int)n &&
        memcmp(nla_data(local), u->local->bytes, n) == 0)
        u->index = header->ifa_index;
}

static void find_mtu(struct nlmsghdr *message, void *context)
{
    uint32_t *mtu = context;
    struct nlattr *a = nlmsg_find_attr(message, sizeof(struct ifinfomsg), IFLA_MTU);
    if (message->nlmsg_type == RTM_NEWLINK && a && nla_len(a) >= 4)
        *mtu = nla_get_u32(a);
}

static int check_underlay(struct netlink *netlink, const struct vxlan_spec *spec, struct err *err)
{
    char text[ADDRESS_TEXT_MAX];
    struct ifaddrmsg addresses = {.ifa_family = (uint8_t)spec->local.family};
    struct underlay u = {.local = &spec->local};
    struct netlink_request request;
    address_format(&spec->local, text);
    netlink_begin(&request, RTM_GETADDR, 0, &addresses, sizeof addresses);
    int rc = netlink_list(netlink, &request, start_looking, find_local, &u, err,
                          "vxlan of network %s: addresses cannot be listed", spec->id);
    if (rc)
        return rc;
    if (!u.index)
        return err_set(err, EADDRNOTAVAIL, "vxlan of network %s: %s is not an address of this node", spec->id, text);
    struct ifinfomsg device = {.ifi_family = AF_UNSPEC, .ifi_index = (int)u.index};
    uint32_t carried = 0;
    netlink_begin(&request, RTM_GETLINK, 0, &device, sizeof device);
    rc = netlink_ask(netlink, &request, find_mtu, &carried, err, "vxlan of network %s: device %u cannot be looked up",
                     spec->id, u.index);
    if (rc)
        return rc;
    uint32_t overhead = spec->local.family == AF_INET ? VXLAN_OVERHEAD_V4 : VXLAN_OVERHEAD_V6;
    if (spec->mtu + overhead > carried)
        return err_set(err, EMSGSIZE,
                       "network %s: its mtu of %u does not fit: the device with %s carries %u, less %u for VXLAN: give "
                       "the network %u or the device %u",
                       spec->id, spec->mtu, text, carried, overhead, carried > overhead ? carried - overhead : 0,
                       spec->mtu + overhead);
    return 0;
}

/* ---- peers ---- */

struct peers {
    uint32_t index;
    unsigned count;
    struct address found[2 * VXLAN_PEERS_MAX];
};

static void start(void *context)
{
    struct peers *p = context;
    p->count = 0;
}

/* The entries for frames whose MAC is unknown: those with a MAC of zeroes. */
static void collect(struct nlmsghdr *message, void *context)
{
    static const uint8_t everybody[MAC_BYTES];
    struct peers *p = context;
    struct nlattr *a[NDA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWNEIGH || nlmsg_parse(message, sizeof(struct ndmsg), a, NDA_MAX, NULL) < 0)
        return;
    const struct ndmsg *header = nlmsg_data(message);
    if ((uint32_t)header->ndm_ifindex != p->index || !(header->ndm_flags & NTF_SELF) || !a[NDA_DST] || !a[NDA_LLADDR] ||
        nla_len(a[NDA_LLADDR]) != MAC_BYTES || memcmp(nla_data(a[NDA_LLADDR]), everybody, MAC_BYTES) != 0 ||
        p->count == sizeof p->found / sizeof *p->found)
        return;
    struct address peer = {.family = nla_len(a[NDA_DST]) == 4 ? AF_INET : AF_INET6};
    if (nla_len(a[NDA_DST]) != (int)address_bytes(&peer))
        return;
    memcpy(peer.bytes, nla_data(a[NDA_DST]), address_bytes(&peer));
    p->found[p->count++] = peer;
}

static int list_peers(struct netlink *netlink, struct peers *peers, const char *name, struct err *err)
{
    struct ndmsg header = {.ndm_family = AF_BRIDGE, .ndm_ifindex = (int)peers->index};
    struct netlink_request request;
    netlink_begin(&request, RTM_GETNEIGH, 0, &header, sizeof header);
    return netlink_list(netlink, &request, start, collect, peers, err, "device %s: its peers cannot be listed", name);
}

static int change_peer(struct netlink *netlink, int type, uint32_t index, const struct address *peer, const char *name,
                       struct err *err)
{
    static const uint8_t everybody[MAC_BYTES];
    char text[ADDRESS_TEXT_MAX];
    struct ndmsg header = {.ndm_family = AF_BRIDGE,
                           .ndm_ifindex = (int)index,
                           .ndm_state = NUD_NOARP | NUD_PERMANENT,
                           .ndm_flags = NTF_SELF};
    struct netlink_request request;
    netlink_begin(&request, type, type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_APPEND : 0, &header, sizeof header);
    netlink_put(&request, NDA_LLADDR, everybody, MAC_BYTES);
    netlink_put(&request, NDA_DST, peer->bytes, address_bytes(peer));
    return netlink_do(netlink, &request, err, "device %s: peer %s cannot be %s", name, address_format(peer, text),
                      type == RTM_NEWNEIGH ? "added" : "removed");
}

static bool among(const struct address *list, unsigned count, const struct address *a)
{
    for (unsigned i = 0; i < count; i++)
        if (address_equal(&list[i], a))
            return true;
    return false;
}

static int set_peers(struct netlink *netlink, const struct vxlan_spec *spec, uint32_t index, const char *name,
                     struct err *err)
{
    struct peers all = {.index = index};
    int rc = list_peers(netlink, &all, name, err);
    for (unsigned i = 0; !rc && i < all.count; i++) {
        if (!among(spec->peers, spec->peer_count, &all.found[i]) || address_equal(&all.found[i], &spec->local))
            rc = change_peer(netlink, RTM_DELNEIGH, index, &all.found[i], name, err);
        if (rc == -ENOENT)
            rc = 0;
    }
    for (unsigned i = 0; !rc && i < spec->peer_count; i++)
        if (!among(all.found, all.count, &spec->peers[i]) && !among(spec->peers, i, &spec->peers[i]) &&
            !address_equal(&spec->peers[i], &spec->local))
            rc = change_peer(netlink, RTM_NEWNEIGH, index, &spec->peers[i], name, err);
    return rc;
}

/* ---- the device ---- */

static int create(struct netlink *netlink, const struct vxlan_spec *spec, const char *name, struct err *err)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    struct netlink_request request;
    uint16_t port = htobe16(VXLAN_PORT);
    netlink_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    netlink_put_text(&request, IFLA_IFNAME, name);
    netlink_put_u32(&request, IFLA_MTU, spec->mtu);
    size_t info = netlink_nest(&request, IFLA_LINKINFO);
    netlink_put_text(&request, IFLA_INFO_KIND, "vxlan");
    size_t data = netlink_nest(&request, IFLA_INFO_DATA);
    netlink_put_u32(&request, IFLA_VXLAN_ID, spec->vni);
    netlink_put(&request, spec->local.family == AF_INET ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, spec->local.bytes,
                address_bytes(&spec->local));
    netlink_put(&request, IFLA_VXLAN_PORT, &port, sizeof port);
    netlink_put_u8(&request, IFLA_VXLAN_LEARNING, 1);
    netlink_put_u8(&request, IFLA_VXLAN_TTL, TTL);
    netlink_nest_end(&request, data);
    netlink_nest_end(&request, info);
    int rc = netlink_do(netlink, &request, err, "vxlan %s of network %s, number %u: cannot be made", name, spec->id,
                        spec->vni);
    if (rc == -EEXIST)
        return err_set(err, EEXIST, "vxlan %s of network %s: number %u is another device's on this node", name,
                       spec->id, spec->vni);
    return rc;
}

static bool fits(const struct link *l, const struct vxlan_spec *spec)
{
    return l->vxlan.vni == spec->vni && l->vxlan.port == VXLAN_PORT && l->vxlan.learning &&
           address_equal(&l->vxlan.local, &spec->local);
}

static int check(const struct vxlan_spec *spec, struct err *err)
{
    if (spec->vni < 1 || spec->vni > VXLAN_VNI_MAX)
        return err_set(err, EINVAL, "network %s: the VXLAN number must be 1 to %d, not %u", spec->id, VXLAN_VNI_MAX,
                       spec->vni);
    if (spec->peer_count > VXLAN_PEERS_MAX)
        return err_set(err, E2BIG, "network %s: at most %d nodes can share it, not %u", spec->id, VXLAN_PEERS_MAX,
                       spec->peer_count);
    for (unsigned i = 0; i < spec->peer_count; i++) {
        char peer[ADDRESS_TEXT_MAX], local[ADDRESS_TEXT_MAX];
        if (spec->peers[i].family != spec->local.family)
            return err_set(err, EINVAL, "network %s: peer %s and this node's %s must both be IPv4 or both IPv6",
                           spec->id, address_format(&spec->peers[i], peer), address_format(&spec->local, local));
    }
    return 0;
}

int vxlan_ensure(struct netlink *netlink, const struct vxlan_spec *spec, struct err *err)
{
    char name[LINK_NAME_MAX], alias[LINK_ALIAS_MAX];
    struct link l;
    struct link_wish wish = {.alias = link_alias(LINK_VXLAN, spec->id, 0, alias),
                             .mtu = spec->mtu,
                             .master = spec->bridge,
                             .address_mode = IN6_ADDR_GEN_MODE_NONE};
    int rc = check(spec, err);
    if (!rc)
        rc = check_underlay(netlink, spec, err);
    if (rc)
        return rc;
    link_name(LINK_VXLAN, spec->id, 0, name);
    rc = link_find_ours(netlink, LINK_VXLAN, spec->id, 0, &l, err);
    if (rc == 1 && !fits(&l, spec)) /* a number or an address cannot be changed */
        rc = link_remove(netlink, name, err);
    if (rc == 0 && !(rc = create(netlink, spec, name, err)))
        rc = link_find_ours(netlink, LINK_VXLAN, spec->id, 0, &l, err);
    if (rc == 0)
        rc = err_set(err, ENODEV, "vxlan %s of network %s: somebody removes it while it is made", name, spec->id);
    if (rc < 0)
        return rc;
    rc = link_adjust(netlink, &l, &wish, err);
    return rc ? rc : set_peers(netlink, spec, l.index, name, err);
}

int vxlan_remove(struct netlink *netlink, const char *id, struct err *err)
{
    return link_remove_ours(netlink, LINK_VXLAN, id, 0, err);
}
