/* Why a guest is where it is after a plan: moved, or kept, and by what. Threads: any. */
#ifndef BALANCER_EXPLAIN_H
#define BALANCER_EXPLAIN_H

#include <stddef.h>

#include "balancer/plan.h"

enum explain_kind {
    EXPLAIN_MOVED,      /* the plan moves it */
    EXPLAIN_FIXED,      /* it may not move: `rule` */
    EXPLAIN_UNMEASURED, /* no fresh measurements */
    EXPLAIN_RESTING,    /* it moved a short while ago */
    EXPLAIN_RETURN,     /* the better node is the one it came from lately */
    EXPLAIN_RULES,      /* every node that would be better is forbidden; `rule` is the commonest reason */
    EXPLAIN_COST,       /* the best move gains less than it costs */
    EXPLAIN_BEST,       /* no other node would be better */
    EXPLAIN_ROOM,       /* a move that pays would take the room for a lost node */
    EXPLAIN_BALANCED,   /* ... is not looked for while the loads are spread as well as this */
    EXPLAIN_LATER,      /* a move that pays is left: the plan was cut short by its limits */
};

struct explain {
    enum explain_kind kind;
    enum rule rule;
    enum score_reason reason; /* moved: for the sake of what */
    int node;                 /* the move, or the best one that was not made; -1: none */
    double gain, price;       /* in score */
    int nodes_refused;
};

/* score: of the model in the plan's last state. */
struct explain explain_guest(const struct score *score, const struct model *before, const struct plan *plan, int guest);

/* A sentence about it; returns buffer. */
char *explain_text(const struct explain *explain, const struct model *model, int guest, char *buffer, size_t len);

/* Why the plan as a whole is what it is. */
char *explain_plan(const struct plan *plan, const struct policy *policy, char *buffer, size_t len);

#endif
