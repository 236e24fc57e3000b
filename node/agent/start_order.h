/* In which order guests start: each only after those that it needs (spec.ha_after) run, and a while later
 * (spec.ha_delay), when a cluster starts as a whole as after the loss of a node. What decides is a pure function; the
 * rest of the file watches who runs since when.
 *
 * A guest that is needed and cannot be started anywhere holds nobody up, nor does one that has not come up for
 * START_PATIENCE_MS: what starts without it says so. Thread: the loop's; start_order_decide() any. */
#ifndef NODE_AGENT_START_ORDER_H
#define NODE_AGENT_START_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct json_t;
struct mirror;
struct object;
struct start_order;

/* STEADY: so long it must be seen running, to count: where a whole cluster starts, states are those of before at first.
 */
enum { START_NEEDS_MAX = 8, START_STEADY_MS = 3000, START_GRACE_MS = 30000, START_PATIENCE_MS = 300000 };

struct start_need {
    const char *name;
    bool runs;
    uint64_t runs_ms;     /* for so long */
    const char *hopeless; /* why it cannot be started anywhere; NULL: it can, or may yet */
};

struct start_question {
    struct start_need needs[START_NEEDS_MAX];
    unsigned need_count;
    uint64_t delay_ms, held_ms; /* held_ms: for so long it was wanted and not started */
};

/* True: it starts now. why: what it waits for, or what it starts without; "": nothing. */
bool start_order_decide(const struct start_question *question, char *why, size_t room);

/* mirror outlives it. self: this node. NULL: out of memory. */
struct start_order *start_order_new(struct mirror *mirror, const char *self);
void start_order_free(struct start_order *order);
/* May this guest of this node, which does not run, start? No: why is set. Yes, without what it needs: why is set. */
bool start_order_may(struct start_order *order, const struct object *guest, uint64_t held_ms, struct err *why);

/* The way by which a guest would come to wait for itself, as text ("web needs db, which needs web"); false: there is
 * none. name: the guest whose specification is to be that. */
bool start_order_is_circular(const struct mirror *mirror, const char *name, const struct json_t *spec, char *text,
                             size_t room);

#endif
