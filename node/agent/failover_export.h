/* Where the volumes of protected guests have their members, as fail-over sees it: for the cluster as people export it.
 * Thread: the mirror's. */
#ifndef NODE_AGENT_FAILOVER_EXPORT_H
#define NODE_AGENT_FAILOVER_EXPORT_H

struct json_t;
struct mirror;

/* {guest's id: [{"members": [node...], "spare": N, "witness": node}]}; of volumes with a layout. A member or witness
 * whose node nobody knows is null, a volume that needs no witness has none. A new reference. */
struct json_t *failover_export_volumes(const struct mirror *mirror);

#endif
