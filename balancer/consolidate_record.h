/* What consolidation advises, as a plan of the cluster (plan_record.h) that also has
 *
 *     "spec": {..., "sleep": [NODE, ...]}
 *
 * nodes that are drained as soon as they are empty, so that nothing comes back to them; each once, and then it is in
 * "slept", too. Threads: any. */
#ifndef BALANCER_CONSOLIDATE_RECORD_H
#define BALANCER_CONSOLIDATE_RECORD_H

#include <jansson.h>

#include "balancer/consolidate.h"
#include "balancer/plan_record.h"

/* As many whole waves as fit into a record, and those nodes that are empty then. NULL: no node can sleep by these, or
 * no memory. */
json_t *consolidate_record(const struct consolidation *consolidation, const struct policy *policy,
                           const struct plan_record_origin *origin);

/* Of such a plan in the store, by the objects as they are (snapshot.h): nodes that are empty and not drained yet, as
 * entries of "node"; a new reference. *kept (of len bytes): the name of one that is not empty, or "". */
json_t *consolidate_record_empty(json_t *objects, const json_t *record, char *kept, size_t len);

#endif
