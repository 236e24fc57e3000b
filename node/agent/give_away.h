/* A protected guest whose node lives but cannot run it: whether its agent gives it to another node, and to which. A
 * pure function of what is seen; node/agent/give_aways.c looks and acts.
 *
 *     it runs --trouble--> STAYS --GIVE_AWAY_AFTER_MS--> WAITS, with the reason, or
 *                                                        ENDS (what is left of it here) --ended--> GIVES
 *
 * Never to and fro: a target has to say itself that it reaches enough of the guest's volumes, the cool-down of
 * take-overs holds and doubles, and a guest that has used up its restarts is given away for that once, until somebody
 * asks for its start anew.
 *
 * Thread: any; the caller's memory alone. */
#ifndef NODE_AGENT_GIVE_AWAY_H
#define NODE_AGENT_GIVE_AWAY_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/failover.h"

enum {
    GIVE_AWAY_AFTER_MS = 30000,
    GIVE_AWAY_ASK_MS = 5000, /* the others are asked what they reach by then */
};

enum give_away_cause {
    GIVE_AWAY_NONE,
    GIVE_AWAY_NO_START, /* it should run, and each start fails or cannot begin */
    GIVE_AWAY_CRASHES,  /* its process ended by itself until its attempts were used up */
    GIVE_AWAY_VOLUMES,  /* it runs, and none of its volumes takes requests */
    GIVE_AWAY_CAUSES
};

/* What a node says it reaches, by disk of the guest: members, 1 << index, and the witness. */
struct give_away_reach {
    uint16_t members[FAILOVER_DISKS_MAX];
    bool witness[FAILOVER_DISKS_MAX];
};

struct give_away_case {
    enum give_away_cause cause;
    uint64_t for_ms;       /* without a break */
    bool ended;            /* nothing of it is left on this node */
    bool is_repeated;      /* it was given away for this cause already, and nobody has asked for its start since */
    bool migrates;         /* or somebody else is to decide where it goes */
    const char *drill;     /* name of one that has this node, or this guest; NULL: none */
    const char *forbidden; /* why this node cannot be sure of its place (tenure.h); NULL: it is */
    const struct give_away_reach *reach; /* as many as the view has nodes */
};

enum give_away_verdict {
    GIVE_AWAY_STAYS, /* nothing is wrong, or not for long enough */
    GIVE_AWAY_WAITS, /* it would be given away; see reason */
    GIVE_AWAY_ENDS,  /* its process is to end first */
    GIVE_AWAY_GIVES, /* to the target, now */
};

struct give_away_decision {
    enum give_away_verdict verdict;
    int target;         /* of ENDS and GIVES */
    const char *reason; /* of WAITS: a constant sentence, or the case's; "" */
};

/* guest: of the view, by whatever index; cool_ms is looked at. */
struct give_away_decision give_away_decide(const struct failover_view *view, const struct failover_guest *guest,
                                           const struct give_away_case *seen);

const char *give_away_cause_name(enum give_away_cause cause); /* "no-start", "crashes", "volumes"; "" */

#endif
