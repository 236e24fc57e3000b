/* What fits, and what may be lost: the answers of `drover capacity`.
 *
 * A lost node's guests are placed anew by a simple order (loss.h). If that finds a place for everybody, the loss is
 * survived; if not, a cleverer order might still do it, so a number is a safe one. Threads: any. */
#ifndef BALANCER_CAPACITY_H
#define BALANCER_CAPACITY_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct model;
struct policy;
struct model_guest;

enum { CAPACITY_LOSE_MAX = 17 };

/* Looks at nodes that it may take to try every set of so many nodes; CAPACITY_WORK is a part of planning, for the other
 * one somebody waits. Each single node is tried unless that takes more than CAPACITY_WORK_EACH, or where somebody waits
 * CAPACITY_WORK_MOST. */
#define CAPACITY_WORK UINT64_C(100000)
#define CAPACITY_WORK_ASKED UINT64_C(4000000)
#define CAPACITY_WORK_EACH UINT64_C(2000000)
#define CAPACITY_WORK_MOST UINT64_C(10000000)

/* Sets of one node, of two, of three... are looked at: all at once (capacity_proof.h), and of those that this leaves
 * open each, the ones with the most memory in use first. Where that would take more than `work`, only sets in which all
 * nodes but one are those that come first (a chain of losses, each of whose ends is tried), as far as that goes. If
 * none of them fails, more is not known. */
struct capacity_losses {
    int shown;  /* so many nodes may be lost at once, whichever they are: each set is survived */
    int likely; /* of so many, no set that was tried is not: the same, or more if not all could be tried */
    bool exact; /* more than `shown` may not, or `max` was reached */
    int worst[CAPACITY_LOSE_MAX], worst_count; /* nodes that may not be lost together; 0: none were found */
    int guest;                                 /* of theirs, the first that finds no place; -1 */
    uint64_t looks;                            /* that it took */
};

/* Up to max, at most CAPACITY_LOSE_MAX. -ENOMEM; nothing is said then. */
int capacity_losses(const struct model *model, const struct policy *policy, int max, uint64_t work,
                    struct capacity_losses *losses);

/* A guest that is nowhere in the model, because it is on one of two nodes or on both: whichever of them is lost, it
 * needs a place. What it takes there is the caller's to hold. */
struct capacity_moving {
    int guest, from, to;
};

/* The same in a model that may be changed meanwhile; afterwards it is as it was, and nothing of it may be held by a
 * mode. moving: NULL if count is 0; with some of them nothing is likely that is not shown, and with members of hard
 * groups among them nothing that is not proved. */
int capacity_losses_in(struct model *model, const struct policy *policy, int max, const struct capacity_moving *moving,
                       int count, uint64_t work, struct capacity_losses *losses);

/* What is likely, within CAPACITY_WORK; 0 without memory. */
int capacity_tolerates(const struct model *model, const struct policy *policy, int max);
int capacity_tolerates_in(struct model *model, const struct policy *policy, int max,
                          const struct capacity_moving *moving, int count);

struct capacity_fit {
    int count;      /* guests of this shape that fit beside what is there */
    int with_loss;  /* and how many, if after that `lose` nodes must still be survivable */
    bool exact;     /* that is shown; false: it is likely */
    int limited_by; /* enum rule that stopped the next one on most nodes */
};

int capacity_fits(const struct model *model, const struct policy *policy, const struct model_guest *shape, int lose,
                  struct capacity_fit *fit, struct err *err);

#endif
