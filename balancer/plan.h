/* A plan: who moves where, in which order, what it brings and what it costs. And why the others stay.
 *
 * plan_make() is the whole balancer as one pure function: a model, a policy, a seed and a budget in, a plan out. The
 * same call serves the running cluster, the command line, the simulator and the tests. Nothing is changed but *plan.
 *
 * A plan is a row of waves. The moves of a wave may run at the same time and in any order: every state in between obeys
 * the hard rules, with a guest counted on both of its nodes while it moves. A guest that cannot reach its place because
 * others must go first in a circle is parked on the way.
 *
 * Errors: -ENOMEM with a sentence. Threads: any, one model each. */
#ifndef BALANCER_PLAN_H
#define BALANCER_PLAN_H

#include <stdbool.h>

#include "balancer/cost.h"
#include "balancer/rules.h"
#include "balancer/score_reason.h"
#include "balancer/search.h"

struct plan_move {
    int guest, from, from_mirror, to, to_mirror;
    int wave;                 /* from 0 */
    bool parking;             /* a stop on the way */
    enum score_reason reason; /* what most of the gain is of */
    double gain, after;       /* what it takes from the score, and the score then */
    struct cost cost;         /* with all of its wave begun together, on the links that they share (plan_time.h) */
};

/* Why the balancer did nothing, or stopped where it did. */
enum plan_rest {
    PLAN_MOVES,    /* it has moves */
    PLAN_AT_REST,  /* nothing that is allowed and pays makes it better */
    PLAN_BALANCED, /* the spread is below the threshold at which balancing begins */
    PLAN_EMPTY,    /* no nodes that are up, or no guests */
};

struct plan {
    struct plan_move *moves;
    int count, room, waves;
    double before, after;           /* the score */
    double spread, spread_after;    /* of the loads */
    double spreads[RESOURCE_COUNT]; /* of each of them, before */
    double seconds, bytes;          /* until the last wave is through, each as long as its longest; over the wire */
    int dropped;                    /* wanted, but no order of steps leads there */
    int stranded;                   /* guests that are still nowhere, or on a closed node */
    uint64_t evaluations;
    bool rests; /* false: the budget ended before nothing was left to find */
    enum plan_rest why;
    int *at, *mirror; /* [guests] where everybody is after it */
    bool *kept;       /* [guests] who stays because the room for lost nodes would go; NULL: nobody */
    int *closed;      /* nodes that were emptied, or lost, in thought; NULL: none */
    int closed_count;
};

struct plan_options {
    uint64_t seed;
    struct search_budget budget;
    bool active;                  /* balancing has begun and goes on until the policy's lower threshold */
    bool others_stay;             /* nobody makes room for who must move */
    bool must;                    /* only guests that are nowhere or on a closed node */
    const struct plan_last *last; /* where the search begins (plan_last.h); NULL: where guests are */
};

int plan_make(const struct model *model, const struct policy *policy, const struct plan_options *options,
              struct plan *plan, struct err *err);
void plan_fini(struct plan *plan);

/* A plan that empties this node, which takes nothing from then on. */
int plan_drain(const struct model *model, const struct policy *policy, const struct plan_options *options, int node,
               struct plan *plan, struct err *err);
/* What happens to the guests of nodes that are lost: all at once; plan->stranded says how many find no place. */
int plan_lose(const struct model *model, const struct policy *policy, const struct plan_options *options,
              const int *nodes, int count, struct plan *plan, struct err *err);

/* The first so many moves that bring this part of the gain (0..1). */
int plan_prefix(const struct plan *plan, double part);

#endif
