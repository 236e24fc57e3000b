/* What fits, and what may be lost: the answers of `drover capacity`.
 *
 * A lost node's guests are placed anew one after another, the largest memory first, each on the allowed node with the
 * most memory left. If that finds a place for everybody, the loss is survived; if not, a cleverer order might still do
 * it, so the number is a safe one. Threads: any. */
#ifndef BALANCER_CAPACITY_H
#define BALANCER_CAPACITY_H

#include <stdbool.h>

struct err;
struct model;
struct policy;
struct model_guest;

/* How many nodes may be lost at once, whichever they are, up to max. For one node each is tried; for more, the worst
 * (by memory of their guests) of every set are taken: that node first whose loss leaves the least room. */
int capacity_tolerates(const struct model *model, const struct policy *policy, int max);
/* A guest that is nowhere in the model, because it is on one of two nodes or on both: whichever of them is lost, it
 * needs a place. What it takes there is the caller's to hold. */
struct capacity_moving {
    int guest, from, to;
};

/* The same in a model that may be changed meanwhile; afterwards it is as it was, and nothing of it may be held by a
 * mode. moving: NULL if count is 0. */
int capacity_tolerates_in(struct model *model, const struct policy *policy, int max,
                          const struct capacity_moving *moving, int count);

/* Guests of these nodes that would find no place. -ENOMEM. */
int capacity_lost(const struct model *model, const struct policy *policy, const int *nodes, int count);

struct capacity_fit {
    int count;      /* guests of this shape that fit beside what is there */
    int with_loss;  /* and how many, if after that `lose` nodes must still be survivable */
    int limited_by; /* enum rule that stopped the next one on most nodes */
};

int capacity_fits(const struct model *model, const struct policy *policy, const struct model_guest *shape, int lose,
                  struct capacity_fit *fit, struct err *err);

#endif
