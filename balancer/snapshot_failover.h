/* What fail-over knows of a guest, in the words of its spec, for those who read the snapshot to simulate a loss
 * (`drover drill simulate`). The balancer itself makes no use of it. Pure. Threads: any. */
#ifndef BALANCER_SNAPSHOT_FAILOVER_H
#define BALANCER_SNAPSHOT_FAILOVER_H

#include <jansson.h>

/* Puts "ha", "ha_priority", "ha_after" and "ha_delay" of a guest that is protected, and its "volumes" (NULL: they are
 * not known): [{"members": [node...], "spare": N, "witness": node}]. */
void snapshot_failover_guest(json_t *to, const json_t *spec, const json_t *volumes);

#endif
