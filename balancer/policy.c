#include "balancer/policy.h"

enum { DAY_MINUTES = 24 * 60 };

struct policy policy_default(void)
{
    return (struct policy){
        .weight = {[RESOURCE_CPU] = 1, [RESOURCE_MEMORY] = 0.5, [RESOURCE_DISK] = 0.5, [RESOURCE_NETWORK] = 0.5},
        .reserved_weight = 0.25,
        .overload_limit = 0.8,
        .overload_weight = 30,
        .drain_weight = 10,
        .group_weight = 1,
        .error_factor = 0.9,
        .vcpu_ratio = 8,
        .memory_limit = 1,
        .lose = 1,
        .move_cost = 300,
        .second_cost = 0.1,
        .downtime_cost = 10,
        .gib_cost = 0.01,
        .stable_s = 3600,
        .link_bytes_per_s = 1e9,
        .downtime_s = 0.3,
        .enter = 0.05,
        .leave = 0.02,
        .cool_down_s = 1800,
        .return_s = 4 * 3600,
        .stale_s = 600,
        .parallel = 8,
        .per_node = 2,
        .moves_max = 100000,
        .into_per_hour = 30,
        .per_hour = 60,
        .consolidate =
            {.limit = {[RESOURCE_CPU] = 0.7, [RESOURCE_MEMORY] = 0.85, [RESOURCE_DISK] = 0.7, [RESOURCE_NETWORK] = 0.7},
             .wake =
                 {[RESOURCE_CPU] = 0.85, [RESOURCE_MEMORY] = 0.95, [RESOURCE_DISK] = 0.85, [RESOURCE_NETWORK] = 0.85},
             .keep = 2,
             .lose = 1},
    };
}

void policy_learn_link(struct policy *p, double bytes_per_s)
{
    if (bytes_per_s > 0 && !p->link_is_said)
        p->link_bytes_per_s = bytes_per_s;
}

struct policy policy_ganeti(void)
{
    struct policy p = policy_default();
    p.move_cost = p.second_cost = p.downtime_cost = p.gib_cost = 0;
    p.enter = p.leave = 0;
    p.cool_down_s = p.return_s = 0;
    p.lose = p.into_per_hour = 0;
    return p;
}

bool policy_is_quiet(const struct policy *p, int64_t wall_s)
{
    int minute = (int)(wall_s / 60 % DAY_MINUTES);
    if (p->quiet_from <= p->quiet_to)
        return minute >= p->quiet_from && minute < p->quiet_to;
    return minute >= p->quiet_from || minute < p->quiet_to;
}

void policy_price(struct policy *p, double factor)
{
    p->move_cost *= factor;
    p->second_cost *= factor;
    p->downtime_cost *= factor;
    p->gib_cost *= factor;
}
