/* The last drill of each kind, for Prometheus: said by the node that conducted it, so that no two nodes say the same.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_DRILL_METRICS_H
#define NODE_AGENT_DRILL_METRICS_H

#include <stdint.h>
#include <stdio.h>

struct mirror;

/* node: this one. now_ms: since 1970. */
void drill_metrics_put(FILE *file, const struct mirror *mirror, const char *node, uint64_t now_ms);

#endif
