/* What the balancer may do of its own accord with a part of the cluster (docs/balancer.md, "Modes of groups"): the
 * policy's `groups`, in the words of cluster_json.h ("balance": "off", "advise" or "automatic").
 *
 *     {"db": "off", "guest/web1": "advise", "node/n3": "off", "rack/r7": "advise", "site/a": "automatic"}
 *
 * A name alone is a group of guests: all that name it in their affinity or anti_affinity. Of several modes the
 * strictest counts. Pure. Threads: any. */
#ifndef BALANCER_SNAPSHOT_MODES_H
#define BALANCER_SNAPSHOT_MODES_H

#include <jansson.h>
#include <stdbool.h>

/* Of the policy object, as snapshot.h has the objects; NULL: none was said. */
json_t *snapshot_modes_groups(json_t *objects);
/* Puts "balance" where a mode was said. */
void snapshot_modes_guest(json_t *to, json_t *groups, const json_t *spec);
void snapshot_modes_node(json_t *to, json_t *groups, const json_t *labels);
/* Has any of them this mode? */
bool snapshot_modes_has(json_t *groups, const char *mode);

#endif
