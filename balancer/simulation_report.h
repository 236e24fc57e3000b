/* What simulations brought, one after the other: as JSON, every step with it, and as plots (SVG).
 * docs/balancer.md has every field. Threads: any. */
#ifndef BALANCER_SIMULATION_REPORT_H
#define BALANCER_SIMULATION_REPORT_H

#include <stddef.h>

#include "balancer/simulation.h"

/* results, ran: [SIMULATION_MINDS], those that ran. Strings to free(), NULL: no memory. */
char *simulation_report_json(const struct simulation_result *results, const bool *ran);
char *simulation_report_svg(const struct simulation_result *results, const bool *ran, size_t *len);

/* "cpu", "memory", "disk", "network" */
const char *simulation_resource_name(enum model_resource resource);

#endif
