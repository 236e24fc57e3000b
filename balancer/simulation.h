/* A cluster through a trace of loads, under a balancer or a rule: what it would have cost and brought.
 *
 * A virtual clock in steps (five minutes). In each step the loads are the traces', or what the model has where there is
 * none; the balancer sees only what was before it, and plans. Moves take the time that they take on the links that they
 * share (flows.h), over the step's end if need be: until then the guest is where it was. Both ends pay processors and
 * network meanwhile. The balancer has one plan at a time: it makes none while moves are under way, and a wave begins
 * when the one before is through; waves that would begin after the step's end are planned anew in the next. It begins
 * as many moves an hour as its policy allows, and none in quiet hours. Nodes fail and come back by a seeded dice; their
 * guests are started elsewhere, and what was moving to or from them has failed. The same input gives the same output,
 * byte for byte. Threads: one at a time. */
#ifndef BALANCER_SIMULATION_H
#define BALANCER_SIMULATION_H

#include <stdint.h>

#include "balancer/policy.h"
#include "balancer/trace.h"

struct err;

static const double SIMULATION_RESTART_S = 30, SIMULATION_OVERLOAD = 0.85;

enum simulation_mind {
    SIMULATION_NONE,       /* nobody moves anything */
    SIMULATION_DROVER,     /* plan_make() */
    SIMULATION_IMBALANCE,  /* as Proxmox VE 9.2 publishes: coefficient of variation above 0.3 for three rounds, then the
                              one  best move if it makes it smaller by a tenth; at most one move each half minute */
    SIMULATION_CONTENTION, /* as Nutanix publishes: a node above 85 % for 15 minutes is relieved with few moves, then
                              left alone for 30 minutes */
    SIMULATION_FORESIGHT,  /* plan_make() that is told each step's loads before they come: what nobody can know */
    SIMULATION_SHADOW,     /* as DROVER, with another policy beside it */
    SIMULATION_MINDS
};

struct simulation_config {
    enum simulation_mind mind;
    const struct trace *traces[RESOURCE_COUNT]; /* NULL: every guest keeps the load that it has in the model */
    const struct policy *policy;
    double margin; /* so many standard errors are on top of what guests have in the model */
    double step_s;
    int steps;
    double begin_s;          /* the time of the day at which the trace begins, for quiet hours */
    double failures_per_day; /* of the whole cluster */
    uint64_t seed;
};

struct simulation_step {
    float imbalance;            /* spread of CPU load */
    float moves;                /* that finished */
    float begun;                /* likewise; restarts are none */
    float over[RESOURCE_COUNT]; /* nodes above the limit */
};

struct simulation_result {
    /* of each resource; known: there are loads and nodes that say what they can bear */
    bool known[RESOURCE_COUNT];
    double overload_minutes[RESOURCE_COUNT]; /* node minutes above SIMULATION_OVERLOAD of a node's */
    double imbalance[RESOURCE_COUNT];        /* mean over time */
    double lost_core_minutes;                /* wanted, but not there */
    /* what migrations cost, also those that failed or are not through at the end */
    double moved_bytes, migration_s, migration_core_s, down_s; /* down_s: of restarts too */
    int moves, failed_moves, returns; /* returns: back to a node left within the policy's time */
    int failures, restarts, stranded_steps;
    struct simulation_step *timeline; /* [steps] */
    int steps;
};

const char *simulation_mind_name(enum simulation_mind mind);

/* model: where it begins; it is copied. */
int simulation_run(const struct model *model, const struct simulation_config *config, struct simulation_result *result,
                   struct err *err);
void simulation_fini(struct simulation_result *result);

#endif
