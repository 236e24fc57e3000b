/* Until when this node may run protected guests, and when it may take over those of others: the rule, without a clock,
 * a store or a network of its own.
 *
 * The store lets go of a node's state TENURE_TTL_MS after the last renewal that reached it, never earlier. The node
 * counts from when it SENT the last one that was answered, and stops TENURE_MARGIN_MS before: so when the state goes,
 * and somebody may take its guests over, nothing of it has been running for a while. While the store answers nobody,
 * the other nodes may pledge to take nothing over for TENURE_PLEDGE_MS; with a pledge of every one of them, asked for
 * while the deadline is ahead, the deadline moves on.
 *
 *     NONE --state written and seen--> HELD --renewed, or pledged by all--> HELD
 *       ^                               |
 *       |                               +-- deadline passes --> PAST (guests stand) --renewed--> HELD
 *       +-- tenure_lost(): the store has let go; the deadline stands, and only a new state moves it again
 *
 * All times are nanoseconds of one clock that counts on while the machine sleeps (CLOCK_BOOTTIME). Pure; any thread. */
#ifndef NODE_AGENT_TENURE_H
#define NODE_AGENT_TENURE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TENURE_TTL_MS = 6000,    /* a pause of 5 s is survived */
    TENURE_KEEP_MS = 500,    /* between renewals */
    TENURE_MARGIN_MS = 1000, /* for clocks that differ, and for what it takes to stop */
    TENURE_ASK_MS = 1500, /* without an answer of the store: the others are asked, and again each TENURE_ASK_EVERY_MS */
    TENURE_ASK_EVERY_MS = 700,
    TENURE_PLEDGE_MS = 5000,
    TENURE_GAP_MS = 3000,    /* so long without an answer: what is seen of the others may be old */
    TENURE_STEADY_MS = 8000, /* after a gap, or a beginning: the others had time to come back, too; more than the TTL */
};

struct tenure {
    uint64_t until_ns;   /* the deadline; 0: there was none yet */
    uint64_t kept_ns;    /* when the newest renewal that was answered was sent */
    uint64_t steady_ns;  /* since when there was no gap */
    uint64_t pledged_ns; /* until then nothing is taken over */
    bool held;           /* the store has a state of this node, as far as it knows */
};

/* A state that goes with a new lease was written, and what the store had up to then was seen. sent_ns: of the newest
 * renewal (or grant) of that lease that was answered. */
void tenure_begin(struct tenure *tenure, uint64_t sent_ns, uint64_t now_ns);
/* A renewal was answered. */
void tenure_kept(struct tenure *tenure, uint64_t sent_ns, uint64_t now_ns);
/* The store has no such lease any more. */
void tenure_lost(struct tenure *tenure);

/* May protected guests run? */
bool tenure_runs(const struct tenure *tenure, uint64_t now_ns);
/* Does the store leave it without an answer, so that the others should be asked? */
bool tenure_asks(const struct tenure *tenure, uint64_t now_ns);
/* All other nodes have pledged, in answer to what was sent to them at asked_ns or later. False: too late. */
bool tenure_extend(struct tenure *tenure, uint64_t asked_ns, uint64_t now_ns);
/* Somebody asks this node. False: the store answers it, so it pledges nothing. */
bool tenure_pledge(struct tenure *tenure, uint64_t now_ns);

/* May it start a guest that another node may have had? */
bool tenure_starts(const struct tenure *tenure, uint64_t now_ns);
/* May it take guests over? NULL: yes; else why not. */
const char *tenure_forbids(const struct tenure *tenure, uint64_t now_ns);

#endif
