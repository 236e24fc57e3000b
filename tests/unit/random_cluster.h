/* Random clusters of Drover's kind for property tests: the same for the same seed, and within every hard rule.
 * Sizes: 2 to 12 nodes, 2 to 10 guests a node; groups, pins, pools, stale and draining nodes where `hard` is said. */
#ifndef TESTS_UNIT_RANDOM_CLUSTER_H
#define TESTS_UNIT_RANDOM_CLUSTER_H

#include <stdbool.h>
#include <stdint.h>

struct model;

/* Never NULL (the test fails instead); the caller frees it. */
struct model *random_cluster(uint64_t seed, bool hard);
/* With so many nodes and guests. */
struct model *random_cluster_of(uint64_t seed, int nodes, int guests, bool hard);

#endif
