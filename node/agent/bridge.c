/* See bridge.h. */
#include "node/agent/bridge.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

#include "node/agent/link.h"
#include "node/agent/netlink.h"
#include "node/base/err.h"

enum { ADDRESSES_MAX = 64 };

struct mac bridge_mac(const char *id)
{
    return mac_of_id(id, UINT32_MAX); /* no guest has that many NICs */
}

static int create(struct netlink *netlink, const struct bridge_spec *spec, const char *name, struct err *err)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    struct mac mac = bridge_mac(spec->id);
    struct netlink_request request;
    netlink_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof header);
    netlink_put_text(&request, IFLA_IFNAME, name);
    netlink_put(&request, IFLA_ADDRESS, mac.bytes, MAC_BYTES);
    netlink_put_u32(&request, IFLA_MTU, spec->mtu);
    size_t info = netlink_nest(&request, IFLA_LINKINFO);
    netlink_put_text(&request, IFLA_INFO_KIND, "bridge");
    size_t data = netlink_nest(&request, IFLA_INFO_DATA);
    netlink_put_u32(&request, IFLA_BR_STP_STATE, 0);
    netlink_put_u8(&request, IFLA_BR_MCAST_SNOOPING, 0);
    netlink_nest_end(&request, data);
    netlink_nest_end(&request, info);
    return netlink_do(netlink, &request, err, "bridge %s of network %s: cannot be made", name, spec->id);
}

/* ---- the node's addresses on it ---- */

struct addresses {
    uint32_t index;
    struct bridge_gateway found[ADDRESSES_MAX];
    unsigned count;
};

static void start(void *context)
{
    struct addresses *all = context;
    all->count = 0;
}

static void collect(struct nlmsghdr *message, void *context)
{
    struct addresses *all = context;
    struct nlattr *a[IFA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWADDR || nlmsg_parse(message, sizeof(struct ifaddrmsg), a, IFA_MAX, NULL) < 0)
        return;
    const struct ifaddrmsg *header = nlmsg_data(message);
    struct nlattr *local = a[IFA_LOCAL] ? a[IFA_LOCAL] : a[IFA_ADDRESS];
    struct bridge_gateway g = {.address = {.family = header->ifa_family}, .prefix = header->ifa_prefixlen};
    bool link_local = header->ifa_family == AF_INET6 && header->ifa_scope == RT_SCOPE_LINK;
    if (header->ifa_index != all->index || link_local || !local || all->count == ADDRESSES_MAX ||
        nla_len(local) < (int)address_bytes(&g.address))
        return;
    memcpy(g.address.bytes, nla_data(local), address_bytes(&g.address));
    all->found[all->count++] = g;
}

static int list_addresses(struct netlink *netlink, struct addresses *all, const char *name, struct err *err)
{
    struct ifaddrmsg header = {.ifa_family = AF_UNSPEC};
    struct netlink_request request;
    netlink_begin(&request, RTM_GETADDR, 0, &header, sizeof header);
    return netlink_list(netlink, &request, start, collect, all, err, "bridge %s: its addresses cannot be listed", name);
}

static int change_address(struct netlink *netlink, int type, uint32_t index, const struct bridge_gateway *g,
                          const char *name, struct err *err)
{
    char text[ADDRESS_TEXT_MAX];
    /* Every node has this address on its own bridge of the network, on purpose: no duplicate detection. */
    struct ifaddrmsg header = {.ifa_family = (uint8_t)g->address.family,
                               .ifa_prefixlen = (uint8_t)g->prefix,
                               .ifa_flags = IFA_F_NODAD,
                               .ifa_index = index};
    struct netlink_request request;
    netlink_begin(&request, type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_REPLACE : 0, &header, sizeof header);
    netlink_put(&request, IFA_LOCAL, g->address.bytes, address_bytes(&g->address));
    netlink_put(&request, IFA_ADDRESS, g->address.bytes, address_bytes(&g->address));
    return netlink_do(netlink, &request, err, "bridge %s: address %s/%u cannot be %s", name,
                      address_format(&g->address, text), g->prefix, type == RTM_NEWADDR ? "added" : "removed");
}

static bool among(const struct bridge_gateway *list, unsigned count, const struct bridge_gateway *g)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i].prefix == g->prefix && address_equal(&list[i].address, &g->address))
            return true;
    return false;
}

static int set_addresses(struct netlink *netlink, const struct bridge_spec *spec, uint32_t index, const char *name,
                         struct err *err)
{
    struct addresses all = {.index = index};
    int rc = list_addresses(netlink, &all, name, err);
    for (unsigned i = 0; !rc && i < all.count; i++) {
        if (!among(spec->gateways, spec->gateway_count, &all.found[i]))
            rc = change_address(netlink, RTM_DELADDR, index, &all.found[i], name, err);
        if (rc == -EADDRNOTAVAIL)
            rc = 0; /* a secondary one that left with its primary */
    }
    for (unsigned i = 0; !rc && i < spec->gateway_count; i++)
        if (!among(all.found, all.count, &spec->gateways[i]))
            rc = change_address(netlink, RTM_NEWADDR, index, &spec->gateways[i], name, err);
    return rc;
}

/* ---- the whole ---- */

bool bridge_speaks(const struct bridge_spec *spec, int family)
{
    for (unsigned i = 0; i < spec->gateway_count; i++)
        if (spec->gateways[i].address.family == family)
            return true;
    return false;
}

int bridge_ensure(struct netlink *netlink, const struct bridge_spec *spec, uint32_t *index, struct err *err)
{
    char name[LINK_NAME_MAX], alias[LINK_ALIAS_MAX];
    struct link l;
    struct mac mac = bridge_mac(spec->id);
    struct link_wish wish = {.alias = link_alias(LINK_BRIDGE, spec->id, 0, alias),
                             .mac = &mac,
                             .mtu = spec->mtu,
                             .no_arp = spec->gateway_count == 0,
                             .address_mode =
                                 bridge_speaks(spec, AF_INET6) ? IN6_ADDR_GEN_MODE_EUI64 : IN6_ADDR_GEN_MODE_NONE};
    link_name(LINK_BRIDGE, spec->id, 0, name);
    int rc = link_find_ours(netlink, LINK_BRIDGE, spec->id, 0, &l, err);
    if (rc == 0 && !(rc = create(netlink, spec, name, err)))
        rc = link_find_ours(netlink, LINK_BRIDGE, spec->id, 0, &l, err);
    if (rc == 0)
        rc = err_set(err, ENODEV, "bridge %s of network %s: somebody removes it while it is made", name, spec->id);
    if (rc < 0)
        return rc;
    rc = link_adjust(netlink, &l, &wish, err);
    if (!rc)
        rc = set_addresses(netlink, spec, l.index, name, err);
    if (!rc)
        *index = l.index;
    return rc;
}

int bridge_remove(struct netlink *netlink, const char *id, struct err *err)
{
    return link_remove_ours(netlink, LINK_BRIDGE, id, 0, err);
}
