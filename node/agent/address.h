/* IPv4 and IPv6 addresses and subnets, and which address a guest gets. Pure functions. Threads: any.
 *
 * In a subnet the address after the network's is the gateway's (10.7.0.1 in 10.7.0.0/24, fd00:7::1 in fd00:7::/64),
 * guests have the ones after it, and IPv4's broadcast address is nobody's. The n-th place of a subnet is its address
 * plus n: the gateway is place 1, the first guest place 2. */
#ifndef NODE_AGENT_ADDRESS_H
#define NODE_AGENT_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum { ADDRESS_TEXT_MAX = 46, SUBNET_TEXT_MAX = ADDRESS_TEXT_MAX + 4 };
enum { SUBNET_V4_PREFIX_MIN = 8, SUBNET_V4_PREFIX_MAX = 30, SUBNET_V6_PREFIX_MIN = 32, SUBNET_V6_PREFIX_MAX = 126 };
enum { SUBNET_GATEWAY = 1, SUBNET_FIRST_GUEST = 2 };

struct address {
    int family;        /* AF_INET or AF_INET6; 0 = none */
    uint8_t bytes[16]; /* in network order; IPv4 has the first four, the others are 0 */
};

struct subnet {
    struct address base; /* all bits below the prefix are 0 */
    unsigned prefix;
};

/* "10.7.0.2" or "fd00:7::2". Errors: -EINVAL; *address untouched then. */
int address_parse(const char *text, struct address *address, struct err *err);
char *address_format(const struct address *address, char text[ADDRESS_TEXT_MAX]);
bool address_equal(const struct address *a, const struct address *b);
/* Octets that count: 4 or 16. */
unsigned address_bytes(const struct address *address);

/* "10.7.0.0/24". Refused, with what would be right: bits below the prefix, a prefix that leaves no guest or is absurdly
 * short, and addresses that cannot be a network's (loopback, link-local, multicast, reserved, IPv4 in IPv6).
 * Errors: -EINVAL; *subnet untouched then. */
int subnet_parse(const char *text, struct subnet *subnet, struct err *err);
char *subnet_format(const struct subnet *subnet, char text[SUBNET_TEXT_MAX]);

bool subnet_contains(const struct subnet *subnet, const struct address *address);
bool subnet_overlaps(const struct subnet *a, const struct subnet *b);
/* How many guests it has room for; 2^32 at the most is said. */
uint64_t subnet_guests(const struct subnet *subnet);
struct address subnet_gateway(const struct subnet *subnet);
/* The address at a place; places above the subnet's size are a fault of the caller's. */
struct address subnet_place(const struct subnet *subnet, uint64_t place);

/* Whether a guest may have this address: inside, and neither the network's, the gateway's nor the broadcast one.
 * Errors: -EINVAL with the reason. */
int subnet_check_guest(const struct subnet *subnet, const struct address *address, struct err *err);

/* The lowest address for a guest that is not among `taken` (in any order, may hold addresses of other subnets).
 * Errors: -ENOSPC when the subnet is full, -ENOMEM; *address untouched then. */
int subnet_allocate(const struct subnet *subnet, const struct address *taken, size_t count, struct address *address,
                    struct err *err);

#endif
