/* The loss of some nodes, tried: their guests are placed anew, one after another, the largest memory first; a guest
 * with a mirror goes there. First each on the allowed node with the most memory left; if that strands somebody, all of
 * them once more, each on the allowed node that it fills most. What neither order can place, a cleverer one still
 * might.
 *
 * Works in a model that is changed and put back. Threads: one at a time. Errors: -ENOMEM. */
#ifndef BALANCER_LOSS_H
#define BALANCER_LOSS_H

#include <stdbool.h>
#include <stdint.h>

#include "balancer/rooms.h"

struct capacity_moving;

struct loss {
    struct model *m; /* borrowed */
    const struct policy *policy;
    const struct capacity_moving *moving; /* borrowed; who is nowhere, and needs a place if one of its nodes is lost */
    int moving_count;
    struct rooms rooms; /* rooms.looks: what all of it has cost so far */
    struct loss_waiting *waiting;
    struct loss_undo *undo;
    int undo_count;
};

int loss_init(struct loss *loss, struct model *model, const struct policy *policy, const struct capacity_moving *moving,
              int count);
void loss_fini(struct loss *loss); /* zeroed is accepted */

/* How many guests find no place; the first of them, -1: all found one. The model is as it was afterwards. */
int loss_try(struct loss *loss, const int *nodes, int count, int *guest);

#endif
