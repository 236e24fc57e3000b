/* The placement rules of guests' specs (docs/balancer.md, "Rules of guests"), in the words of cluster_json.h: pins,
 * processor models, groups that stay apart or together, and that nodes hold what a guest boots from. What the agents
 * obey when they choose a node themselves is the same (node/agent/placement.h).
 *
 * A group is as strict as its strictest member says, and as wide. Pure. Threads: any. */
#ifndef BALANCER_SNAPSHOT_RULES_H
#define BALANCER_SNAPSHOT_RULES_H

#include <jansson.h>

/* Puts "pinned" or "avoid" and "cpu_models" of the guest that is on this node; nodes that are not there are left out,
 * and a guest whose pins all are cannot be moved ("movable": false). A node that does not hold what it boots from is as
 * one that it avoids, for as long. nodes: by name; images: by id. */
void snapshot_rules_guest(json_t *to, const json_t *spec, const json_t *node, json_t *nodes, json_t *images);

/* [{"name", "keep", "scope", "hard", "guests"}]; who is left out is named, too. A new reference. */
json_t *snapshot_rules_groups(json_t *guests);

#endif
