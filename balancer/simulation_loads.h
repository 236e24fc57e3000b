/* What guests of a simulation want in each step, and what somebody who watches them knows of that.
 *
 * What a guest's disks do (a trace's, or else what the model says) is load of its own node; or, if it has storage in
 * the model, of its members' nodes, in proportion to what they have there, and of the networks in between.
 * Units are the model's: cores, bytes, bytes a second. Threads: one at a time. */
#ifndef BALANCER_SIMULATION_LOADS_H
#define BALANCER_SIMULATION_LOADS_H

#include "balancer/model.h"
#include "balancer/simulation.h"

struct forecast;

struct simulation_loads {
    const struct simulation_config *config;
    const struct model *begin;       /* borrowed: its guests' storage */
    double *stored;                  /* [guests] the sum of it; 0: none */
    double (*still)[RESOURCE_COUNT]; /* [guests] what the model says: of a resource without a trace it stays */
    struct forecast *forecasts[RESOURCE_COUNT]; /* [guests], NULL: it has no trace */
    bool has[RESOURCE_COUNT];                   /* false: nobody ever wants any of it */
};

/* model: still[] is taken from it, and it stays as it is until fini. -ENOMEM. */
int simulation_loads_init(struct simulation_loads *loads, const struct model *model,
                          const struct simulation_config *config);
void simulation_loads_fini(struct simulation_loads *loads);

/* Adds what this guest, if it runs, does to all nodes when it is on `node` for so many seconds of the step: to
 * load[nodes], in seconds times the resource's unit. Negative seconds take it away again. */
void simulation_loads_add(const struct simulation_loads *loads, const struct model *model, int guest, int node,
                          int step, double seconds, double (*load)[RESOURCE_COUNT]);

/* Into the model's guests what the mind knows before the step: a forecast and its error for who decides by it, the
 * value before for the others' rules, the step's own for who sees it. model_recount() is the caller's. */
void simulation_loads_show(const struct simulation_loads *loads, struct model *model, int step);
/* The step is over: its values are known now. */
void simulation_loads_learn(struct simulation_loads *loads, const struct model *model, int step);

#endif
