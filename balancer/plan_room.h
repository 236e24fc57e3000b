/* The room for lost nodes along a plan: what may be lost before it may be lost after each of its waves (limits.lose).
 *
 * Many waves are looked at as one in which nobody has left and everybody has come; if that is too much, fewer, and in
 * the end the state after each wave. It is bounded by work and by the search's budget, so a plan may be checked for its
 * first waves only. Threads: any. */
#ifndef BALANCER_PLAN_ROOM_H
#define BALANCER_PLAN_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "balancer/plan.h"

#define PLAN_ROOM_WORK UINT64_C(2000000) /* looks, as capacity.h counts them */
#define PLAN_ROOM_GRACE UINT64_C(100000)

struct plan_room {
    int good;       /* so many moves of the plan, whole waves, keep it */
    int culprit;    /* the move with which it goes; never of one that must move; -1: none, or not looked so far */
    uint64_t looks; /* that it took */
    bool stopped;   /* the work or the time came to its end */
};

/* It goes whatever goes with it: from nowhere, from a closed node, or from where its pins do not want it. */
bool plan_room_must(const struct model *model, const struct plan_move *move);

/* tolerated: how many nodes may be lost now, and are to be. Ends at `work` looks; or, once the budget's stop() says so
 * (NULL: nobody does), PLAN_ROOM_GRACE later, which is enough for what can be proved of a plan whose search took all of
 * its time. Whatever is looked at then (capacity_losses_in()) is not interrupted. -ENOMEM. */
int plan_room_check(const struct model *model, const struct policy *policy, const struct plan *plan, int tolerated,
                    uint64_t work, const struct search_budget *budget, struct plan_room *room);

#endif
