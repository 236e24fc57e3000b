/* MAC addresses of guests and gateways. Threads: any. Source: IEEE 802, the U/L and I/G bits of the first octet. */
#ifndef NODE_AGENT_MAC_H
#define NODE_AGENT_MAC_H

#include <stdbool.h>
#include <stdint.h>

struct err;

enum { MAC_BYTES = 6, MAC_TEXT_MAX = 18 };

struct mac {
    uint8_t bytes[MAC_BYTES];
};

/* The address of the thing that `id` names, always the same, locally administered and unicast. `index` tells the NICs
 * of one guest apart. Two ids have the same address with a chance of 2^-46. */
struct mac mac_of_id(const char *id, unsigned index);

/* "52:54:00:12:34:56", either case. Errors: -EINVAL, also for group addresses and all zeroes; *mac untouched then. */
int mac_parse(const char *text, struct mac *mac, struct err *err);

/* Lower case, with colons; returns text. */
char *mac_format(const struct mac *mac, char text[MAC_TEXT_MAX]);

bool mac_equal(const struct mac *a, const struct mac *b);

#endif
