/* The loads of a simulation, from files and patterns: read or made, and checked against each other and the cluster. */
#ifndef BALANCER_COMMAND_TRACES_H
#define BALANCER_COMMAND_TRACES_H

#include <stdbool.h>

#include "balancer/command.h"
#include "balancer/trace_made.h"

struct command_traces {
    /* what is asked for */
    const char *files[RESOURCE_COUNT]; /* NULL: none */
    const char *pattern;               /* of processors, if there is no file: a pattern's name, "still", NULL: mixed */
    const char *write;                 /* what was made goes there too; NULL: nowhere */
    int steps;                         /* 0: as the traces have, or a day */
    int begin;                         /* the step of the day at which it begins */
    uint64_t seed;
    /* what there is then */
    struct trace traces[RESOURCE_COUNT];
    bool has[RESOURCE_COUNT];
};

/* "mixed, daily, bursts, growth or still" */
bool command_traces_know(const char *pattern);

/* Of a file in Ganeti's format processors alone have loads: what the model has of the others is set to zero.
 * steps is never 0 afterwards. -errno with file, line and reason; command_traces_fini() in any case. */
int command_traces_load(struct command_traces *traces, const struct command_cluster *cluster,
                        const struct policy *policy, struct err *err);
void command_traces_fini(struct command_traces *traces);

#endif
