/* What guests of a simulation want in each step, and what somebody who watches them knows of that.
 * Units are the model's: cores, bytes, bytes a second. Threads: one at a time. */
#ifndef BALANCER_SIMULATION_LOADS_H
#define BALANCER_SIMULATION_LOADS_H

#include "balancer/model.h"
#include "balancer/simulation.h"

struct forecast;

struct simulation_loads {
    const struct simulation_config *config;
    double (*still)[RESOURCE_COUNT]; /* [guests] what the model says: of a resource without a trace it stays */
    struct forecast *forecasts[RESOURCE_COUNT]; /* [guests], NULL: it has no trace */
    bool has[RESOURCE_COUNT];                   /* false: nobody ever wants any of it */
};

/* still[] is taken from the model. -ENOMEM. */
int simulation_loads_init(struct simulation_loads *loads, const struct model *model,
                          const struct simulation_config *config);
void simulation_loads_fini(struct simulation_loads *loads);

/* What it wants; nothing if it does not run. */
double simulation_loads_at(const struct simulation_loads *loads, const struct model *model, int guest, int step,
                           enum model_resource resource);

/* Into the model's guests what the mind knows before the step: a forecast and its error for who decides by it, the
 * value before for the others' rules, the step's own for who sees it. model_recount() is the caller's. */
void simulation_loads_show(const struct simulation_loads *loads, struct model *model, int step);
/* The step is over: its values are known now. */
void simulation_loads_learn(struct simulation_loads *loads, const struct model *model, int step);

#endif
