/* How fast a guest's NIC may be, each way.
 *
 * To the guest: a token bucket of the kernel's (tbf) on the tap, with a queue for what waits. From the guest: what
 * comes too fast is dropped where it enters the node (nftables, after antispoof.h, so that refused frames cost
 * nothing); TCP adapts to that. Bursts are a tenth of a second's worth, 128 KiB at least, as a guest hands over TCP in
 * 64 KiB pieces.
 *
 * Threads: as netlink.h. Source: tc-tbf(8), nft(8) under `limit`. */
#ifndef NODE_AGENT_SHAPING_H
#define NODE_AGENT_SHAPING_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct netlink;
struct ruleset;

/* Bytes a second. Above the largest (80 Gbit/s) the kernel's arithmetic would overflow. */
#define SHAPING_RATE_MIN UINT64_C(1000)
#define SHAPING_RATE_MAX UINT64_C(10000000000)

struct shaping_rates {
    uint64_t to_guest, from_guest; /* bytes a second; 0: no limit */
};

struct shaping_state {
    uint64_t to_guest; /* bytes a second, as the kernel has it; 0: no limit */
    uint64_t to_guest_dropped_frames;
};

/* What comes from the guest: adds the counter "limited" and the chain "police" to a table of family netdev, if there is
 * a limit. Errors: -ERANGE for rates outside of the limits. */
int shaping_add(const char *tap, const struct shaping_rates *rates, struct ruleset *rules, struct err *err);
/* What goes to the guest: makes it so; the tap must be there, and the queue goes with it. Errors: -errno, as above. */
int shaping_ensure(struct netlink *netlink, const char *tap, const struct shaping_rates *rates, struct err *err);
int shaping_read(struct netlink *netlink, const char *tap, struct shaping_state *state, struct err *err);

#endif
