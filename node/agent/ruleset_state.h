/* What the kernel's packet filter has, asked of it table by table.
 *
 * Threads: as netlink.h; the netlink is one of NETLINK_NETFILTER. Source: linux/netfilter/nf_tables.h. */
#ifndef NODE_AGENT_RULESET_STATE_H
#define NODE_AGENT_RULESET_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "node/agent/ruleset.h"

struct err;
struct netlink;

enum { RULESET_COMMENT_MAX = 64, RULESET_FAMILY_MAX = 8, RULESET_TABLES_MAX = 65536 };

/* 1: there is such a table, with that comment (empty: none), 0: there is none. */
int ruleset_state_table(struct netlink *netlink, const char *family, const char *name,
                        char comment[RULESET_COMMENT_MAX], struct err *err);
/* 1: there is such a chain, it hangs on a hook, and has so many rules; else 0. */
int ruleset_state_chain(struct netlink *netlink, const char *family, const char *name, const char *chain,
                        unsigned rules, struct err *err);
/* -ENOENT: no such table or counter. */
int ruleset_state_counter(struct netlink *netlink, const char *family, const char *name, const char *counter,
                          uint64_t *packets, uint64_t *bytes, struct err *err);

struct ruleset_names {
    struct ruleset_name {
        char family[RULESET_FAMILY_MAX], name[RULESET_NAME_MAX];
    } * names;
    size_t count, room;
    const char *prefix;
    int code;
};
/* Tables of "netdev" and "inet" whose names start so. The caller frees names. */
int ruleset_state_list(struct netlink *netlink, const char *prefix, struct ruleset_names *names, struct err *err);

#endif
