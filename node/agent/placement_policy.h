/* What the balancing policy says to whoever chooses one node for one guest: how much of a node its guests may have (its
 * memory less a sixteenth that is its own, and vCPUs for each thread), and what the spread and the excess of each load
 * weigh. The balancer's plans obey the same numbers (balancer/policy.h).
 *
 * A policy that cannot be read is as none. What a node does not say of itself is not limited. Thread: the mirror's. */
#ifndef NODE_AGENT_PLACEMENT_POLICY_H
#define NODE_AGENT_PLACEMENT_POLICY_H

#include "node/agent/mirror.h"

/* What nodes are compared by, each as a part of what the node can bear. Disks are not: what a guest's disks do is work
 * of the nodes that have its volumes' members, wherever it runs. */
enum placement_load_kind {
    PLACEMENT_CPU,
    PLACEMENT_MEMORY,
    PLACEMENT_NETWORK,
    PLACEMENT_LOADS,
    PLACEMENT_PROMISED = PLACEMENT_LOADS, /* memory, by specs */
    PLACEMENT_COLUMNS
};

struct placement_policy {
    double memory;     /* the part of it that guests and the node itself have */
    double vcpu_ratio; /* vCPUs for each thread */
    double weight[PLACEMENT_COLUMNS];
    double overload_limit, overload_weight; /* above this part of a node a load counts so much more */
};

struct placement_policy placement_policy_of(const struct mirror *mirror);

/* Bytes, and vCPUs, that all guests of the node together may have; infinite: it does not say what it has. */
double placement_policy_memory(const struct placement_policy *policy, const struct object *node);
double placement_policy_vcpus(const struct placement_policy *policy, const struct object *node);

#endif
