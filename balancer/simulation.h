/* A cluster through a trace of loads, under a balancer or a rule: what it would have cost and brought.
 *
 * A virtual clock in steps (five minutes). In each step the loads are the trace's; the balancer sees only what was
 * before it, plans, and its waves run within the step: a migration takes the time that cost.h says, the guest stays
 * where it was until its wave is through, and both ends pay SIMULATION_MIGRATION_CORES meanwhile. Nodes fail and come
 * back by a seeded dice; their guests are started elsewhere. The balancer begins as many moves an hour as its policy
 * allows, and none in quiet hours. The same input gives the same output, byte for byte. Threads: one at a time. */
#ifndef BALANCER_SIMULATION_H
#define BALANCER_SIMULATION_H

#include <stdint.h>

#include "balancer/policy.h"
#include "balancer/trace.h"

struct err;

static const double SIMULATION_MIGRATION_CORES = 0.2, SIMULATION_RESTART_S = 30, SIMULATION_OVERLOAD = 0.85;

enum simulation_mind {
    SIMULATION_NONE,       /* nobody moves anything */
    SIMULATION_DROVER,     /* plan_make() */
    SIMULATION_IMBALANCE,  /* as Proxmox VE 9.2 publishes: coefficient of variation above 0.3 for three rounds, then the
                              one  best move if it makes it smaller by a tenth; at most one move each half minute */
    SIMULATION_CONTENTION, /* as Nutanix publishes: a node above 85 % for 15 minutes is relieved with few moves, then
                              left alone for 30 minutes */
    SIMULATION_FORESIGHT,  /* plan_make() that is told each step's loads before they come: what nobody can know */
    SIMULATION_MINDS
};

struct simulation_config {
    enum simulation_mind mind;
    const struct trace *trace;
    const struct policy *policy;
    double step_s;
    int steps;
    double begin_s;          /* the time of the day at which the trace begins, for quiet hours */
    double failures_per_day; /* of the whole cluster */
    uint64_t seed;
};

struct simulation_step {
    float imbalance, overload_nodes, moves; /* spread of CPU load, nodes above the limit, moves that finished */
};

struct simulation_result {
    double overload_minutes;  /* node minutes above SIMULATION_OVERLOAD of a node's CPU */
    double lost_core_minutes; /* wanted, but not there */
    double imbalance;         /* mean over time */
    double moved_bytes, migration_s, down_s;
    int moves, returns; /* returns: back to a node left within the policy's time */
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
