/* When a search of a command must end, by the clock: what its budget asks (search.h, consolidate.h). Threads: one at a
 * time. */
#ifndef BALANCER_DEADLINE_H
#define BALANCER_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

struct deadline {
    uint64_t budget_ns;      /* from its beginning to its end */
    uint64_t end_ns, all_ns; /* all_ns: of several searches that share the time */
};

/* From now on; of several searches each is begun by deadline_share(). */
void deadline_begin(struct deadline *deadline, uint64_t budget_ns);

/* For budgets, data being the deadline. */
bool deadline_is_over(void *data);
bool deadline_is_half_over(void *data);
/* Before each of the searches: it has as much of what is left as each of the `left` that are to come, itself one. */
void deadline_share(void *data, int left);

#endif
