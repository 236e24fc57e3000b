/* What `/metrics` says of the migrations that left this node: those that are kept, and those whose guest waits for its
 * last pages. Thread: the loop's. */
#ifndef NODE_AGENT_MIGRATION_METRICS_H
#define NODE_AGENT_MIGRATION_METRICS_H

#include <stdio.h>

#include "node/agent/mirror.h"

void migration_metrics_put(FILE *f, const struct mirror *mirror, const char *node);

#endif
