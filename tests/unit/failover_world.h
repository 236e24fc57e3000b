/* A simulated cluster for the rules of fail-over: nodes with clocks of their own, agents and guests' processes that are
 * killed, stopped and started, a store that is away or has a new leader, a network that is cut in one way or both,
 * slow, or lossy. The rules themselves are node/agent/tenure.c and failover.c; what an agent does around them is played
 * here as presence.c, failovers.c, failsafe.c and guests.c do it. All from one seed. */
#ifndef TESTS_UNIT_FAILOVER_WORLD_H
#define TESTS_UNIT_FAILOVER_WORLD_H

#include <stdbool.h>
#include <stdint.h>

enum world_class {
    WORLD_ANYTHING, /* every fault, several at a time */
    WORLD_CALM,     /* pauses of up to 5 s, 30 % loss, 2 s of jitter: nothing may be taken over */
    WORLD_NO_STORE, /* the store alone is away for a while: nobody may stand, nothing may be taken over */
    WORLD_PATCHY,   /* each node loses the store at about the same time, and finds it again when it does */
    WORLD_ONE_LOSS, /* one node is killed for good: it must be quick */
    WORLD_CLASS_COUNT
};

struct world_result {
    char wrong[256]; /* "": every invariant held */
    unsigned takeovers, freezes, extensions;
    uint64_t rto_ms; /* WORLD_ONE_LOSS: from the kill to the start of the last guest */
};

void world_run(uint64_t seed, enum world_class class, struct world_result *result);

#endif
