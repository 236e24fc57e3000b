/* See link.h. */
#include "node/agent/link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/digest.h"
#include "node/agent/netlink.h"
#include "node/base/err.h"

static const struct {
    char letter;
    const char *kind, *noun;
} roles[LINK_ROLES] = {
    [LINK_BRIDGE] = {'b', "bridge", "network"},
    [LINK_VXLAN] = {'v', "vxlan", "network"},
    [LINK_TAP] = {'t', "tun", "guest"},
};

/* ---- names ---- */

char *link_name(enum link_role role, const char *id, unsigned index, char name[LINK_NAME_MAX])
{
    uint64_t d = digest_of_id(roles[role].noun, id, index) >> 16;
    snprintf(name, LINK_NAME_MAX, "dr%c%012llx", roles[role].letter, (unsigned long long)d);
    return name;
}

char *link_alias(enum link_role role, const char *id, unsigned index, char alias[LINK_ALIAS_MAX])
{
    if (role == LINK_TAP)
        snprintf(alias, LINK_ALIAS_MAX, "drover guest %.63s nic %u", id, index);
    else
        snprintf(alias, LINK_ALIAS_MAX, "drover network %.63s", id);
    return alias;
}

int link_check_id(const char *id, struct err *err)
{
    size_t n = strlen(id);
    if (n < 1 || n >= LINK_ID_MAX || strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-") != n)
        return err_set(err, EINVAL, "id '%.80s': must be 1 to %d letters, digits and '-'", id, LINK_ID_MAX - 1);
    return 0;
}

bool link_ours(const struct link *link, enum link_role *role, char id[LINK_ID_MAX], unsigned *index)
{
    char want[LINK_ALIAS_MAX], name[LINK_NAME_MAX], word[LINK_KIND_MAX];
    for (unsigned r = 0; r < LINK_ROLES; r++) {
        *index = 0;
        if (strcmp(link->kind, roles[r].kind) != 0 ||
            sscanf(link->alias, "drover %15s %63s nic %u", word, id, index) < 2)
            continue;
        /* Written again it must be the same: what a lenient scan took for an alias of ours may not be one. */
        if (strcmp(link_alias((enum link_role)r, id, *index, want), link->alias) == 0 &&
            strcmp(link_name((enum link_role)r, id, *index, name), link->name) == 0) {
            *role = (enum link_role)r;
            return true;
        }
    }
    return false;
}

/* Of our making, but whoever made it was killed before it had its alias. */
static bool unfinished(const struct link *l)
{
    if (l->alias[0] || l->up || l->master || strncmp(l->name, "dr", 2) != 0 || strlen(l->name) != LINK_NAME_MAX - 1 ||
        strspn(l->name + 3, "0123456789abcdef") != LINK_NAME_MAX - 4)
        return false;
    for (unsigned r = 0; r < LINK_ROLES; r++)
        if (l->name[2] == roles[r].letter)
            return strcmp(l->kind, roles[r].kind) == 0;
    return false;
}

/* ---- what there is ---- */

static uint32_t u32_of(const struct nlattr *a)
{
    return a && nla_len(a) >= 4 ? nla_get_u32(a) : 0;
}

static uint8_t u8_of(const struct nlattr *a)
{
    return a && nla_len(a) >= 1 ? nla_get_u8(a) : 0;
}

static void text_of(const struct nlattr *a, char *text, size_t len_bytes)
{
    if (a)
        nla_strlcpy(text, a, len_bytes);
}

static struct address address_of(const struct nlattr *a, int family)
{
    struct address address = {.family = family};
    unsigned n = address_bytes(&address);
    if (!a || nla_len(a) < (int)n)
        return (struct address){0};
    memcpy(address.bytes, nla_data(a), n);
    return address;
}

static void read_vxlan(struct nlattr *data, struct link_vxlan *v)
{
    struct nlattr *a[IFLA_VXLAN_MAX + 1];
    if (nla_parse_nested(a, IFLA_VXLAN_MAX, data, NULL) < 0)
        return;
    v->vni = u32_of(a[IFLA_VXLAN_ID]);
    v->learning = u8_of(a[IFLA_VXLAN_LEARNING]);
    if (a[IFLA_VXLAN_PORT] && nla_len(a[IFLA_VXLAN_PORT]) >= 2)
        v->port = be16toh(nla_get_u16(a[IFLA_VXLAN_PORT]));
    v->local =
        a[IFLA_VXLAN_LOCAL6] ? address_of(a[IFLA_VXLAN_LOCAL6], AF_INET6) : address_of(a[IFLA_VXLAN_LOCAL], AF_INET);
}

static void read_tap(struct nlattr *data, struct link_tap *t)
{
    struct nlattr *a[IFLA_TUN_MAX + 1];
    if (nla_parse_nested(a, IFLA_TUN_MAX, data, NULL) < 0)
        return;
    t->tap = u8_of(a[IFLA_TUN_TYPE]) == 2; /* IFF_TAP */
    t->packet_info = u8_of(a[IFLA_TUN_PI]);
    t->vnet_hdr = u8_of(a[IFLA_TUN_VNET_HDR]);
    t->persistent = u8_of(a[IFLA_TUN_PERSIST]);
    t->several = u8_of(a[IFLA_TUN_MULTI_QUEUE]);
    t->owner = a[IFLA_TUN_OWNER] ? u32_of(a[IFLA_TUN_OWNER]) : UINT32_MAX;
}

static void read_info(struct nlattr *info, struct link *l)
{
    struct nlattr *a[IFLA_INFO_MAX + 1];
    if (!info || nla_parse_nested(a, IFLA_INFO_MAX, info, NULL) < 0)
        return;
    text_of(a[IFLA_INFO_KIND], l->kind, sizeof l->kind);
    if (a[IFLA_INFO_DATA] && strcmp(l->kind, "vxlan") == 0)
        read_vxlan(a[IFLA_INFO_DATA], &l->vxlan);
    if (a[IFLA_INFO_DATA] && strcmp(l->kind, "tun") == 0)
        read_tap(a[IFLA_INFO_DATA], &l->tap);
}

static void read_families(struct nlattr *families, struct link *l)
{
    struct nlattr *six = families ? nla_find(nla_data(families), nla_len(families), AF_INET6) : NULL;
    struct nlattr *mode = six ? nla_find(nla_data(six), nla_len(six), IFLA_INET6_ADDR_GEN_MODE) : NULL;
    l->address_mode = u8_of(mode);
}

static bool read_link(struct nlmsghdr *message, struct link *l)
{
    struct nlattr *a[IFLA_MAX + 1];
    if (message->nlmsg_type != RTM_NEWLINK || nlmsg_parse(message, sizeof(struct ifinfomsg), a, IFLA_MAX, NULL) < 0)
        return false;
    const struct ifinfomsg *info = nlmsg_data(message);
    *l = (struct link){.index = (uint32_t)info->ifi_index, .up = info->ifi_flags & IFF_UP};
    l->no_arp = info->ifi_flags & IFF_NOARP;
    text_of(a[IFLA_IFNAME], l->name, sizeof l->name);
    text_of(a[IFLA_IFALIAS], l->alias, sizeof l->alias);
    l->mtu = u32_of(a[IFLA_MTU]);
    l->master = u32_of(a[IFLA_MASTER]);
    l->carrier = u8_of(a[IFLA_CARRIER]);
    if (a[IFLA_ADDRESS] && nla_len(a[IFLA_ADDRESS]) == MAC_BYTES)
        memcpy(l->mac.bytes, nla_data(a[IFLA_ADDRESS]), MAC_BYTES);
    read_info(a[IFLA_LINKINFO], l);
    read_families(a[IFLA_AF_SPEC], l);
    return true;
}

static void take_one(struct nlmsghdr *message, void *context)
{
    (void)read_link(message, context);
}

int link_find(struct netlink *netlink, const char *name, struct link *link, struct err *err)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    struct netlink_request request;
    struct link found = {.index = 0};
    netlink_begin(&request, RTM_GETLINK, 0, &header, sizeof header);
    netlink_put_text(&request, IFLA_IFNAME, name);
    int rc = netlink_ask(netlink, &request, take_one, &found, err, "device %s: cannot be looked up", name);
    if (rc == -ENODEV)
        return 0;
    if (rc)
        return rc;
    if (!found.index)
        return err_set(err, EPROTO, "device %s: the kernel's answer does not describe it", name);
    *link = found;
    return 1;
}

int link_find_ours(struct netlink *netlink, enum link_role role, const char *id, unsigned index, struct link *link,
                   struct err *err)
{
    char name[LINK_NAME_MAX], alias[LINK_ALIAS_MAX];
    struct link found;
    int rc = link_find(netlink, link_name(role, id, index, name), &found, err);
    if (rc <= 0)
        return rc;
    link_alias(role, id, index, alias);
    if (strcmp(found.kind, roles[role].kind) != 0 || (strcmp(found.alias, alias) != 0 && !unfinished(&found)))
        return err_set(
            err, EEXIST,
            "device %s: is a %.15s of somebody else's (its alias is '%.80s', not '%s'): rename it or remove it", name,
            found.kind[0] ? found.kind : "device", found.alias, alias);
    *link = found;
    return 1;
}

/* ---- all of ours ---- */

struct collection {
    struct link *links;
    size_t count, room;
    int code;
};

static void start(void *context)
{
    struct collection *c = context;
    c->count = 0;
}

static void collect(struct nlmsghdr *message, void *context)
{
    struct collection *c = context;
    enum link_role role;
    char id[LINK_ID_MAX];
    unsigned index;
    struct link l;
    if (c->code || !read_link(message, &l) || !(link_ours(&l, &role, id, &index) || unfinished(&l)))
        return;
    if (c->count == c->room) {
        size_t room = c->room ? 2 * c->room : 64;
        struct link *larger = room <= LINK_LIST_MAX ? realloc(c->links, room * sizeof *larger) : NULL;
        if (!larger) {
            c->code = ENOMEM;
            return;
        }
        c->links = larger;
        c->room = room;
    }
    c->links[c->count++] = l;
}

int link_list(struct netlink *netlink, struct link **links, size_t *count, struct err *err)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    struct netlink_request request;
    struct collection c = {.links = NULL};
    netlink_begin(&request, RTM_GETLINK, 0, &header, sizeof header);
    int rc = netlink_list(netlink, &request, start, collect, &c, err, "devices: cannot be listed");
    if (!rc && c.code)
        rc = err_set(err, c.code, "devices: no memory to list more than %zu", c.count);
    if (rc) {
        free(c.links);
        return rc;
    }
    *links = c.links;
    *count = c.count;
    return 0;
}

int link_remove(struct netlink *netlink, const char *name, struct err *err)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
    struct netlink_request request;
    netlink_begin(&request, RTM_DELLINK, 0, &header, sizeof header);
    netlink_put_text(&request, IFLA_IFNAME, name);
    int rc = netlink_do(netlink, &request, err, "device %s: cannot be removed", name);
    return rc == -ENODEV ? 0 : rc;
}

int link_remove_ours(struct netlink *netlink, enum link_role role, const char *id, unsigned index, struct err *err)
{
    struct link l;
    int rc = link_find_ours(netlink, role, id, index, &l, err);
    return rc <= 0 ? rc : link_remove(netlink, l.name, err);
}

/* ---- as it should be ---- */

static void put_address_mode(struct netlink_request *request, uint8_t mode)
{
    size_t families = netlink_nest(request, IFLA_AF_SPEC), six = netlink_nest(request, AF_INET6);
    netlink_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, mode);
    netlink_nest_end(request, six);
    netlink_nest_end(request, families);
}

/* Apart from the attributes and after them: the kernel raises a device first and only then reads how it is to make
 * addresses, and would have made one by then. */
static int raise_up(struct netlink *netlink, const struct link *link, bool no_arp, struct err *err)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC,
                               .ifi_index = (int)link->index,
                               .ifi_flags = (unsigned)IFF_UP | (no_arp ? (unsigned)IFF_NOARP : 0),
                               .ifi_change = IFF_UP | IFF_NOARP};
    struct netlink_request request;
    netlink_begin(&request, RTM_NEWLINK, 0, &header, sizeof header);
    return netlink_do(netlink, &request, err, "device %s: cannot be switched on", link->name);
}

int link_adjust(struct netlink *netlink, const struct link *link, const struct link_wish *wish, struct err *err)
{
    struct ifinfomsg header = {.ifi_family = AF_UNSPEC, .ifi_index = (int)link->index};
    struct netlink_request request;
    int rc = 0;
    netlink_begin(&request, RTM_NEWLINK, 0, &header, sizeof header);
    size_t empty = request.header.nlmsg_len;
    if (wish->alias && strcmp(wish->alias, link->alias) != 0)
        netlink_put(&request, IFLA_IFALIAS, wish->alias, strlen(wish->alias));
    if (wish->mac && !mac_equal(wish->mac, &link->mac))
        netlink_put(&request, IFLA_ADDRESS, wish->mac->bytes, MAC_BYTES);
    if (wish->mtu && wish->mtu != link->mtu)
        netlink_put_u32(&request, IFLA_MTU, wish->mtu);
    if (wish->master != link->master)
        netlink_put_u32(&request, IFLA_MASTER, wish->master);
    if (wish->address_mode != link->address_mode)
        put_address_mode(&request, wish->address_mode);
    if (request.header.nlmsg_len != empty)
        rc = netlink_do(netlink, &request, err, "device %s: cannot be set up", link->name);
    if (!rc && (!link->up || link->no_arp != wish->no_arp))
        rc = raise_up(netlink, link, wish->no_arp, err);
    return rc;
}
