#include "balancer/deadline.h"

#include "node/base/clock.h"

void deadline_begin(struct deadline *d, uint64_t budget_ns)
{
    d->budget_ns = budget_ns;
    d->end_ns = d->all_ns = clock_ns() + budget_ns;
}

bool deadline_is_over(void *data)
{
    const struct deadline *d = data;
    return clock_ns() >= d->end_ns;
}

bool deadline_is_half_over(void *data)
{
    const struct deadline *d = data;
    return clock_ns() + d->budget_ns / 2 >= d->end_ns;
}

void deadline_share(void *data, int left)
{
    struct deadline *d = data;
    uint64_t now = clock_ns();
    d->end_ns = now + (now < d->all_ns ? (d->all_ns - now) / (unsigned)left : 0);
}
