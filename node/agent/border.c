/* See border.h. */
#include "node/agent/border.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/link.h"
#include "node/agent/ruleset.h"
#include "node/agent/vxlan.h"
#include "node/base/err.h"
#include "node/base/hex.h"

enum { PATH_LENGTH = 300 };

/* ---- the node's side ---- */

static void border_name(const char *id, char name[RULESET_NAME_MAX])
{
    char bridge[LINK_NAME_MAX];
    snprintf(name, RULESET_NAME_MAX, "%s-border", link_name(LINK_BRIDGE, id, 0, bridge));
}

static void add_masquerade(const struct bridge_spec *spec, const char *bridge, struct ruleset *rules)
{
    char text[ADDRESS_TEXT_MAX];
    ruleset_add(rules, "chain postrouting {\ntype nat hook postrouting priority 100; policy accept;\n");
    for (unsigned i = 0; i < spec->gateway_count; i++) {
        const struct bridge_gateway *g = &spec->gateways[i];
        ruleset_add(rules, "%s saddr %s/%u oifname != \"%s\" masquerade\n", g->address.family == AF_INET ? "ip" : "ip6",
                    address_format(&g->address, text), g->prefix, bridge);
    }
    ruleset_add(rules, "}\n");
}

void border_rules(const struct bridge_spec *spec, struct ruleset *rules)
{
    char name[RULESET_NAME_MAX], b[LINK_NAME_MAX];
    link_name(LINK_BRIDGE, spec->id, 0, b);
    border_name(spec->id, name);
    ruleset_begin(rules, "inet", name);
    ruleset_add(rules, "chain input {\ntype filter hook input priority 0; policy accept;\n");
    if (spec->gateway_count)
        ruleset_add(rules,
                    "iifname \"%s\" ct state established,related accept\n"
                    "iifname \"%s\" icmp type echo-request accept\n"
                    "iifname \"%s\" icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept\n",
                    b, b, b);
    ruleset_add(rules,
                "iifname \"%s\" drop\n}\nchain forward {\ntype filter hook forward priority 0; policy accept;\n"
                "iifname \"%s\" oifname \"%s\" accept\n",
                b, b, b);
    if (spec->gateway_count)
        ruleset_add(rules,
                    "iifname \"%s\" udp dport %d drop\n"
                    "iifname \"%s\" oifname \"drb*\" drop\n"
                    "iifname \"%s\" accept\n"
                    "oifname \"%s\" ct state established,related accept\n",
                    b, VXLAN_PORT, b, b, b);
    ruleset_add(rules, "iifname \"%s\" drop\noifname \"%s\" drop\n}\n", b, b);
    if (spec->gateway_count)
        add_masquerade(spec, b, rules);
}

/* ---- forwarding ---- */

/* As the kernel has it: a small number. */
static int read_setting(const char *path, char *value)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t n = read(fd, value, 1);
    close(fd);
    return n == 1 ? 0 : -EIO;
}

static int set(const char *path, char value, struct err *err)
{
    char now;
    int rc = read_setting(path, &now);
    if (!rc && now == value)
        return 0;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, errno, "%s: cannot be opened to write %c: %s", path, value, strerror(errno));
    rc = write(fd, &value, 1) == 1 ? 0
                                   : err_set(err, errno, "%s: cannot be set to %c: %s", path, value, strerror(errno));
    close(fd);
    return rc;
}

/* A node that forwards IPv6 stops taking router advertisements, unless it is told 2. */
static int keep_advertisements(struct err *err)
{
    static const char folder[] = "/proc/sys/net/ipv6/conf";
    int rc = 0;
    DIR *all = opendir(folder);
    if (!all)
        return err_set(err, errno, "%s: cannot be read: %s: the node has no IPv6, take a network without", folder,
                       strerror(errno));
    for (struct dirent *d = readdir(all); d && !rc; d = readdir(all)) {
        char path[PATH_LENGTH], value;
        snprintf(path, sizeof path, "%s/%.200s/accept_ra", folder, d->d_name);
        if (d->d_name[0] != '.' && read_setting(path, &value) == 0 && value == '1')
            rc = set(path, '2', err);
    }
    closedir(all);
    return rc;
}

static int forward(const struct bridge_spec *spec, struct err *err)
{
    static const char six[] = "/proc/sys/net/ipv6/conf/all/forwarding";
    char now;
    int rc = bridge_speaks(spec, AF_INET) ? set("/proc/sys/net/ipv4/ip_forward", '1', err) : 0;
    if (rc || !bridge_speaks(spec, AF_INET6) || (read_setting(six, &now) == 0 && now == '1'))
        return rc;
    rc = keep_advertisements(err);
    return rc ? rc : set(six, '1', err);
}

int border_ensure(const struct bridge_spec *spec, struct err *err)
{
    struct ruleset rules;
    border_rules(spec, &rules);
    int rc = ruleset_ensure(&rules, err);
    return rc ? rc : forward(spec, err);
}

/* ---- the gate ---- */

static void gate_name(const char *id, char name[RULESET_NAME_MAX])
{
    char vxlan[LINK_NAME_MAX];
    snprintf(name, RULESET_NAME_MAX, "%s-gate", link_name(LINK_VXLAN, id, 0, vxlan));
}

void border_gate_rules(const struct bridge_spec *spec, struct ruleset *rules)
{
    char name[RULESET_NAME_MAX], vxlan[LINK_NAME_MAX], mac[MAC_TEXT_MAX], text[ADDRESS_TEXT_MAX];
    struct mac m = bridge_mac(spec->id);
    mac_format(&m, mac);
    gate_name(spec->id, name);
    ruleset_begin(rules, "netdev", name);
    ruleset_add(rules,
                "chain ingress {\ntype filter hook ingress device \"%s\" priority -10; policy accept;\n"
                "ether saddr %s drop\nether daddr %s drop\n",
                link_name(LINK_VXLAN, spec->id, 0, vxlan), mac, mac);
    for (unsigned i = 0; i < spec->gateway_count; i++) {
        const struct address *a = &spec->gateways[i].address;
        if (a->family == AF_INET) {
            address_format(a, text);
            ruleset_add(rules, "arp daddr ip %s drop\narp saddr ip %s drop\n", text, text);
            continue;
        }
        ruleset_add(rules, "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } @th,64,128 0x%s drop\n",
                    hex_text(a->bytes, sizeof a->bytes, text));
    }
    ruleset_add(rules, "}\n");
}

int border_ensure_gate(const struct bridge_spec *spec, struct err *err)
{
    char name[RULESET_NAME_MAX];
    struct ruleset rules;
    if (!spec->gateway_count) {
        gate_name(spec->id, name);
        return ruleset_remove("netdev", name, err);
    }
    border_gate_rules(spec, &rules);
    return ruleset_ensure(&rules, err);
}

int border_remove(const char *id, struct err *err)
{
    char name[RULESET_NAME_MAX];
    gate_name(id, name);
    int rc = ruleset_remove("netdev", name, err);
    border_name(id, name);
    return rc ? rc : ruleset_remove("inet", name, err);
}
