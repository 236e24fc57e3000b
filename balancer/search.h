/* Local search for a better place for everybody: moves, swaps, chains, and kicks out of a local optimum.
 *
 * The objective is the score plus, for every guest that is not where it began, what its migration must earn
 * (cost_threshold()). So a state from which no step improves the objective is also at rest when it is planned again
 * from itself, where everybody is at home and nothing has been paid yet.
 *
 *   last:    first everybody goes where the last plan wanted it, if that is still allowed and better than to stay.
 *   descend: a heap of guests by what their best move gained when it was last looked at; the top is looked at anew and
 *            moved if it still leads. Only guests near a change are stale, so a step costs a few dozen evaluations and
 *            not guests times nodes. When the heap runs dry all are looked at once more.
 *   swap:    pairs of guests of a hot and a cold node. chain: one goes so that another may come.
 *   kick:    a few guests at random, descend again, keep it if it is better.
 *
 * Above SEARCH_ALL_NODES nodes only the coldest SEARCH_TARGETS are tried as targets. Deterministic: the seed and the
 * budget in evaluations decide; stop() only ends it early. Threads: one at a time. */
#ifndef BALANCER_SEARCH_H
#define BALANCER_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "balancer/score.h"

struct plan_last;

enum { SEARCH_ALL_NODES = 64, SEARCH_TARGETS = 24, SEARCH_NODES_SCANNED = 512 };

struct search_budget {
    uint64_t evaluations; /* 0: until it rests, then SEARCH_KICK_EVALUATIONS more; four times as many with mirrors */
    bool (*stop)(void *data);
    void *data;
};

enum { SEARCH_KICK_EVALUATIONS = 500000 };

struct search {
    struct model *model;
    const struct plan_last *last; /* borrowed; NULL: it begins where guests are */
    const struct policy *policy;
    struct score score;
    struct search_budget budget;
    uint64_t evaluations, seed;
    bool stopped;      /* by the budget: it may not be at rest */
    bool others_stay;  /* nobody makes room for who must move */
    bool links;        /* nodes have links of their own, so that a price depends on where it goes */
    double *threshold; /* [guests] what a move must earn */
    bool *stays;       /* [guests] may not be touched */
    double *gain;      /* [guests] the heap's keys */
    int *heap, *where; /* by gain, largest first */
    int heap_count;
    int *targets, target_count;
    int *order;                 /* [nodes] scratch */
    double *heat;               /* [nodes] scratch */
    double *price;              /* [guests] scratch */
    int *best_at, *best_mirror; /* the best state so far */
    double least_gain;          /* below this nothing counts as better */
};

/* model: is changed; it is where the search begins. */
int search_init(struct search *search, struct model *model, const struct policy *policy, uint64_t seed,
                struct search_budget budget, struct err *err);
void search_fini(struct search *search);

/* Improves until it rests or the budget is gone. must: only guests that are nowhere or on a closed node. */
void search_run(struct search *search, bool must);

/* ---- for the parts of the search ---- */

/* What a move changes in the price of those who are away from home. */
double search_price(const struct search *search, int guest, int at, int mirror);
void search_commit(struct search *search, int guest, int at, int mirror);
bool search_over(struct search *search);
void search_pick_targets(struct search *search);
bool search_must_move(const struct search *search, int guest);
bool search_forbidden(const struct search *search, int guest, int at);

/* search_swap.c: true if something was improved */
bool search_swaps(struct search *search);
bool search_chains(struct search *search);
/* For one that must move and finds no room. */
bool search_make_room(struct search *search);

#endif
