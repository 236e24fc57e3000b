/* How much of a node its guests may have: its memory less a sixteenth that is its own, and vCPUs for each thread,
 * within what `limits` of the balancing policy says. The balancer's plans obey the same numbers (balancer/policy.h).
 *
 * A policy that cannot be read limits as none does. What a node does not say of itself is not limited. Thread: the
 * mirror's. */
#ifndef NODE_AGENT_PLACEMENT_LIMITS_H
#define NODE_AGENT_PLACEMENT_LIMITS_H

#include "node/agent/mirror.h"

struct placement_limits {
    double memory;     /* the part of it that guests and the node itself have */
    double vcpu_ratio; /* vCPUs for each thread */
};

struct placement_limits placement_limits_of(const struct mirror *mirror);

/* Bytes, and vCPUs, that all guests of the node together may have; infinite: it does not say what it has. */
double placement_limits_memory(const struct placement_limits *limits, const struct object *node);
double placement_limits_vcpus(const struct placement_limits *limits, const struct object *node);

#endif
