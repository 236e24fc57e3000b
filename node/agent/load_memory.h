/* How much of the node's memory a guest has: what its control group holds, as a window of samples. That is what the
 * guest has touched and not given back, and what its process needs beside it.
 *
 * What counts is the p95, as of the other loads: a guest that frees memory wants it back sooner or later, and for five
 * minutes it counts as if it had. One whose balloon moves is another matter: it has less, or more, because somebody
 * wanted that, and will have what it has now. So its window begins anew whenever the balloon's target is another one,
 * or what it has lent is; while it is on its way that is the last sample. The balloon is the word of the guest, which
 * gains nothing by a lie but that it is measured over less. Pure. Thread: the owner's. */
#ifndef NODE_AGENT_LOAD_MEMORY_H
#define NODE_AGENT_LOAD_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/load_meter.h"

struct json_t;

/* Zeroed in the beginning. */
struct load_memory {
    struct load_meter pages;     /* of LOAD_UNIT_BYTES */
    int64_t target, inflated;    /* of the balloon, as it was looked at last */
    bool has_balloon, has_moved; /* has_moved: since the last sample */
};

void load_memory_add(struct load_memory *memory, uint64_t bytes);
/* stats: what the guest's process answers to CONTROL_STATS. */
void load_memory_look(struct load_memory *memory, const struct json_t *stats);
/* Bytes; 0 without a sample. */
uint64_t load_memory_p95(const struct load_memory *memory);

#endif
