/* How fast a guest writes its memory, for the price of a move: the guest's process is asked for a forecast of one
 * (CONTROL_FORECAST), which looks for 200 ms at what is written and at 4096 pages of what is there.
 *
 * That costs the guest something, so only those are asked that a plan of the balancer (proposed, or active) takes away
 * from this node, each once in ten minutes, and one at a time on a node. Pure but for *writes. Thread: the loop's. */
#ifndef NODE_AGENT_LOAD_WRITES_H
#define NODE_AGENT_LOAD_WRITES_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/mirror.h"

struct json_t;

enum {
    LOAD_WRITES_FRESH_MS = 600000, /* so long nobody looks again */
    LOAD_WRITES_AGAIN_MS = 60000,  /* after a look that came to nothing */
};

struct load_writes {
    uint64_t asked_ns, looked_ns; /* 0: never */
    double bytes_per_s;
};

/* Calls wanted() with each guest that such a plan takes away from this node, as often as it does, until it says true:
 * then true. */
bool load_writes_leaving(const struct mirror *mirror, const char *node, bool (*wanted)(void *context, const char *id),
                         void *context);

bool load_writes_due(const struct load_writes *writes, uint64_t now_ns);
/* The answer of the guest's process: its word, as good as that. False: it says nothing of it. */
bool load_writes_learn(struct load_writes *writes, const struct json_t *answer, uint64_t now_ns);
/* "dirty": bytes a second, and "dirty_ago": seconds since the look; nothing without one. */
void load_writes_put(const struct load_writes *writes, struct json_t *guest, uint64_t now_ns);

#endif
