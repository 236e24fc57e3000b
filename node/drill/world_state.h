/* What a simulated cluster consists of. For the world_*.c alone: world.h is for those who run one, world_parts.h says
 * who does what with it. */
#ifndef NODE_DRILL_WORLD_STATE_H
#define NODE_DRILL_WORLD_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/failover.h"
#include "node/agent/tenure.h"
#include "node/drill/cluster.h"
#include "node/drill/world.h"

enum {
    WORLD_STEP_MS = 50,
    WORLD_HISTORY = 64, /* steps that a watch may lag behind */
    WORLD_HEAL_MS = 40000,
    WORLD_ORDER_MS = 10000, /* guests start in their order from then on: before, the cluster is one that runs already */
    WORLD_FAULTS_MAX = FAILOVER_NODES_MAX + 6,
};
#define WORLD_MS UINT64_C(1000000)

/* What a watch shows; as it is once it was published. */
struct picture {
    unsigned refs;
    uint64_t revision, armed_revision;
    bool armed;
    uint64_t alive;                              /* nodes whose state is there: 1 << index */
    uint64_t state_revision[FAILOVER_NODES_MAX]; /* 0: it is not there */
    int8_t *owner;                               /* by guest, and so on */
    bool *runs;                                  /* by the word of its owner; of those that somebody needs */
    uint16_t *failovers;
    uint64_t *guest_revision;

    /* what follows from it, once somebody asks (world_view.c) */
    bool derived;
    uint64_t promised[FAILOVER_NODES_MAX];
    unsigned orphan_count, *orphans; /* guests whose node is not alive */
    uint64_t *able;                  /* of these */
};

enum call_kind { CALL_GRANT, CALL_KEEP, CALL_STATE, CALL_TAKE, CALL_CLAIM, CALL_PLEDGE, CALL_RUNS };

struct call {
    bool back;
    enum call_kind kind;
    int from, to;
    unsigned life; /* of the agent that asked */
    uint64_t sent_ns, at_ms;
    unsigned lease, guest, round;
    uint64_t revision, armed_revision; /* expected; revision: and of the answer */
    int lost;
    bool ok, stale; /* stale: not what was expected */
};

/* What an agent knows of a guest. */
struct world_own {
    bool taking, claiming;
    uint16_t cool_count, cool_row;
    uint64_t cool_from_ns, held_ns, runs_ns; /* 0: it is not held; it is not seen running */
    uint64_t said_ns;                        /* when it told the store that it runs */
};

struct world_node {
    bool up;                                    /* the machine */
    bool agent;                                 /* its agent runs */
    uint64_t agent_paused_ms, guests_paused_ms; /* until then */
    double rate;
    uint64_t offset_ns;
    uint64_t told_ns; /* the deadline that the processes of its guests have */
    unsigned process_count;

    /* the agent's */
    unsigned life;
    uint64_t began_ns;
    struct tenure tenure;
    unsigned lease;
    uint64_t lease_sent_ns, next_keep_ns, state_revision; /* state_revision: waits to be seen */
    bool granting, writing, fresh;
    struct picture *mirror;
    const struct picture *looked; /* the newest whose guests it has looked at */
    bool current, waiting;        /* waiting: some guest of its own does not run */
    uint64_t seen, was_alive, gone_ns[FAILOVER_NODES_MAX];
    unsigned attempts;
    uint64_t decided; /* what it decided from at last, as one number; 0: nothing yet */
    unsigned round, round_pledges;
    bool in_round;
    uint64_t round_ns;
    struct world_own *own; /* by guest */
};

enum fault_kind {
    FAULT_KILL,
    FAULT_AGENT,
    FAULT_CUT,
    FAULT_CUT_OUT, /* what it says is not heard */
    FAULT_CUT_IN,
    FAULT_CUT_STORE,
    FAULT_STOP_AGENT,
    FAULT_STOP_ALL,
    FAULT_LEADER,
    FAULT_STORE,
    FAULT_DISARM,
    FAULT_SLOW,
    FAULT_KINDS
};

struct fault {
    enum fault_kind kind;
    int node;
    uint64_t from_ms, to_ms;
    bool begun, ended;
};

/* How a guest fares, by what is true and not by what anybody knows. */
struct world_fate {
    bool began, down, stays;
    uint64_t fault_ms, down_ms; /* when the newest fault before it went down began; and when it did */
};

struct world {
    const struct cluster *cluster;
    int node_count, outside; /* outside: the store, as an end of links */
    unsigned guest_count;
    uint64_t settle_ms;

    uint64_t state; /* of the random numbers */
    struct world_schedule schedule;
    struct world_result *result;
    uint64_t now_ms, end_ms;
    struct world_node *nodes;
    uint64_t *holders; /* by guest: nodes with a process of it */
    struct call *calls;
    uint64_t *calls_used;                      /* a bit each */
    unsigned call_max, call_words, call_first; /* call_first: no word before it has a free one */
    uint64_t heard[FAILOVER_NODES_MAX + 1];    /* [from]: 1 << to, or in heard_outside */
    bool heard_outside[FAILOVER_NODES_MAX + 1];
    uint64_t jitter_ms;
    unsigned loss_percent;
    struct fault faults[WORLD_FAULTS_MAX];
    unsigned fault_count, turns; /* turns: how often one has begun or ended */

    bool store_up;
    struct picture truth;
    struct picture *history[WORLD_HISTORY], *pictures;
    unsigned picture_count;
    uint64_t *lease_ms;
    unsigned leases, lease_max, key_lease[FAILOVER_NODES_MAX];
    uint64_t killed_ms, started_ms, fault_ms;

    bool stirred; /* something executes, or ends, that did not before */
    uint64_t executing;
    unsigned doubles; /* guests with processes on more than one node */
    struct world_fate *fates;
    struct world_outage *outages;
    struct world_stay *stays;
    unsigned outage_room, stay_room;
    bool failed; /* out of memory */

    struct failover_view view;
    struct failover_guest *view_guests;
    struct failover_decision *decisions;
};

#endif
