/* The deadline of one guest's process, on its way there: over a connection of its own, so that nothing that is asked of
 * the guest meanwhile keeps it waiting (hv/guest_lease.h).
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_GUEST_DEADLINE_H
#define NODE_AGENT_GUEST_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "node/agent/guest_link.h"

struct guest_deadline {
    struct loop *loop;
    struct guest_link *link; /* NULL: none at the moment */
    struct guest_link_handler handler;
    struct guest_call call;
    uint64_t until_ns, told_ns, asked_ns; /* wanted, answered, on its way */
    bool asking, known;                   /* known: told_ns was told to this process */
    bool frozen;                          /* as it said last */
    void (*changed)(struct guest_deadline *deadline);
};

/* deadline: all zero but for loop and changed, which runs when frozen has become another. */
void guest_deadline_init(struct guest_deadline *deadline);
/* path: the control socket of the process. until_ns: CLOCK_BOOTTIME, 0: it has none any more. Tried again with the next
 * call if the process does not answer. */
void guest_deadline_set(struct guest_deadline *deadline, const char *path, uint64_t until_ns);
/* The process is gone, or another's. */
void guest_deadline_end(struct guest_deadline *deadline);

#endif
