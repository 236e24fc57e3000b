/* The frames that make a guest known, octet by octet, and the rules that judge a guest's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "node/agent/announce.h"
#include "node/agent/antispoof.h"
#include "node/agent/border.h"
#include "node/agent/ruleset.h"
#include "node/base/err.h"

static const struct mac mac = {{0x52, 0x54, 0, 0x12, 0x34, 0x56}};

static struct address address(const char *text)
{
    struct address a;
    assert_int_equal(address_parse(text, &a, NULL), 0);
    return a;
}

/* ---- frames ---- */

static void announces_a_mac(void **state)
{
    (void)state;
    uint8_t frame[ANNOUNCE_FRAME_MAX];
    static const uint8_t want[60] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0x12, 0x34, 0x56, 0x80, 0x35, /* RFC 903 */
        0,    1,    8,    0,    6,    4,    0,    3,    0x52, 0x54, 0,    0x12, 0x34, 0x56,
        0,    0,    0,    0,    0x52, 0x54, 0,    0x12, 0x34, 0x56, 0,    0,    0,    0};
    assert_int_equal(announce_rarp(&mac, frame), sizeof want);
    assert_memory_equal(frame, want, sizeof want);
}

static void announces_ipv4(void **state)
{
    (void)state;
    struct address a = address("10.7.0.2");
    uint8_t frame[ANNOUNCE_FRAME_MAX];
    static const uint8_t want[60] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,    0x12,
                                     0x34, 0x56, 8,    6, /* RFC 5227: sender is target */
                                     0,    1,    8,    0,    6,    4,    0,    1,    0x52, 0x54,
                                     0,    0x12, 0x34, 0x56, 10,   7,    0,    2,    0,    0,
                                     0,    0,    0,    0,    10,   7,    0,    2};
    assert_int_equal(announce_address(&mac, &a, frame), sizeof want);
    assert_memory_equal(frame, want, sizeof want);
}

/* RFC 1071 over the pseudo header of RFC 8200 and the message: all ones when it is right. */
static unsigned checksum(const uint8_t *frame, size_t length)
{
    unsigned sum = 58 + (unsigned)(length - 54);
    for (size_t i = 22; i < length; i += 2)
        sum += (unsigned)frame[i] << 8 | frame[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static void announces_ipv6(void **state)
{
    (void)state;
    struct address a = address("fd00:7::2");
    uint8_t frame[ANNOUNCE_FRAME_MAX];
    static const uint8_t want[56] = {0x33, 0x33, 0, 0, 0, 1,  0x52, 0x54, 0,    0x12, 0x34, 0x56, 0x86, 0xdd,
                                     0x60, 0,    0, 0, 0, 32, 58,   255,  0xfd, 0,    0,    7,    0,    0,
                                     0,    0,    0, 0, 0, 0,  0,    0,    0,    2,    0xff, 2,    0,    0,
                                     0,    0,    0, 0, 0, 0,  0,    0,    0,    0,    0,    1,    136,  0};
    static const uint8_t rest[28] = {0x20, 0, 0, 0, 0xfd, 0, 0, 7, 0,    0,    0, 0,    0,    0,
                                     0,    0, 0, 0, 0,    2, 2, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56};
    assert_int_equal(announce_address(&mac, &a, frame), 86);
    assert_memory_equal(frame, want, sizeof want);
    assert_memory_equal(frame + 58, rest, sizeof rest);
    assert_int_equal(checksum(frame, 86), 0xffff);
}

/* ---- rules ---- */

static void assert_has(const struct ruleset *rules, const char *line)
{
    if (!strstr(rules->body, line))
        fail_msg("'%s' is not in:\n%s", line, rules->body);
}

static void assert_lacks(const struct ruleset *rules, const char *line)
{
    if (strstr(rules->body, line))
        fail_msg("'%s' is in:\n%s", line, rules->body);
}

static void add_guard(const struct antispoof_spec *spec, struct ruleset *rules)
{
    ruleset_begin(rules, "netdev", "drt0123456789ab-card");
    assert_int_equal(antispoof_add(spec, rules, NULL), 0);
}

static void guards_addresses(void **state)
{
    (void)state;
    struct address own[] = {address("10.7.0.2"), address("fd00:7::2"), address("10.7.0.3")};
    struct antispoof_spec spec = {.tap = "drt0123456789ab", .mac = mac, .addresses = own, .address_count = 3};
    struct ruleset rules;
    add_guard(&spec, &rules);
    assert_has(&rules, "hook ingress device \"drt0123456789ab\"");
    assert_has(&rules, "ether saddr != 52:54:00:12:34:56 counter name spoofed drop\n");
    assert_has(&rules, "arp saddr ip { 0.0.0.0, 10.7.0.2, 10.7.0.3 } accept\n");
    assert_has(&rules, "ip saddr { 10.7.0.2, 10.7.0.3 } accept\n");
    assert_has(&rules, "ip6 saddr { fe80::5054:ff:fe12:3456, fd00:7::2 } accept\n");
    assert_has(&rules,
               "@th,64,128 { 0xfe80000000000000505400fffe123456, 0xfd000007000000000000000000000002 } accept\n");
    static const char end[] = "\ncounter name spoofed drop\n}\n";
    assert_string_equal(rules.body + rules.length - (sizeof end - 1), end); /* whatever else it is */
}

static void guards_a_mac_alone(void **state)
{
    (void)state;
    struct antispoof_spec spec = {.tap = "drt0123456789ab", .mac = mac};
    struct ruleset rules;
    add_guard(&spec, &rules);
    assert_has(&rules, "ether saddr != 52:54:00:12:34:56 counter name spoofed drop\n}\n");
    assert_lacks(&rules, "saddr {");
    struct address four = address("10.7.0.2");
    spec.addresses = &four;
    spec.address_count = 1;
    add_guard(&spec, &rules);
    assert_has(&rules, "ip6 saddr { fe80::5054:ff:fe12:3456 } accept\n"); /* what every guest has by itself */
    struct address six = address("fd00:7::2");
    spec.addresses = &six;
    add_guard(&spec, &rules);
    assert_lacks(&rules, "arp");
    assert_lacks(&rules, "\nip saddr");
}

/* As many as are allowed, and as long as they can be: the text must hold them, or no guest of that kind would run. */
static void holds_the_most(void **state)
{
    (void)state;
    struct address own[ANTISPOOF_ADDRESSES_MAX];
    for (unsigned i = 0; i < ANTISPOOF_ADDRESSES_MAX; i++) {
        char text[ADDRESS_TEXT_MAX];
        snprintf(text, sizeof text, "fd12:3456:789a:bcde:f012:3456:789a:bc%02x", 0x10 + i);
        own[i] = address(text);
    }
    struct antispoof_spec spec = {
        .tap = "drt0123456789ab", .mac = mac, .addresses = own, .address_count = ANTISPOOF_ADDRESSES_MAX};
    struct ruleset rules;
    add_guard(&spec, &rules);
    assert_in_range(rules.length, 1000, sizeof rules.body - 1);
    assert_has(&rules, "fd12:3456:789a:bcde:f012:3456:789a:bc2f } accept\n");
    spec.address_count++;
    assert_true(antispoof_add(&spec, &rules, NULL) < 0);
}

static void closes_the_border(void **state)
{
    (void)state;
    struct bridge_spec spec = {.id = "n1", .mtu = 1450};
    struct ruleset rules;
    border_rules(&spec, &rules);
    assert_lacks(&rules, "masquerade");
    assert_lacks(&rules, "echo-request");
    spec.gateway_count = 2;
    spec.gateways[0] = (struct bridge_gateway){address("10.7.0.1"), 24};
    spec.gateways[1] = (struct bridge_gateway){address("fd00:7::1"), 64};
    border_rules(&spec, &rules);
    assert_has(&rules, "ip saddr 10.7.0.1/24 oifname != ");
    assert_has(&rules, "ip6 saddr fd00:7::1/64 oifname != ");
    assert_has(&rules, "udp dport 4789 drop\n");
    border_gate_rules(&spec, &rules);
    assert_has(&rules, "arp daddr ip 10.7.0.1 drop\n");
    assert_has(&rules, "@th,64,128 0xfd000007000000000000000000000001 drop\n");
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    struct ruleset rules;
    struct err err = {.code = 0};
    ruleset_begin(&rules, "inet", "drover-test");
    for (int i = 0; i < 1000; i++)
        ruleset_add(&rules, "ip saddr 192.0.2.%d drop\n", i % 256);
    assert_true(ruleset_ensure(&rules, &err) < 0);
    assert_non_null(strstr(err.text, "longer than"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(announces_a_mac),    cmocka_unit_test(announces_ipv4),
        cmocka_unit_test(announces_ipv6),     cmocka_unit_test(guards_addresses),
        cmocka_unit_test(guards_a_mac_alone), cmocka_unit_test(holds_the_most),
        cmocka_unit_test(closes_the_border),  cmocka_unit_test(refuses_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
