/* Whom a drill would hit, and whether it may: what is declared before anything is done. Pure functions of the mirror.
 *
 *     {"guests":  [{"guest", "id", "node", "protected", "canary", "next", "effect"}],   those that are hit
 *      "volumes": [{"volume", "members", "left", "needed"}],                            that lose a member for the time
 *      "nodes_to_lose": N}
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_DRILL_BLAST_H
#define NODE_AGENT_DRILL_BLAST_H

#include <stdbool.h>

#include "node/agent/mirror.h"

struct json_t;

enum { DRILL_TEXT_MAX = 512, DRILL_LEASE_SLACK_MS = 4500 /* an agent may be away so long, and nobody notices */ };

struct drill_blast {
    struct json_t *json;       /* as above; the caller's */
    const char *code;          /* of the first reason why it may not be; NULL: it may */
    char text[DRILL_TEXT_MAX]; /* ... and what to do */
};

/* spec: of the drill. self: the drill's id, once it is there, or "". store: where the cluster's store is
 * ("etcd:https://10.0.0.1:2379,..."). False: out of memory. */
bool drill_blast_make(struct drill_blast *blast, const struct mirror *mirror, const struct json_t *spec,
                      const char *self, const char *store);
/* The node counts as lost to the others before the fault is over. */
bool drill_blast_takes_node(const struct json_t *spec);

#endif
