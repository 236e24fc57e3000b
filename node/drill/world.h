/* A simulated cluster in virtual time: nodes with clocks of their own, agents and guests' processes that are killed,
 * stopped and started, a store that is away or has a new leader, a network that is cut in one way or both, slow, or
 * lossy. The rules themselves are those of the agent (tenure.h, failover.h, start_order.h); what an agent does around
 * them is played here as presence.c, failovers.c, failsafe.c and guests.c do it. All from one seed: the same cluster,
 * seed and class give the same, to the last step.
 *
 * After each step: no guest executes on two nodes; none is taken over that still executes, none while disarmed. While a
 * node of a drill is lost: every guest runs that has a place. In the end: each runs once.
 *
 * Thread: one per world. */
#ifndef NODE_DRILL_WORLD_H
#define NODE_DRILL_WORLD_H

#include <stdbool.h>
#include <stdint.h>

struct cluster;
struct world;

enum world_class {
    WORLD_ANYTHING, /* every fault, several at a time */
    WORLD_CALM,     /* pauses of up to 5 s, 30 % loss, 2 s of jitter: nothing may be taken over */
    WORLD_NO_STORE, /* the store alone is away for a while: nobody may stand, nothing may be taken over */
    WORLD_PATCHY,   /* each node loses the store at about the same time, and finds it again when it does */
    WORLD_ONE_LOSS, /* one node is killed for good: it must be quick */
    /* Those of docs/drills.md: one fault, long enough for all that follows from it, and then it heals. */
    WORLD_POWER_LOSS,
    WORLD_PARTITION,
    WORLD_COORDINATOR_LOSS,
    WORLD_AGENT_CRASH,
    WORLD_CLASS_COUNT
};

enum { WORLD_DRAWN = -1, WORLD_REASON_MAX = 160 };

struct world_schedule {
    uint64_t seed;
    enum world_class class;
    int node; /* whom faults of a node hit; WORLD_DRAWN: the seed says */
};

/* A guest that stood, and ran again. */
struct world_outage {
    unsigned guest;
    uint64_t since_fault_ms; /* from the beginning of the newest fault before it stood */
    uint64_t down_ms;        /* from when it stood */
};

/* A guest that did not run as long as the node was lost, and could not. */
struct world_stay {
    unsigned guest;
    int node; /* that was lost */
    char reason[WORLD_REASON_MAX];
};

struct world_result {
    char wrong[256]; /* "": every invariant held */
    unsigned takeovers, freezes, extensions;
    uint64_t rto_ms;                    /* WORLD_ONE_LOSS: from the kill to the start of the last guest */
    int lost;                           /* the node that was lost long enough to be judged; -1: none */
    const struct world_outage *outages; /* the world's, until its next run */
    unsigned outage_count;
    const struct world_stay *stays;
    unsigned stay_count;
};

/* cluster outlives it. NULL: out of memory. */
struct world *world_new(const struct cluster *cluster);
void world_free(struct world *world);
/* False: out of memory. */
bool world_run(struct world *world, const struct world_schedule *schedule, struct world_result *result);

#endif
