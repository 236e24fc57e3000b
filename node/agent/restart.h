/* Whether a guest that crashed, panicked or hung is started again: a policy, what has happened so far, and the answer.
 *
 *     restart_judge() -> AGAIN, after the delay          what happened is counted
 *                     -> KEEP                            it is left as it is
 *                     -> STOP, GIVE_UP                   it stays down until somebody starts it (restart_forgive())
 *
 * What has happened is kept in the guest's state, so that another agent, or another node, goes on counting:
 *
 *     {"count": N, "at": "2026-11-26T...", "reason": "panicked", "recent": N, "down": false, "asked": "..."}
 *
 * Thread: any; the caller's memory alone. */
#ifndef NODE_AGENT_RESTART_H
#define NODE_AGENT_RESTART_H

#include <stdbool.h>
#include <stdint.h>

#include "node/base/timestamp.h"

struct err;
struct json_t;

enum restart_cause { RESTART_CRASHED, RESTART_PANICKED, RESTART_HUNG, RESTART_CAUSES };
enum restart_answer { RESTART_AGAIN, RESTART_STOP, RESTART_KEEP, RESTART_GIVE_UP };
enum { RESTART_ATTEMPTS = 5, RESTART_ATTEMPTS_MAX = 100, RESTART_WINDOW_MS = 600000, RESTART_DELAY_MS = 1000 };

struct restart_policy {
    enum restart_answer on[RESTART_CAUSES];
    unsigned attempts; /* within the window; 0: as many as it takes */
    uint64_t window_ms, delay_ms;
};

struct restart_record {
    unsigned count;                       /* restarts since it was made */
    uint64_t at_ms[RESTART_ATTEMPTS_MAX]; /* of the last ones, a ring */
    unsigned recent;                      /* places of it that are used */
    char at[TIMESTAMP_BYTES];             /* of the last one; "": none */
    enum restart_cause cause;             /* of the last one, or of what it is down for */
    bool down;                            /* it is not to be started again */
    char asked[TIMESTAMP_BYTES];          /* when somebody last asked for its start, as that was known then */
};

/* plan: members "restart", "on_crash", "on_panic", "on_hang", "restart_attempts", "restart_window", "restart_delay";
 * what is not there is as the constants say. */
struct restart_policy restart_policy_of(const struct json_t *plan);
/* now_ms: of a clock that only goes on. asked: the plan's "started". */
enum restart_answer restart_judge(struct restart_record *record, const struct restart_policy *policy,
                                  enum restart_cause cause, const char *asked, uint64_t now_ms);
/* Somebody has asked for its start since: attempts begin anew. True if it was down. */
bool restart_forgive(struct restart_record *record, const char *asked);
/* A sentence: why it stays down. */
void restart_explain(const struct restart_record *record, const struct restart_policy *policy, struct err *err);

const char *restart_cause_name(enum restart_cause cause);
/* What a guest's process calls its trouble; RESTART_CAUSES: none. */
enum restart_cause restart_cause_of(const char *trouble);

struct json_t *restart_record_json(const struct restart_record *record); /* a new object */
/* From there; what is not as written above is as if it had not happened. */
void restart_record_read(struct restart_record *record, const struct json_t *json, uint64_t now_ms);

#endif
