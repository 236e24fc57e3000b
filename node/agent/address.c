/* See address.h. */
#include "node/agent/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"

enum { V4_BITS = 32, V6_BITS = 128 };
#define PLACES_MAX (UINT64_C(1) << 32)

int address_parse(const char *text, struct address *address, struct err *err)
{
    struct address a = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};
    if (inet_pton(a.family, text, a.bytes) != 1)
        return err_set(err, EINVAL, "'%.64s' is no IP address: write it as 10.7.0.2 or fd00:7::2", text);
    *address = a;
    return 0;
}

char *address_format(const struct address *address, char text[ADDRESS_TEXT_MAX])
{
    if (!inet_ntop(address->family, address->bytes, text, ADDRESS_TEXT_MAX))
        snprintf(text, ADDRESS_TEXT_MAX, "none");
    return text;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

unsigned address_bytes(const struct address *address)
{
    return address->family == AF_INET ? 4 : 16;
}

static unsigned bits_of(int family)
{
    return family == AF_INET ? V4_BITS : V6_BITS;
}

static struct address masked(const struct address *address, unsigned prefix)
{
    struct address a = *address;
    for (unsigned i = 0; i < sizeof a.bytes; i++) {
        unsigned kept = prefix > 8 * i ? prefix - 8 * i : 0;
        if (kept < 8)
            a.bytes[i] &= (uint8_t)(0xff00U >> kept);
    }
    return a;
}

/* Why this cannot be the address of a network, or NULL. */
static const char *unfit(const struct address *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, zero[12];
    if (a->family == AF_INET) {
        if (a->bytes[0] == 0)
            return "means 'this network'";
        if (a->bytes[0] == 127)
            return "is the loopback's";
        if (a->bytes[0] == 169 && a->bytes[1] == 254)
            return "is link-local";
        return a->bytes[0] >= 224 ? "is for multicast or reserved" : NULL;
    }
    if (a->bytes[0] == 0xff)
        return "is for multicast";
    if (a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80)
        return "is link-local";
    if (memcmp(a->bytes, mapped, sizeof mapped) == 0)
        return "is IPv4 written as IPv6";
    return memcmp(a->bytes, zero, sizeof zero) == 0 ? "is reserved" : NULL;
}

/* Digits only: strtoul would take signs and blanks. */
static int parse_prefix(const char *text, unsigned *prefix)
{
    unsigned v = 0;
    size_t n = strlen(text);
    if (n < 1 || n > 3 || strspn(text, "0123456789") != n)
        return -EINVAL;
    for (; *text; text++)
        v = 10 * v + (unsigned)(*text - '0');
    *prefix = v;
    return 0;
}

static int judge(const char *text, const struct subnet *s, struct err *err)
{
    bool v4 = s->base.family == AF_INET;
    unsigned min = v4 ? SUBNET_V4_PREFIX_MIN : SUBNET_V6_PREFIX_MIN;
    unsigned max = v4 ? SUBNET_V4_PREFIX_MAX : SUBNET_V6_PREFIX_MAX;
    if (s->prefix < min || s->prefix > max)
        return err_set(err, EINVAL, "subnet %s: the prefix must be /%u to /%u", text, min, max);
    const char *reason = unfit(&s->base);
    if (reason)
        return err_set(err, EINVAL, "subnet %s: %s; take a private one, as 10.7.0.0/24 or fd00:7::/64", text, reason);
    struct subnet right = {.base = masked(&s->base, s->prefix), .prefix = s->prefix};
    char want[SUBNET_TEXT_MAX];
    if (!address_equal(&right.base, &s->base))
        return err_set(err, EINVAL, "subnet %s: is an address inside %s; write the network's", text,
                       subnet_format(&right, want));
    return 0;
}

int subnet_parse(const char *text, struct subnet *subnet, struct err *err)
{
    char address[ADDRESS_TEXT_MAX];
    struct subnet s;
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : 0;
    if (!slash || n >= sizeof address || parse_prefix(slash + 1, &s.prefix))
        return err_set(err, EINVAL, "'%.64s' is no subnet: write it as 10.7.0.0/24 or fd00:7::/64", text);
    memcpy(address, text, n);
    address[n] = 0;
    if (address_parse(address, &s.base, NULL))
        return err_set(err, EINVAL, "'%.64s' is no subnet: write it as 10.7.0.0/24 or fd00:7::/64", text);
    int rc = judge(text, &s, err);
    if (!rc)
        *subnet = s;
    return rc;
}

char *subnet_format(const struct subnet *subnet, char text[SUBNET_TEXT_MAX])
{
    char address[ADDRESS_TEXT_MAX];
    snprintf(text, SUBNET_TEXT_MAX, "%s/%u", address_format(&subnet->base, address), subnet->prefix % 1000);
    return text;
}

bool subnet_contains(const struct subnet *subnet, const struct address *address)
{
    struct address a = masked(address, subnet->prefix);
    return address_equal(&a, &subnet->base);
}

bool subnet_overlaps(const struct subnet *a, const struct subnet *b)
{
    return a->prefix <= b->prefix ? subnet_contains(a, &b->base) : subnet_contains(b, &a->base);
}

/* Addresses in all, 2^32 at the most. */
static uint64_t places_of(const struct subnet *s)
{
    unsigned bits = bits_of(s->base.family) - s->prefix;
    return bits >= 32 ? PLACES_MAX : UINT64_C(1) << bits;
}

uint64_t subnet_guests(const struct subnet *subnet)
{
    bool v4 = subnet->base.family == AF_INET;
    return places_of(subnet) - SUBNET_FIRST_GUEST - (v4 ? 1 : 0);
}

struct address subnet_place(const struct subnet *subnet, uint64_t place)
{
    struct address a = subnet->base;
    for (unsigned i = address_bytes(&a); i-- > 0 && place; place >>= 8) {
        place += a.bytes[i];
        a.bytes[i] = (uint8_t)place;
    }
    return a;
}

struct address subnet_gateway(const struct subnet *subnet)
{
    return subnet_place(subnet, SUBNET_GATEWAY);
}

/* The place of an address that is inside; UINT64_MAX for those above what a place can say. */
static uint64_t place_of(const struct subnet *subnet, const struct address *address)
{
    uint64_t place = 0;
    for (unsigned i = 0; i < address_bytes(address); i++) {
        if (place >> 56)
            return UINT64_MAX;
        place = place << 8 | (uint8_t)(address->bytes[i] - subnet->base.bytes[i]);
    }
    return place;
}

int subnet_check_guest(const struct subnet *subnet, const struct address *address, struct err *err)
{
    char a[ADDRESS_TEXT_MAX], s[SUBNET_TEXT_MAX];
    address_format(address, a);
    subnet_format(subnet, s);
    if (!subnet_contains(subnet, address))
        return err_set(err, EINVAL, "address %s: is not in the network's subnet %s", a, s);
    uint64_t place = place_of(subnet, address);
    if (place == 0)
        return err_set(err, EINVAL, "address %s: is the address of the network %s itself", a, s);
    if (place == SUBNET_GATEWAY)
        return err_set(err, EINVAL, "address %s: is the gateway's of %s", a, s);
    if (address->family == AF_INET && place == places_of(subnet) - 1)
        return err_set(err, EINVAL, "address %s: is the broadcast address of %s", a, s);
    return 0;
}

int subnet_allocate(const struct subnet *subnet, const struct address *taken, size_t count, struct address *address,
                    struct err *err)
{
    uint64_t guests = subnet_guests(subnet);
    char text[SUBNET_TEXT_MAX];
    /* With `count` taken, one of the first count + 1 is free, or none at all. */
    size_t looked_at = count < guests ? count + 1 : (size_t)guests;
    uint8_t *used = calloc(looked_at, 1);
    if (!used)
        return err_set(err, ENOMEM, "subnet %s: no memory to look for a free address", subnet_format(subnet, text));
    for (size_t i = 0; i < count; i++) {
        if (!subnet_contains(subnet, &taken[i]))
            continue;
        uint64_t place = place_of(subnet, &taken[i]);
        if (place >= SUBNET_FIRST_GUEST && place - SUBNET_FIRST_GUEST < looked_at)
            used[place - SUBNET_FIRST_GUEST] = 1;
    }
    size_t free_at = 0;
    while (free_at < looked_at && used[free_at])
        free_at++;
    free(used);
    if (free_at == looked_at)
        return err_set(err, ENOSPC,
                       "subnet %s: all %llu addresses for guests are taken: make a network with a larger one",
                       subnet_format(subnet, text), (unsigned long long)guests);
    *address = subnet_place(subnet, free_at + SUBNET_FIRST_GUEST);
    return 0;
}
