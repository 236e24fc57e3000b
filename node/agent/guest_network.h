/* The network side of a guest on this node: the bridges, tunnels, taps and guards of its plan (guest_plan.h), made
 * before it starts and removed after it. A network's own devices are here as long as a guest of the network is.
 *
 * Threads: one at a time, which may block. */
#ifndef NODE_AGENT_GUEST_NETWORK_H
#define NODE_AGENT_GUEST_NETWORK_H

struct err;
struct json_t;

/* Twice is once. What was made stays if a later part fails. */
int guest_network_prepare(const char *guest, const struct json_t *plan, struct err *err);
/* The networks of a plan, without its taps: after other nodes came or went. */
int guest_network_refresh(const struct json_t *plan, struct err *err);
/* The guest runs: its neighbours are told where it is. */
int guest_network_announce(const char *guest, const struct json_t *plan, struct err *err);
/* plan: as it was prepared, or NULL: its taps go, and what is left of networks is swept some other time. */
int guest_network_clean(const char *guest, const struct json_t *plan, struct err *err);

#endif
