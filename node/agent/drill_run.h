/* A drill as its conductor follows it: a step function, what is seen in, what is to be told out. It reads no clock and
 * no store; node/agent/drills.c looks and acts. All of it is in the drill's state, so that whoever conducts it next,
 * after a restart or instead of a conductor that is lost, goes on where it was.
 *
 *     state   {"phase", "reason", "conductor", "aborted", "began_ms", "phase_ms", "fault_ms", "heal_at_ms", "ended_ms",
 *              "others_before", "nodes_before", "volumes_before", "blast": drill_blast.h,
 *              "guests": [{"guest", "id", "node", "protected", "canary", "failovers", "down_ms", "up_ms", "outage_ms",
 *                          "pid", "start", "acked", "word_ms", "silent_ms", "lost"}],
 *              "result": {"rto_ms", "lost_writes", "silent_ms", "taken_over", "canaries"},
 *              "timeline": [{"ms": since the beginning, "at": time of day, "kind", "text"}]}
 *
 * Times are milliseconds since 1970 by the conductor's clock, which is not set back while a drill runs. Threads: any.
 */
#ifndef NODE_AGENT_DRILL_RUN_H
#define NODE_AGENT_DRILL_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/drill.h"
#include "node/agent/drill_condition.h"

struct json_t;

enum {
    DRILL_GUESTS_MAX = 256, /* that are followed one by one: those that are hit, and canaries */
    DRILL_EVENTS_MAX = 32,  /* of one step; the rest is seen in the next one */
    DRILL_TIMELINE_MAX = 400,
    DRILL_NAME_MAX = 64,
    DRILL_CANARY_WAIT_MS = 60000, /* for the first word of a canary */
    DRILL_FAULT_WAIT_MS = 15000,  /* for the node to put the fault in */
    DRILL_SETTLE_MS = 2000,       /* after the fault, before it is believed that all is well */
    DRILL_LOSS_MS = 9000,         /* the same where the node is lost: until everybody must have seen it */
    DRILL_HEAL_MS = 180000,       /* if nobody says how long healing may take */
};

enum drill_event_kind { DRILL_EVENT_PHASE, DRILL_EVENT_FAULT, DRILL_EVENT_NODE, DRILL_EVENT_GUEST, DRILL_EVENT_CANARY };

struct drill_event {
    enum drill_event_kind kind;
    char text[256];
};

struct drill_guest {
    char name[DRILL_NAME_MAX], id[DRILL_NAME_MAX], node[DRILL_NAME_MAX]; /* node: where it was */
    bool is_protected, is_canary, is_hit;
    unsigned failovers; /* that are known */
    int64_t pid;        /* of its process, before the fault */
    uint64_t down_ms, up_ms,
        outage_ms; /* down_ms: since when it is down, 0: it runs; outage_ms: the longest, from the fault on */
    /* of a canary: */
    int64_t start, acked; /* start: which start of its script has spoken last */
    uint64_t word_ms, silent_ms, lost;
};

struct drill_run {
    enum drill_phase phase;
    char reason[256];
    bool takes_node, moves, is_aborted, node_away, is_resumed;
    uint64_t for_ms, heal_ms;
    uint64_t began_ms, phase_ms, fault_ms, heal_at_ms, ended_ms; /* 0: not yet */
    unsigned others_before, nodes_before, volumes_before;        /* what was not well before */
    char node[DRILL_NAME_MAX];
    struct drill_condition condition;
    struct drill_guest guests[DRILL_GUESTS_MAX];
    unsigned guest_count;
    struct drill_event events[DRILL_EVENTS_MAX];
    unsigned event_count; /* of the last step */
};

/* A guest of the run, now. */
struct drill_sight {
    bool is_there, runs; /* runs: where it belongs, on a node that is there, and does not stand */
    const char *node;
    unsigned failovers;
    int64_t pid;
    bool has_spoken; /* a canary; the rest is of its last word */
    int64_t start, acked, had, holes;
};

struct drill_view {
    uint64_t now_ms;
    const char *refusal;  /* why it may not be, looked at again before it begins; NULL: it may */
    const char *abort_by; /* NULL: nobody has aborted it */
    bool fault_known;     /* the node has said that it puts the fault in, or why not: */
    const char *fault_error;
    bool node_alive, is_moving; /* is_moving: the migration of this drill has not ended */
    unsigned others_down, nodes_away, volumes_suspended;
    const struct drill_sight *guests; /* as the run's */
};

/* From the drill as it was declared, and its blast radius. */
void drill_run_begin(struct drill_run *run, const struct object *drill, const struct json_t *blast, uint64_t now_ms);
/* One look. True: something is to be told (events, or another phase). */
bool drill_run_step(struct drill_run *run, const struct drill_view *view);

/* Adds to state what it says of itself, and its new events to the timeline; state keeps what else is in it. */
void drill_run_write(const struct drill_run *run, struct json_t *state, uint64_t now_ms);
/* From a state that was written so. False: it was not. */
bool drill_run_read(struct drill_run *run, const struct object *drill);

#endif
