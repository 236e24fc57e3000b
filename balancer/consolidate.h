/* Consolidation for power: which nodes could be emptied and switched off now, and how many of those that sleep have to
 * be woken because the others are too full. It advises; nothing here or elsewhere switches a node off.
 *
 * Pure, as plan_make() is: model, policy, seed and budget in, advice out. Nodes are emptied by the planner itself, so
 * every state of every wave obeys the hard rules; at the end the load of each node that stays is within
 * policy.consolidate.limit and as many nodes may be lost as the policy wants; in between never fewer than could be
 * before or than are wanted.
 *
 *     above .wake, no place for a guest, or no room for a loss  --> wake, until all are within .limit
 *     in between                                                --> nothing
 *     all that stay would be within .limit                      --> sleep
 *
 * What is not measured never sleeps, receives nothing and is no reason to wake: a node with such a guest counts as not
 * measured itself. A node that sleeps is one that is drained, away and without a guest.
 *
 * Drover's family of models only. Errors: -ENOTSUP, -ENOMEM with a sentence. Threads: any, one model each. */
#ifndef BALANCER_CONSOLIDATE_H
#define BALANCER_CONSOLIDATE_H

#include <stdbool.h>
#include <stddef.h>

#include "balancer/plan.h"

enum consolidate_verdict {
    CONSOLIDATE_STAYS,  /* it cannot sleep: `reason` */
    CONSOLIDATE_SLEEPS, /* once the plan is through it is empty */
    CONSOLIDATE_ASLEEP, /* and is not needed */
    CONSOLIDATE_WAKES,
    CONSOLIDATE_CLOSED, /* drains, is away or not of this part: nobody's business here */
};

enum consolidate_reason {
    CONSOLIDATE_NO_REASON,
    CONSOLIDATE_MEMBERS,    /* of volumes: `count` */
    CONSOLIDATE_STAYS_ON,   /* whoever runs the cluster said so */
    CONSOLIDATE_STALE,      /* the node's measurements */
    CONSOLIDATE_UNMEASURED, /* `guest` */
    CONSOLIDATE_FIXED,      /* `guest` may not move */
    CONSOLIDATE_HELD,       /* balancing is off for `guest` (-1: for the node) */
    CONSOLIDATE_RESTING,    /* `guest` moved a short while ago */
    CONSOLIDATE_WAITING,    /* `guest` has no place yet, which comes first */
    CONSOLIDATE_FULL,       /* nodes are to be woken instead, or would be if any slept */
    CONSOLIDATE_KEEP,       /* the least that stay on */
    CONSOLIDATE_RULES,      /* `guest` finds no place: `rule` on most nodes */
    CONSOLIDATE_LIMIT,      /* `node` (-1: the others together) would be at `value` of `resource` */
    CONSOLIDATE_ROOM,       /* fewer nodes could be lost than are to be */
    CONSOLIDATE_BUDGET,     /* not looked at */
};

struct consolidate_node {
    enum consolidate_verdict verdict;
    enum consolidate_reason reason;
    enum rule rule;
    enum model_resource resource;
    int guest, node, count;
    double value;
};

struct consolidation {
    struct consolidate_node *nodes; /* [nodes of the model] */
    struct model *closed;           /* the cluster as it was, with those that sleep closed */
    struct plan plan;               /* the moves that empty them; none: count is 0 */
    int sleeps, wakes, asleep;      /* nodes; asleep: before */
    int on;                         /* nodes that take guests, before */
    int lose;                       /* nodes that must be bearable to lose */
    bool is_full;                   /* nodes are wanted, whether any can be woken or not */
    struct consolidate_node full;   /* by what: reason LIMIT, ROOM or RULES (a guest without a place) */
    bool rests;                     /* false: the budget ended the search */
    double load[RESOURCE_COUNT], load_after[RESOURCE_COUNT]; /* of the fullest node that stays, before and after */
};

struct consolidate_options {
    uint64_t seed;
    bool (*stop)(void *data); /* NULL: until it is through */
    bool (*late)(void *data); /* from then on nothing new is tried, only what was found is ordered; NULL: as stop */
    void *stop_data;
};

int consolidate(const struct model *model, const struct policy *policy, const struct consolidate_options *options,
                struct consolidation *consolidation, struct err *err);
void consolidate_fini(struct consolidation *consolidation);

/* ---- for its parts ---- */

/* What part of this a node's guests take: as the score counts it, for memory what is given out if that is more. */
double consolidate_load(const struct model *model, int node, enum model_resource resource);
/* May the load of this node be judged? */
bool consolidate_counts(const struct model *model, int node);
/* Nodes whose loss must be bearable. */
int consolidate_lose(const struct policy *policy);
/* How many may be lost, up to `wanted`. Guests that could run on no other node, were it empty and open, do not count:
 * no node that is on makes up for the loss of theirs. model: the same nodes and guests as at the beginning. */
struct consolidate_losses {
    struct model *m; /* scratch */
    int *only;       /* [guests] */
};
int consolidate_losses_init(struct consolidate_losses *losses, const struct model *model, const struct policy *policy,
                            struct err *err);
void consolidate_losses_fini(struct consolidate_losses *losses); /* zeroed is accepted */
int consolidate_room(struct consolidate_losses *losses, const struct model *model, const struct policy *policy,
                     int wanted);
/* The same, for every state between before the plan's move `first` and after the one before `end`, in any order: at
 * least so many. Where members of a hard group move, only what is proved without trying. */
int consolidate_room_during(struct consolidate_losses *losses, const struct model *model, const struct policy *policy,
                            const struct plan *plan, int first, int end, int wanted);

/* A node that sleeps takes guests from now on. Of which it is not known any more what it has, as one that is away, it
 * is taken to be like the smallest that is on. */
void consolidate_open(struct model *model, int node);

/* consolidate_wake.c: fills wakes, is_full, full and the verdicts of the sleeping. model: with all that is not measured
 * marked stale. */
int consolidate_wake(const struct model *model, const struct policy *policy, const struct consolidate_options *options,
                     struct consolidate_losses *losses, struct consolidation *consolidation, struct err *err);

#endif
