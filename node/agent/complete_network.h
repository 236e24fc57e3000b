/* The part of complete.h that knows addresses. Pure functions of the mirror. Thread: the loop's. */
#ifndef NODE_AGENT_COMPLETE_NETWORK_H
#define NODE_AGENT_COMPLETE_NETWORK_H

#include "node/agent/complete.h"

int complete_network(const struct mirror *mirror, struct json_t *spec, struct complete_error *error);
/* Every card of a guest gets an address of its network that nobody has, and a MAC. */
int complete_guest_networks(const struct mirror *mirror, const char *id, struct json_t *spec,
                            struct complete_error *error);

/* Fills the error; returns -EINVAL. */
__attribute__((format(printf, 5, 6))) int complete_refuse(struct complete_error *error, int status, const char *code,
                                                          const char *field, const char *format, ...);

#endif
