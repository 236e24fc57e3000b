#include "balancer/cost.h"

#include <stdlib.h>

#include "balancer/model.h"
#include "balancer/policy.h"

static const double MIB = 1048576;

double cost_link(const struct model *m, const struct policy *p, int from, int to)
{
    double speed = p->link_bytes_per_s;
    int ends[] = {from, to};
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0 && m->nodes[ends[i]].link_bytes_per_s > 0 && m->nodes[ends[i]].link_bytes_per_s < speed)
            speed = m->nodes[ends[i]].link_bytes_per_s;
    return speed;
}

double cost_link_of(const struct model *m, const struct policy *p, int node)
{
    return m->nodes[node].link_bytes_per_s > 0 ? m->nodes[node].link_bytes_per_s : p->link_bytes_per_s;
}

struct cost_copy cost_copy_begin(const struct model *m, int guest)
{
    const struct model_guest *g = &m->guests[guest];
    double disk = g->local && !g->mirrored ? g->disk * MIB : 0;
    return (struct cost_copy){
        .memory = g->memory * MIB, .dirty_bytes_per_s = g->dirty_bytes_per_s, .left = g->memory * MIB + disk};
}

bool cost_copy_goes_on(const struct cost_copy *c, const struct policy *p, double rate)
{
    return c->round < COST_ROUNDS_MAX && !c->stuck && c->left / rate > p->downtime_s;
}

void cost_copy_round(struct cost_copy *c, double seconds, double rate)
{
    double dirty = c->dirty_bytes_per_s * seconds;
    c->left = dirty < c->memory ? dirty : c->memory;
    c->stuck = c->dirty_bytes_per_s >= rate && c->round > 2; /* it never gets less */
    c->round++;
}

struct cost cost_migration(const struct model *m, const struct policy *p, int guest, int from, int to)
{
    struct cost cost = {0};
    if (from < 0 || to < 0 || from == to || m->guests[guest].state != GUEST_RUNNING)
        return cost;
    double link = cost_link(m, p, from, to);
    struct cost_copy copy = cost_copy_begin(m, guest);
    while (cost_copy_goes_on(&copy, p, link)) {
        double seconds = copy.left / link;
        cost.bytes += copy.left;
        cost.seconds += seconds;
        cost_copy_round(&copy, seconds, link);
    }
    cost.bytes += copy.left;
    cost.downtime_s = copy.left / link + COST_SWITCH_S;
    cost.seconds += cost.downtime_s;
    return cost;
}

double cost_price(const struct model *m, const struct policy *p, int guest, int from, int to, int nodes)
{
    struct cost c = cost_migration(m, p, guest, from, to);
    bool must = from < 0 || m->nodes[from].offline;
    if (m->family == MODEL_DROVER && c.seconds > p->stable_s && !must)
        return COST_TOO_LONG;
    double price = p->move_cost + p->second_cost * c.seconds + p->downtime_cost * c.downtime_s +
                   p->gib_cost * c.bytes / (1024 * MIB);
    return price / p->stable_s / (nodes > 0 ? nodes : 1);
}

double cost_threshold(const struct model *m, const struct policy *p, int guest, int nodes)
{
    int from = m->at[guest], best = from;
    double widest = -1;
    /* few have links of their own: the first one that has none is as wide as any */
    for (int n = 0; n < m->node_count && widest < p->link_bytes_per_s; n++) {
        double link = n == from ? -1 : cost_link_of(m, p, n);
        if (link > widest) {
            widest = link;
            best = n;
        }
    }
    return cost_price(m, p, guest, from, best, nodes);
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
