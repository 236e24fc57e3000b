/* See antispoof.h. */
#include "node/agent/antispoof.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "node/agent/ruleset.h"
#include "node/base/err.h"
#include "node/base/hex.h"

enum { LIST_MAX = ANTISPOOF_ADDRESSES_MAX * ADDRESS_TEXT_MAX };

/* The link-local address that Linux makes of a MAC: RFC 4291, appendix A. */
static struct address link_local_of(const struct mac *mac)
{
    const uint8_t *m = mac->bytes;
    return (struct address){
        .family = AF_INET6,
        .bytes = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]}};
}

/* "10.7.0.2, 10.7.0.3"; as_number: for places that nft has no name for. */
static void append(char *list, const struct address *a, bool as_number)
{
    char text[ADDRESS_TEXT_MAX];
    size_t n = strlen(list);
    if (as_number)
        hex_text(a->bytes, sizeof a->bytes, text);
    else
        address_format(a, text);
    snprintf(list + n, LIST_MAX - n, "%s%s%s", n ? ", " : "", as_number ? "0x" : "", text);
}

static void add_ipv4(const struct antispoof_spec *spec, const char *mac, struct ruleset *rules)
{
    char own[LIST_MAX] = "";
    for (unsigned i = 0; i < spec->address_count; i++)
        if (spec->addresses[i].family == AF_INET)
            append(own, &spec->addresses[i], false);
    if (!own[0])
        return;
    ruleset_add(
        rules,
        "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp saddr ether %s arp saddr ip { 0.0.0.0, %s } accept\n"
        "ip saddr { %s } udp sport 67 counter name spoofed drop\n"
        "ip saddr { %s } icmp type redirect counter name spoofed drop\n"
        "ip saddr { %s } accept\n",
        mac, own, own, own, own);
}

static void add_ipv6(const struct antispoof_spec *spec, struct ruleset *rules)
{
    char own[LIST_MAX] = "", numbers[LIST_MAX] = "";
    struct address link_local = link_local_of(&spec->mac);
    append(own, &link_local, false);
    append(numbers, &link_local, true);
    for (unsigned i = 0; i < spec->address_count; i++)
        if (spec->addresses[i].family == AF_INET6) {
            append(own, &spec->addresses[i], false);
            append(numbers, &spec->addresses[i], true);
        }
    /* Octets 8 to 23 of an advertisement are the address it is for. */
    ruleset_add(rules,
                "ip6 saddr { %s } icmpv6 type nd-neighbor-advert @th,64,128 { %s } accept\n"
                "icmpv6 type { nd-neighbor-advert, nd-router-advert, nd-redirect } counter name spoofed drop\n"
                "udp sport 547 counter name spoofed drop\n"
                "ip6 saddr { %s } accept\n"
                "ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit, mld-listener-report, "
                "mld2-listener-report } accept\n",
                own, numbers, own);
}

int antispoof_add(const struct antispoof_spec *spec, struct ruleset *rules, struct err *err)
{
    char mac[MAC_TEXT_MAX];
    if (spec->address_count > ANTISPOOF_ADDRESSES_MAX)
        return err_set(err, E2BIG, "tap %s: at most %d addresses can be guarded, not %u", spec->tap,
                       ANTISPOOF_ADDRESSES_MAX, spec->address_count);
    mac_format(&spec->mac, mac);
    ruleset_add(rules,
                "counter spoofed {\n}\nchain guard {\n"
                "type filter hook ingress device \"%s\" priority -10; policy accept;\n"
                "ether saddr != %s counter name spoofed drop\n",
                spec->tap, mac);
    if (spec->address_count) {
        /* The type as it stands in the frame: the kernel takes a VLAN tag off before and would judge what is inside. */
        ruleset_add(rules, "@ll,96,16 != { 0x0800, 0x0806, 0x86dd } counter name spoofed drop\n");
        add_ipv4(spec, mac, rules);
        add_ipv6(spec, rules);
        ruleset_add(rules, "counter name spoofed drop\n");
    }
    ruleset_add(rules, "}\n");
    return 0;
}
