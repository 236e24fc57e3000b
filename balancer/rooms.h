/* Nodes by the memory they have left, the roomiest first: a heap of those that take guests, so that a place for a guest
 * is found without a look at every node. Who places somebody says so (rooms_changed()).
 *
 * Of equal ones the first. Threads: one at a time. Errors: -ENOMEM. */
#ifndef BALANCER_ROOMS_H
#define BALANCER_ROOMS_H

#include <stdint.h>

struct model;
struct policy;

struct rooms {
    const struct model *model; /* lent */
    double *room;              /* [nodes] as it is in the heap */
    int *heap, *where;         /* where: -1: it takes none */
    int *aside;                /* scratch */
    int count;
    uint64_t looks; /* at nodes, as a measure of work */
};

int rooms_init(struct rooms *rooms, const struct model *model);
void rooms_fini(struct rooms *rooms); /* zeroed is accepted */
/* What is on it, or whether it takes guests, is different now. */
void rooms_changed(struct rooms *rooms, int node);
/* The roomiest node that the rules allow this guest; -1: none. */
int rooms_find(struct rooms *rooms, const struct policy *policy, int guest);
/* The one that it leaves the least memory on; looks at every node. */
int rooms_find_tight(struct rooms *rooms, const struct policy *policy, int guest);

#endif
