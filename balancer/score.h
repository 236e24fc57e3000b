/* How far a cluster is from well spread, as one number; and what it would be after a move, in a few operations.
 *
 * A score is   sum of weight * standard deviation over the nodes that are up, of a column
 *            + sum over nodes of a part that only looks at the node (overload, guests on a node to be emptied, ...)
 *            + sum over groups and locations of violations (groups.h).
 * A column is a number per node that a guest's coming and going changes by a fixed amount (model.h's sums, scaled).
 * Kept are the columns, their sums and their sums of squares, all shifted by the mean so that nothing cancels;
 * score_refresh() makes them anew and score_commit() does so every MODEL_RECOUNT_EVERY changes.
 *
 * Two families, by the model's: Ganeti's components and weights are those that `hbal -v -v -v -v` prints; Drover's own
 * come from the policy (docs/balancer.md). Threads: one at a time. */
#ifndef BALANCER_SCORE_H
#define BALANCER_SCORE_H

#include <math.h>

#include "balancer/model.h"

struct err;
struct policy;

enum { SCORE_COLUMNS_MAX = 14 };

struct score {
    struct model *model;
    const struct policy *policy;
    int columns;
    int sum_of[SCORE_COLUMNS_MAX]; /* enum model_sum, or SCORE_RESERVED */
    double weight[SCORE_COLUMNS_MAX];
    double limit[SCORE_COLUMNS_MAX];  /* of the overload, infinite: none */
    double scaled[SCORE_COLUMNS_MAX]; /* weight / up */
    double shift[SCORE_COLUMNS_MAX], s1[SCORE_COLUMNS_MAX], s2[SCORE_COLUMNS_MAX];
    double *unit, *base, *x; /* [nodes * columns] */
    double *take;            /* [guests * columns] what a guest adds where it runs */
    double *copy;            /* likewise where its mirror is; NULL without mirrors */
    double *part;            /* [nodes] */
    double parts, groups, constant;
    double still[RESOURCE_COUNT]; /* the spread of loads that no guest takes along, which have no column */
    int network;                  /* the column of networks' load, -1: there is none */
    bool limited;                 /* some column has a limit */
    bool tied;                    /* to some guest nodes are not alike: it has pins, or members of its volumes */
    int up;                       /* nodes that count */
    int changes;
};

enum { SCORE_RESERVED = -1 };

int score_init(struct score *score, struct model *model, const struct policy *policy, struct err *err);
void score_fini(struct score *score);
void score_refresh(struct score *score);

double score_value(const struct score *score);
/* From nothing, in two passes: what is printed and compared. */
double score_exact(const struct score *score);

/* The value if the guest were there. No rule is asked. */
double score_after(const struct score *score, int guest, int at, int mirror);
/* The same for many places of one guest without a mirror: what stays is worked out once. */
struct score_away {
    int columns, guest;
    double s1[SCORE_COLUMNS_MAX], s2[SCORE_COLUMNS_MAX], take[SCORE_COLUMNS_MAX];
    double rest;
    bool near;   /* its load of networks is another one where its volumes have members */
    bool simple; /* no groups, pins or locations: only columns and parts of nodes tell places apart */
    bool plain;  /* and of columns only how they spread */
};
void score_leave(const struct score *score, int guest, struct score_away *away);
double score_arrive(const struct score *score, const struct score_away *away, int at);
/* If two guests without mirrors changed places. */
double score_after_swap(const struct score *score, int guest, int other);
/* The same for many pairs of guests of two nodes, quickly and nearly: the square of a column's spread is a parabola of
 * what is exchanged. It knows columns only: where groups, tags, pins, limits or members of volumes have a say, `any` is
 * false. */
struct score_swaps {
    bool any;
    int columns;
    const double *take; /* of guest 0 */
    double rest, scaled[SCORE_COLUMNS_MAX], square[SCORE_COLUMNS_MAX][3];
};
void score_swaps_begin(const struct score *score, int node, int other, struct score_swaps *swaps);
static inline double score_swaps_after(const struct score_swaps *swaps, int guest, int other)
{
    const double *take = swaps->take + (size_t)guest * (size_t)swaps->columns;
    const double *back = swaps->take + (size_t)other * (size_t)swaps->columns;
    double sum = swaps->rest;
    for (int k = 0; k < swaps->columns; k++) {
        double v = take[k] - back[k],
               square = swaps->square[k][0] + v * (swaps->square[k][1] + v * swaps->square[k][2]);
        sum += swaps->scaled[k] * sqrt(square > 0 ? square : 0);
    }
    return sum;
}

void score_commit(struct score *score, int guest, int at, int mirror);

/* How much load on this node costs: the slope of the score, over the columns' own units. */
double score_heat(const struct score *score, int node);

/* What the part of a column's value above its limit costs on one node. */
double score_over(const struct score *score, int column, double x);

/* The largest spread of the weighted load columns: what thresholds of a policy are compared with. */
double score_spread(const struct score *score);

#endif
