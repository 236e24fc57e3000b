#include "balancer/groups.h"

#include "balancer/model.h"

/* A question: everybody is where he is, but for the guest itself, who is nowhere, and the other one. */
struct view {
    const struct model *model;
    int guest, other, other_at;
};

static bool counts(const struct model *m, int node)
{
    return node >= 0 && !m->nodes[node].offline && !m->nodes[node].outside;
}

/* Is this one counted where it is? */
static bool is_counted(const struct model *m, int guest)
{
    return m->at[guest] >= 0 && m->up[m->at[guest]];
}

static bool is_member(const struct model *m, int guest, int group)
{
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++)
        if (m->group_of[i] == group)
            return true;
    return false;
}

static bool is_within(const struct model *m, enum model_scope scope, int node, int place)
{
    return scope == SCOPE_LOCATION ? bits_has(&m->nodes[node].locations, place)
                                   : model_place_of(m, scope, node) == place;
}

/* Members in this place as the question has it. joins: the other one is a member. */
static int members_in(const struct view *v, int group, int place, bool joins)
{
    const struct model *m = v->model;
    enum model_scope scope = m->groups[group].scope;
    int members = group_counts_at(&m->members, group, place);
    if (members && is_counted(m, v->guest))
        members -= is_within(m, scope, m->at[v->guest], place);
    if (joins && is_counted(m, v->other))
        members -= is_within(m, scope, m->at[v->other], place);
    if (joins && counts(m, v->other_at))
        members += is_within(m, scope, v->other_at, place);
    return members;
}

/* Violations of one group that the guest's being on `node` adds. */
static int cost_there(const struct view *v, int number, int node)
{
    const struct model *m = v->model;
    const struct model_group *group = &m->groups[number];
    if (!counts(m, node))
        return 0;
    bool joins = v->other >= 0 && v->other != v->guest && is_member(m, v->other, number);
    int company = 0;
    if (group->scope != SCOPE_LOCATION)
        company = members_in(v, number, model_place_of(m, group->scope, node), joins) > 0;
    for (int tag = -1; group->scope == SCOPE_LOCATION && (tag = bits_next(&m->nodes[node].locations, tag + 1)) >= 0;)
        company += members_in(v, number, tag, joins) > 0;
    if (!group->together)
        return company;
    int others = m->members.sums[number].members - is_counted(m, v->guest);
    if (joins)
        others += counts(m, v->other_at) - is_counted(m, v->other);
    return others && !company;
}

static double cost(const struct model *m, int guest, int node, int other, int other_at)
{
    struct view v = {m, guest, other, other_at};
    double sum = 0;
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++) {
        const struct model_group *group = &m->groups[m->group_of[i]];
        if (group->weight > 0)
            sum += group->weight * cost_there(&v, m->group_of[i], node);
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

static int group_cost(const struct model *m, int group)
{
    const struct group_sum *sum = &m->members.sums[group];
    if (m->groups[group].together)
        return sum->places ? sum->places - 1 : 0;
    return sum->entries - sum->places;
}

double groups_total(const struct model *m)
{
    double sum = 0;
    for (int i = 0; m->members.table && i < m->group_count; i++)
        if (m->groups[i].weight > 0)
            sum += m->groups[i].weight * group_cost(m, i);
    return sum;
}

int groups_forbid(const struct model *m, int guest, int to, int other, int other_at)
{
    struct view v = {m, guest, other, other_at};
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++)
        if (m->groups[m->group_of[i]].hard && cost_there(&v, m->group_of[i], to) > 0)
            return m->group_of[i];
    return -1;
}

int groups_broken(const struct model *m)
{
    int broken = 0;
    for (int i = 0; m->members.table && i < m->group_count; i++)
        broken += m->groups[i].hard ? group_cost(m, i) : 0;
    return broken;
}
