/* See ruleset_state.h. */
#include "node/agent/ruleset_state.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h> /* first: linux/netfilter.h brings a part of it */
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/netlink.h"
#include "node/base/err.h"

enum { COMMENT_TYPE = 0 /* of a table's user data, as nft writes it */ };

static const struct {
    const char *name;
    uint8_t number;
} families[] = {{"netdev", NFPROTO_NETDEV}, {"inet", NFPROTO_INET}};

static void begin(struct netlink_request *request, int type, const char *family)
{
    struct nfgenmsg header = {.nfgen_family = NFPROTO_UNSPEC, .version = NFNETLINK_V0};
    for (unsigned i = 0; family && i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].name, family) == 0)
            header.nfgen_family = families[i].number;
    netlink_begin(request, NFNL_SUBSYS_NFTABLES << 8 | type, 0, &header, sizeof header);
}

static bool is(const struct nlmsghdr *message, int type)
{
    return message->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | type);
}

static uint64_t be64_of(const struct nlattr *a)
{
    uint64_t v = 0;
    if (a && nla_len(a) >= (int)sizeof v)
        memcpy(&v, nla_data(a), sizeof v);
    return be64toh(v);
}

/* ---- tables ---- */

/* User data is a row of type, length, value. */
static void read_comment(const struct nlattr *data, char comment[RULESET_COMMENT_MAX])
{
    const uint8_t *p = nla_data(data), *end = p + nla_len(data);
    while (end - p >= 2 && end - p >= 2 + p[1]) {
        size_t n = p[1] < RULESET_COMMENT_MAX ? p[1] : RULESET_COMMENT_MAX - 1;
        if (p[0] == COMMENT_TYPE)
            snprintf(comment, RULESET_COMMENT_MAX, "%.*s", (int)n, (const char *)p + 2);
        p += 2 + p[1];
    }
}

static void take_table(struct nlmsghdr *message, void *context)
{
    struct nlattr *a[NFTA_TABLE_MAX + 1];
    if (is(message, NFT_MSG_NEWTABLE) && nlmsg_parse(message, sizeof(struct nfgenmsg), a, NFTA_TABLE_MAX, NULL) == 0 &&
        a[NFTA_TABLE_USERDATA])
        read_comment(a[NFTA_TABLE_USERDATA], context);
}

int ruleset_state_table(struct netlink *netlink, const char *family, const char *name,
                        char comment[RULESET_COMMENT_MAX], struct err *err)
{
    struct netlink_request request;
    comment[0] = 0;
    begin(&request, NFT_MSG_GETTABLE, family);
    netlink_put_text(&request, NFTA_TABLE_NAME, name);
    int rc = netlink_ask(netlink, &request, take_table, comment, err, "table %s %s: cannot be read", family, name);
    return rc == -ENOENT ? 0 : rc ? rc : 1;
}

static void start(void *context)
{
    struct ruleset_names *all = context;
    all->count = 0;
}

static void collect(struct nlmsghdr *message, void *context)
{
    struct ruleset_names *all = context;
    struct nlattr *a[NFTA_TABLE_MAX + 1];
    char name[RULESET_NAME_MAX];
    if (all->code || !is(message, NFT_MSG_NEWTABLE) ||
        nlmsg_parse(message, sizeof(struct nfgenmsg), a, NFTA_TABLE_MAX, NULL) < 0 || !a[NFTA_TABLE_NAME])
        return;
    const struct nfgenmsg *header = nlmsg_data(message);
    nla_strlcpy(name, a[NFTA_TABLE_NAME], sizeof name);
    if (strncmp(name, all->prefix, strlen(all->prefix)) != 0)
        return;
    for (unsigned i = 0; i < sizeof families / sizeof *families; i++) {
        if (families[i].number != header->nfgen_family)
            continue;
        if (all->count == all->room) {
            size_t room = all->room ? 2 * all->room : 64;
            struct ruleset_name *larger =
                room <= RULESET_TABLES_MAX ? realloc(all->names, room * sizeof *larger) : NULL;
            if (!larger) {
                all->code = ENOMEM;
                return;
            }
            all->names = larger;
            all->room = room;
        }
        struct ruleset_name *n = &all->names[all->count++];
        snprintf(n->family, sizeof n->family, "%s", families[i].name);
        memcpy(n->name, name, sizeof n->name);
    }
}

int ruleset_state_list(struct netlink *netlink, const char *prefix, struct ruleset_names *names, struct err *err)
{
    struct ruleset_names all = {.prefix = prefix};
    struct netlink_request request;
    begin(&request, NFT_MSG_GETTABLE, NULL);
    int rc = netlink_list(netlink, &request, start, collect, &all, err, "tables: cannot be listed");
    if (!rc && all.code)
        rc = err_set(err, all.code, "tables: no memory to list more than %zu", all.count);
    if (rc) {
        free(all.names);
        all = (struct ruleset_names){.prefix = prefix};
    }
    *names = all;
    return rc;
}

/* ---- chains ---- */

struct chain {
    bool hooked;
    uint32_t rules;
};

static void take_chain(struct nlmsghdr *message, void *context)
{
    struct chain *c = context;
    struct nlattr *a[NFTA_CHAIN_MAX + 1];
    if (!is(message, NFT_MSG_NEWCHAIN) || nlmsg_parse(message, sizeof(struct nfgenmsg), a, NFTA_CHAIN_MAX, NULL) < 0)
        return;
    c->hooked = a[NFTA_CHAIN_HOOK] != NULL;
    if (a[NFTA_CHAIN_USE] && nla_len(a[NFTA_CHAIN_USE]) >= 4)
        c->rules = be32toh(nla_get_u32(a[NFTA_CHAIN_USE]));
}

int ruleset_state_chain(struct netlink *netlink, const char *family, const char *name, const char *chain,
                        unsigned rules, struct err *err)
{
    struct netlink_request request;
    struct chain c = {.hooked = false};
    begin(&request, NFT_MSG_GETCHAIN, family);
    netlink_put_text(&request, NFTA_CHAIN_TABLE, name);
    netlink_put_text(&request, NFTA_CHAIN_NAME, chain);
    int rc = netlink_ask(netlink, &request, take_chain, &c, err, "table %s %s: chain %s cannot be read", family, name,
                         chain);
    if (rc == -ENOENT)
        return 0;
    return rc ? rc : c.hooked && c.rules == rules;
}

/* ---- counters ---- */

struct counter {
    bool there;
    uint64_t packets, bytes;
};

static void take_counter(struct nlmsghdr *message, void *context)
{
    struct counter *c = context;
    struct nlattr *a[NFTA_OBJ_MAX + 1], *d[NFTA_COUNTER_MAX + 1];
    if (!is(message, NFT_MSG_NEWOBJ) || nlmsg_parse(message, sizeof(struct nfgenmsg), a, NFTA_OBJ_MAX, NULL) < 0 ||
        !a[NFTA_OBJ_DATA] || nla_parse_nested(d, NFTA_COUNTER_MAX, a[NFTA_OBJ_DATA], NULL) < 0)
        return;
    *c = (struct counter){true, be64_of(d[NFTA_COUNTER_PACKETS]), be64_of(d[NFTA_COUNTER_BYTES])};
}

int ruleset_state_counter(struct netlink *netlink, const char *family, const char *name, const char *counter,
                          uint64_t *packets, uint64_t *bytes, struct err *err)
{
    struct netlink_request request;
    struct counter c = {.there = false};
    begin(&request, NFT_MSG_GETOBJ, family);
    netlink_put_text(&request, NFTA_OBJ_TABLE, name);
    netlink_put_text(&request, NFTA_OBJ_NAME, counter);
    netlink_put_u32(&request, NFTA_OBJ_TYPE, htobe32(NFT_OBJECT_COUNTER));
    int rc = netlink_ask(netlink, &request, take_counter, &c, err, "table %s %s: counter %s cannot be read", family,
                         name, counter);
    if (rc)
        return rc;
    if (!c.there)
        return err_set(err, EPROTO, "table %s %s: counter %s is no counter", family, name, counter);
    *packets = c.packets;
    *bytes = c.bytes;
    return 0;
}
