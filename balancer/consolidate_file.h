/* Advice on nodes to sleep and wake, for people and for programs. Threads: any. */
#ifndef BALANCER_CONSOLIDATE_FILE_H
#define BALANCER_CONSOLIDATE_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "balancer/consolidate.h"

void consolidate_print(FILE *out, const struct consolidation *consolidation, const struct policy *policy, bool explain);
/* NULL: no memory. explain: with the reason of every guest. */
json_t *consolidate_json(const struct consolidation *consolidation, const struct policy *policy, bool explain);

#endif
