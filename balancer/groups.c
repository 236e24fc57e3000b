#include "balancer/groups.h"

#include "balancer/model.h"

/* Which members a question looks at: all but the guest itself, or those before it in the group. */
struct view {
    const struct model *model;
    int guest, other, other_at;
    int before; /* only the first so many members, -1: all */
};

static bool counts(const struct model *m, int node)
{
    return node >= 0 && !m->nodes[node].offline && !m->nodes[node].outside;
}

static int place_of(const struct view *v, int member)
{
    return member == v->other ? v->other_at : v->model->at[member];
}

/* Violations of one group that the guest's being on `node` adds. */
static double cost_there(const struct view *v, const struct model_group *group, int node)
{
    const struct model *m = v->model;
    if (!counts(m, node))
        return 0;
    struct bits shared = {0};
    bool company = false, anyone = false;
    int end = v->before >= 0 ? v->before : group->count;
    for (int i = 0; i < end; i++) {
        int member = group->members[i], at = member == v->guest ? -1 : place_of(v, member);
        if (!counts(m, at))
            continue;
        anyone = true;
        if (!model_same_place(m, group->scope, at, node))
            continue;
        company = true;
        if (group->scope != SCOPE_LOCATION)
            break;
        for (int w = 0; w < BITS_WORDS; w++)
            shared.word[w] |= m->nodes[at].locations.word[w] & m->nodes[node].locations.word[w];
    }
    if (group->together)
        return anyone && !company;
    return group->scope == SCOPE_LOCATION ? bits_count(&shared) : company;
}

static double cost(const struct model *m, int guest, int node, int other, int other_at)
{
    struct view v = {m, guest, other, other_at, -1};
    double sum = 0;
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++) {
        const struct model_group *group = &m->groups[m->group_of[i]];
        if (group->weight > 0)
            sum += group->weight * cost_there(&v, group, node);
    }
    return sum;
}

double groups_leave(const struct model *m, int guest, int from, int other, int other_at)
{
    return cost(m, guest, from, other, other_at);
}

double groups_enter(const struct model *m, int guest, int to, int other, int other_at)
{
    return cost(m, guest, to, other, other_at);
}

static double group_cost(const struct model *m, const struct model_group *group)
{
    double sum = 0;
    for (int i = 0; i < group->count; i++) {
        struct view v = {m, group->members[i], -1, -1, i};
        sum += cost_there(&v, group, m->at[group->members[i]]);
    }
    return sum;
}

double groups_total(const struct model *m)
{
    double sum = 0;
    for (int i = 0; i < m->group_count; i++)
        if (m->groups[i].weight > 0)
            sum += m->groups[i].weight * group_cost(m, &m->groups[i]);
    return sum;
}

int groups_forbid(const struct model *m, int guest, int to, int other, int other_at)
{
    struct view v = {m, guest, other, other_at, -1};
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++) {
        const struct model_group *group = &m->groups[m->group_of[i]];
        if (group->hard && cost_there(&v, group, to) > 0)
            return m->group_of[i];
    }
    return -1;
}

int groups_broken(const struct model *m)
{
    double broken = 0;
    for (int i = 0; i < m->group_count; i++)
        if (m->groups[i].hard)
            broken += group_cost(m, &m->groups[i]);
    return (int)broken;
}
