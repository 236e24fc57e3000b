/* The room of a node, for one guest after the other. Who sends a guest there that is to run claims that room in the
 * same change. Of two who chose by the same view of the cluster the store takes one, and the other is told -EAGAIN
 * (change.h): he chooses anew, and sees the first one's guest. Guests that have rules of groups (placement.h) claim all
 * groups' places, too: where one of them may be depends on where the others are.
 *
 *     state of a room, by its node's id, or "groups"    {"guest": ID}    who was sent there last
 *
 * Guests that are made or given another node and migrations claim it; a start, which nobody is asked about, and a
 * take-over, which asks the node's own memory, do not. Thread: the mirror's. */
#ifndef NODE_AGENT_ROOM_CLAIM_H
#define NODE_AGENT_ROOM_CLAIM_H

#include "node/agent/mirror.h"

struct change;
struct json_t;

/* node: its name; one that is gone has no room to claim. guest: its id, spec: its rules. */
void room_claim(struct change *change, const struct mirror *mirror, const char *node, const char *guest,
                const struct json_t *spec);

/* Of a node that leaves the cluster. */
void room_forget(struct change *change, const struct object *node);

#endif
