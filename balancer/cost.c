#include "balancer/cost.h"

#include <stdlib.h>

#include "balancer/model.h"
#include "balancer/policy.h"

static const double MIB = 1048576, SWITCH_S = 0.02; /* to stop here and start there */

static double link_between(const struct model *m, const struct policy *p, int from, int to)
{
    double speed = p->link_bytes_per_s;
    int ends[] = {from, to};
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0 && m->nodes[ends[i]].link_bytes_per_s > 0 && m->nodes[ends[i]].link_bytes_per_s < speed)
            speed = m->nodes[ends[i]].link_bytes_per_s;
    return speed;
}

struct cost cost_migration(const struct model *m, const struct policy *p, int guest, int from, int to)
{
    const struct model_guest *g = &m->guests[guest];
    struct cost cost = {0};
    if (from < 0 || to < 0 || from == to || g->state != GUEST_RUNNING)
        return cost;
    double link = link_between(m, p, from, to), memory = g->memory * MIB, left = memory;
    double written = g->dirty_bytes_per_s < link ? g->dirty_bytes_per_s : link;
    for (int round = 0; round < COST_ROUNDS_MAX && left / link > p->downtime_s; round++) {
        double seconds = left / link;
        cost.bytes += left;
        cost.seconds += seconds;
        double dirty = g->dirty_bytes_per_s * seconds;
        left = dirty < memory ? dirty : memory;
        if (written >= link && round > 2) /* it never gets less */
            break;
    }
    cost.bytes += left;
    cost.downtime_s = left / link + SWITCH_S;
    cost.seconds += cost.downtime_s;
    return cost;
}

double cost_threshold(const struct model *m, const struct policy *p, int guest, int nodes)
{
    struct cost c = cost_migration(m, p, guest, 0, m->node_count > 1 ? 1 : 0);
    double price = p->move_cost + p->second_cost * c.seconds + p->downtime_cost * c.downtime_s +
                   p->gib_cost * c.bytes / (1024 * MIB);
    return price / p->stable_s / (nodes > 0 ? nodes : 1);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double cost_learn_speed(double *speeds, int count)
{
    if (!count)
        return 0;
    qsort(speeds, (size_t)count, sizeof *speeds, compare);
    return count % 2 ? speeds[count / 2] : (speeds[count / 2 - 1] + speeds[count / 2]) / 2;
}
