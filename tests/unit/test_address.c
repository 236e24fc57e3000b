/* Subnets, who gets which address, MACs and names of devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "node/agent/address.h"
#include "node/agent/link.h"
#include "node/agent/mac.h"
#include "node/base/err.h"

static struct subnet subnet(const char *text)
{
    struct subnet s;
    struct err err = {.code = 0};
    if (subnet_parse(text, &s, &err))
        fail_msg("%s", err.text);
    return s;
}

static struct address address(const char *text)
{
    struct address a;
    struct err err = {.code = 0};
    if (address_parse(text, &a, &err))
        fail_msg("%s", err.text);
    return a;
}

static void assert_address(const struct address *a, const char *want)
{
    char text[ADDRESS_TEXT_MAX];
    assert_string_equal(address_format(a, text), want);
}

/* ---- subnets ---- */

static void reads_subnets(void **state)
{
    (void)state;
    static const char *const well[] = {"10.7.0.0/24",     "10.0.0.0/8",  "192.168.7.64/26", "172.16.0.4/30",
                                       "198.51.100.0/25", "fd00:7::/64", "2001:db8::/32",   "fd00::4/126"};
    for (size_t i = 0; i < sizeof well / sizeof *well; i++) {
        struct subnet s = subnet(well[i]);
        char text[SUBNET_TEXT_MAX];
        assert_string_equal(subnet_format(&s, text), well[i]);
    }
}

static void refuses_what_is_none(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"10.7.0.0", "no subnet"},
        {"10.7.0.0/", "no subnet"},
        {"/24", "no subnet"},
        {"10.7.0/24", "no subnet"},
        {"10.7.0.0/+24", "no subnet"},
        {"10.7.0.0/ 24", "no subnet"},
        {"10.7.0.0/0024", "no subnet"},
        {"10.7.0.0/24x", "no subnet"},
        {"10.7.0.0/-1", "no subnet"},
        {"10.7.0.256/24", "no subnet"},
        {"fd00:7::/64/1", "no subnet"},
        {"", "no subnet"},
        {"10.7.0.0/31", "/8 to /30"},
        {"0.0.0.0/0", "/8 to /30"},
        {"fd00::/127", "/32 to /126"},
        {"fd00::/999", "/32 to /126"},
        {"10.7.0.5/24", "10.7.0.0/24"},
        {"fd00:7::1/64", "fd00:7::/64"},
        {"127.0.0.0/8", "loopback"},
        {"224.0.0.0/8", "multicast"},
        {"169.254.0.0/16", "link-local"},
        {"0.0.0.0/8", "this network"},
        {"fe80::/64", "link-local"},
        {"ff02::/64", "multicast"},
        {"::/64", "reserved"},
        {"::ffff:10.7.0.0/120", "IPv4 written as IPv6"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct subnet s = {.prefix = 77};
        struct err err = {.code = 0};
        if (subnet_parse(cases[i].text, &s, &err) != -EINVAL || !strstr(err.text, cases[i].reason))
            fail_msg("'%s': '%s' does not say '%s'", cases[i].text, err.text, cases[i].reason);
        assert_int_equal(s.prefix, 77);
    }
    char lengthy[4096];
    memset(lengthy, '1', sizeof lengthy);
    memcpy(lengthy + sizeof lengthy - 4, "/24", 4);
    struct subnet s;
    assert_int_equal(subnet_parse(lengthy, &s, NULL), -EINVAL);
}

static void knows_its_places(void **state)
{
    (void)state;
    struct subnet s = subnet("10.7.0.0/16"), six = subnet("fd00:7::/64"), tiny = subnet("10.7.0.4/30");
    struct address a = subnet_gateway(&s);
    assert_address(&a, "10.7.0.1");
    a = subnet_place(&s, SUBNET_FIRST_GUEST);
    assert_address(&a, "10.7.0.2");
    a = subnet_place(&s, 256);
    assert_address(&a, "10.7.1.0");
    a = subnet_place(&s, 65534);
    assert_address(&a, "10.7.255.254");
    a = subnet_gateway(&six);
    assert_address(&a, "fd00:7::1");
    a = subnet_place(&six, 0x10002);
    assert_address(&a, "fd00:7::1:2");
    a = subnet_gateway(&tiny);
    assert_address(&a, "10.7.0.5");
    assert_int_equal(subnet_guests(&s), 65536 - 3);
    assert_int_equal(subnet_guests(&tiny), 1);
    assert_true(subnet_guests(&six) > UINT32_MAX - 8);
    struct subnet six_tiny = subnet("fd00::4/126");
    assert_int_equal(subnet_guests(&six_tiny), 2); /* IPv6 has no broadcast address */
}

static void contains_and_overlaps(void **state)
{
    (void)state;
    struct subnet s = subnet("10.7.8.0/21"), in = subnet("10.7.15.0/24"), out = subnet("10.7.16.0/24");
    struct subnet six = subnet("fd00:7::/64");
    struct address last = address("10.7.15.255"), after = address("10.7.16.0"), other = address("fd00:7::1");
    assert_true(subnet_contains(&s, &last));
    assert_false(subnet_contains(&s, &after));
    assert_false(subnet_contains(&s, &other));
    assert_true(subnet_contains(&six, &other));
    assert_true(subnet_overlaps(&s, &in));
    assert_true(subnet_overlaps(&in, &s));
    assert_false(subnet_overlaps(&s, &out));
    assert_false(subnet_overlaps(&s, &six));
}

static void says_who_may_have_an_address(void **state)
{
    (void)state;
    struct subnet s = subnet("10.7.0.0/24"), six = subnet("fd00:7::/64");
    static const struct {
        const char *text, *reason;
    } cases[] = {{"10.7.0.0", "network"}, {"10.7.0.1", "gateway"}, {"10.7.0.255", "broadcast"}, {"10.7.1.2", "not in"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct address a = address(cases[i].text);
        struct err err = {.code = 0};
        assert_int_equal(subnet_check_guest(&s, &a, &err), -EINVAL);
        assert_non_null(strstr(err.text, cases[i].reason));
    }
    struct address a = address("10.7.0.254"), b = address("fd00:7::ffff:ffff:ffff:ffff");
    assert_int_equal(subnet_check_guest(&s, &a, NULL), 0);
    assert_int_equal(subnet_check_guest(&six, &b, NULL), 0);
}

static void gives_the_lowest_free(void **state)
{
    (void)state;
    struct subnet s = subnet("10.7.0.0/24"), six = subnet("fd00:7::/64");
    struct address got, taken[] = {address("10.7.0.4"), address("10.9.0.3"),   address("10.7.0.2"),
                                   address("fd00::3"),  address("10.7.0.255"), address("10.7.0.2")};
    assert_int_equal(subnet_allocate(&s, NULL, 0, &got, NULL), 0);
    assert_address(&got, "10.7.0.2");
    assert_int_equal(subnet_allocate(&s, taken, 6, &got, NULL), 0);
    assert_address(&got, "10.7.0.3");
    struct address high[] = {address("fd00:7::ffff:ffff:ffff:ffff"), address("fd00:7::2"), address("fd00:7::1")};
    assert_int_equal(subnet_allocate(&six, high, 3, &got, NULL), 0);
    assert_address(&got, "fd00:7::3");
}

static void fills_a_subnet_to_the_last(void **state)
{
    (void)state;
    struct subnet s = subnet("10.7.0.0/24");
    struct address taken[253];
    struct err err = {.code = 0};
    for (size_t n = 0; n < 253; n++) {
        assert_int_equal(subnet_allocate(&s, taken, n, &taken[n], &err), 0);
        assert_int_equal(subnet_check_guest(&s, &taken[n], &err), 0);
        for (size_t i = 0; i < n; i++)
            assert_false(address_equal(&taken[i], &taken[n]));
    }
    assert_address(&taken[252], "10.7.0.254");
    struct address untouched = address("192.0.2.1");
    assert_int_equal(subnet_allocate(&s, taken, 253, &untouched, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "253"));
    assert_address(&untouched, "192.0.2.1");
    taken[100] = taken[101]; /* one came free */
    assert_int_equal(subnet_allocate(&s, taken, 253, &untouched, &err), 0);
    assert_address(&untouched, "10.7.0.102");
}

/* ---- MACs ---- */

static void makes_macs(void **state)
{
    (void)state;
    struct mac a = mac_of_id("0f6c8a52-0000-4000-8000-000000000001", 0);
    struct mac again = mac_of_id("0f6c8a52-0000-4000-8000-000000000001", 0);
    struct mac second = mac_of_id("0f6c8a52-0000-4000-8000-000000000001", 1);
    char text[MAC_TEXT_MAX];
    assert_true(mac_equal(&a, &again));
    assert_false(mac_equal(&a, &second));
    /* Never another one: guests that exist have it. */
    assert_string_equal(mac_format(&a, text), "b2:f1:3a:06:94:b2");
    for (unsigned i = 0; i < 4096; i++) {
        char id[64];
        snprintf(id, sizeof id, "guest-%u", i);
        struct mac m = mac_of_id(id, 0);
        assert_int_equal(m.bytes[0] & 3, 2); /* local, and of one NIC */
    }
}

static void reads_macs(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "52:54:00:12:34",
                                      "52:54:00:12:34:5",
                                      "52:54:00:12:34:567",
                                      "52-54-00-12-34-56",
                                      "52:54:00:12:34:5g",
                                      "525400123456",
                                      "ff:ff:ff:ff:ff:ff",
                                      "01:00:5e:00:00:01",
                                      "00:00:00:00:00:00",
                                      " 2:54:00:12:34:56"};
    char text[MAC_TEXT_MAX];
    struct mac m;
    assert_int_equal(mac_parse("52:54:00:AB:cd:EF", &m, NULL), 0);
    assert_string_equal(mac_format(&m, text), "52:54:00:ab:cd:ef");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(mac_parse(bad[i], &m, NULL), -EINVAL);
    assert_string_equal(mac_format(&m, text), "52:54:00:ab:cd:ef");
}

/* ---- names of devices ---- */

static void names_devices(void **state)
{
    (void)state;
    char a[LINK_NAME_MAX], b[LINK_NAME_MAX];
    static const char *const id = "0f6c8a52-0000-4000-8000-000000000001";
    assert_string_equal(link_name(LINK_BRIDGE, id, 0, a), "drb9d6708674a8a");
    assert_int_equal(strlen(a), LINK_NAME_MAX - 1);
    assert_string_not_equal(link_name(LINK_VXLAN, id, 0, b), a);
    assert_string_equal(a + 3, b + 3); /* one number for both devices of a network */
    link_name(LINK_TAP, id, 0, a);
    assert_string_not_equal(link_name(LINK_TAP, id, 1, b), a);
    assert_int_equal(link_check_id(id, NULL), 0);
    assert_int_equal(link_check_id("", NULL), -EINVAL);
    assert_int_equal(link_check_id("a/b", NULL), -EINVAL);
    assert_int_equal(link_check_id("a b", NULL), -EINVAL);
    char lengthy[LINK_ID_MAX + 1];
    memset(lengthy, 'a', sizeof lengthy);
    lengthy[LINK_ID_MAX] = 0;
    assert_int_equal(link_check_id(lengthy, NULL), -EINVAL);
}

static void knows_its_own(void **state)
{
    (void)state;
    struct link l = {.kind = "tun"};
    enum link_role role;
    char id[LINK_ID_MAX];
    unsigned index;
    link_name(LINK_TAP, "guest-1", 3, l.name);
    link_alias(LINK_TAP, "guest-1", 3, l.alias);
    assert_string_equal(l.alias, "drover guest guest-1 nic 3");
    assert_true(link_ours(&l, &role, id, &index));
    assert_int_equal(role, LINK_TAP);
    assert_string_equal(id, "guest-1");
    assert_int_equal(index, 3);
    snprintf(l.alias, sizeof l.alias, "drover guest guest-1 nic 4"); /* says another one than the name */
    assert_false(link_ours(&l, &role, id, &index));
    snprintf(l.alias, sizeof l.alias, "drover guest guest-1 nic 3 and more");
    assert_false(link_ours(&l, &role, id, &index));
    l.alias[0] = 0;
    assert_false(link_ours(&l, &role, id, &index));
    link_alias(LINK_TAP, "guest-1", 3, l.alias);
    snprintf(l.kind, sizeof l.kind, "bridge");
    assert_false(link_ours(&l, &role, id, &index));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_subnets),
        cmocka_unit_test(refuses_what_is_none),
        cmocka_unit_test(knows_its_places),
        cmocka_unit_test(contains_and_overlaps),
        cmocka_unit_test(says_who_may_have_an_address),
        cmocka_unit_test(gives_the_lowest_free),
        cmocka_unit_test(fills_a_subnet_to_the_last),
        cmocka_unit_test(makes_macs),
        cmocka_unit_test(reads_macs),
        cmocka_unit_test(names_devices),
        cmocka_unit_test(knows_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
