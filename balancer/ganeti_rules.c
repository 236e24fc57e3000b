/* A node is looked at as a small copy of its sums, from which the guest was taken first; then it is put where it is to
 * go, in the order in which Ganeti would do it, because a replicated instance passes through its second node. */
#include "balancer/ganeti_rules.h"

#include <string.h>

#include "balancer/groups.h"
#include "balancer/model.h"

struct look {
    const struct model *m;
    int node;
    double sum[SUM_COUNT];
    double reserved;
    bool failing; /* has too little memory for its mirrors already */
};

static double memory_free(const struct look *l)
{
    return l->m->nodes[l->node].free_at_load - l->sum[SUM_MEMORY];
}

static struct look look_at(const struct model *m, int node)
{
    struct look l = {.m = m, .node = node, .reserved = m->reserved[node]};
    for (int k = 0; k < SUM_COUNT; k++)
        l.sum[k] = m->sum[node][k] + m->held[node][k];
    l.failing = memory_free(&l) <= l.reserved;
    return l;
}

static void change(struct look *l, const double *row, double sign)
{
    for (int k = 0; k < SUM_COUNT; k++)
        l->sum[k] += sign * row[k];
}

static double reserve_of(const struct model *m, int guest)
{
    const struct model_guest *g = &m->guests[guest];
    return g->state != GUEST_OFFLINE && g->balanced && !g->planned ? g->memory : 0;
}

/* The largest reserve of this node with one entry changed. */
static double reserved_with(const struct model *m, int node, int primary, double more)
{
    if (!m->peers)
        return 0;
    const double *row = m->peers + (size_t)node * (size_t)m->node_count;
    double changed = row[primary] + more;
    if (changed >= m->reserved[node] || row[primary] < m->reserved[node])
        return changed > m->reserved[node] ? changed : m->reserved[node];
    double largest = changed;
    for (int i = 0; i < m->node_count; i++)
        if (i != primary && row[i] > largest)
            largest = row[i];
    return largest;
}

static void take_primary(struct look *l, int guest)
{
    change(l, l->m->use[guest], -1);
    if (!l->m->guests[guest].planned)
        l->failing = memory_free(l) <= l->reserved;
}

static void take_mirror(struct look *l, int guest)
{
    change(l, l->m->copy[guest], -1);
    l->reserved = reserved_with(l->m, l->node, l->m->at[guest], -reserve_of(l->m, guest));
    if (!l->m->guests[guest].planned)
        l->failing = memory_free(l) <= l->reserved;
}

/* Limits that count what is only planned, too. */
static enum rule check_planned(const struct look *l, bool disk, bool mirror, double memory)
{
    const struct model_node *n = &l->m->nodes[l->node];
    double free = n->planned_at_load - l->sum[SUM_PLANNED_MEMORY];
    if (mirror ? memory >= free : free <= 0)
        return RULE_MEMORY;
    if (disk && n->disk_at_load - l->sum[SUM_PLANNED_DISK] <= 0)
        return RULE_DISK;
    if (disk && !n->exclusive_storage && l->sum[SUM_PLANNED_SPINDLES] > n->spindle_ratio * n->spindles)
        return RULE_SPINDLES;
    if (!mirror && (l->sum[SUM_PLANNED_VCPUS] + n->vcpus_own) / n->vcpus > n->vcpu_ratio)
        return RULE_VCPUS;
    return RULE_NONE;
}

static enum rule put_primary(struct look *l, int guest, bool force)
{
    const struct model_guest *g = &l->m->guests[guest];
    const struct model_node *n = &l->m->nodes[l->node];
    change(l, l->m->use[guest], 1);
    if (g->planned)
        return force ? RULE_NONE : check_planned(l, g->local, false, 0);
    double free = memory_free(l);
    bool fails = free <= l->reserved;
    if (free <= 0)
        return RULE_MEMORY;
    if (g->local && n->disk_at_load - l->sum[SUM_DISK] <= 0)
        return RULE_DISK;
    if (!force && g->local && !n->exclusive_storage && l->sum[SUM_SPINDLES] > n->spindle_ratio * n->spindles)
        return RULE_SPINDLES;
    if (!force && fails && !l->failing)
        return RULE_RESERVE;
    if (!force && (l->sum[SUM_VCPUS] + n->vcpus_own) / n->vcpus > n->vcpu_ratio)
        return RULE_VCPUS;
    l->failing = fails;
    return force ? RULE_NONE : check_planned(l, g->local, false, 0);
}

static enum rule put_mirror(struct look *l, int guest, int primary, bool force, bool same_row)
{
    const struct model *m = l->m;
    const struct model_guest *g = &m->guests[guest];
    const struct model_node *n = &m->nodes[l->node];
    double needed = reserve_of(m, guest);
    double before = same_row ? l->reserved : m->reserved[l->node]; /* its own entry was taken from the row */
    double entry = m->peers[(size_t)l->node * (size_t)m->node_count + (size_t)primary];
    double reserved = entry + needed > before ? entry + needed : before;
    change(l, m->copy[guest], 1);
    double free = memory_free(l), needs = g->state != GUEST_OFFLINE && g->balanced ? g->memory : 0;
    if (!g->planned) {
        if (n->disk_at_load - l->sum[SUM_DISK] <= 0)
            return RULE_DISK;
        if (!force && !n->exclusive_storage && l->sum[SUM_SPINDLES] > n->spindle_ratio * n->spindles)
            return RULE_SPINDLES;
        if (!force && needs >= free)
            return RULE_MEMORY;
        if (!force && free <= reserved && !l->failing)
            return RULE_RESERVE;
    }
    return force ? RULE_NONE : check_planned(l, true, true, needs);
}

static bool may_migrate(const struct model *m, int from, int to)
{
    return bits_within(&m->nodes[from].migration_from, &m->nodes[to].migration_to);
}

static enum rule first_of(enum rule a, enum rule b)
{
    return a != RULE_NONE ? a : b;
}

/* A guest with one node only. */
static enum rule check_plain(const struct model *m, int guest, int at, bool force, int other, int other_at)
{
    struct look to = look_at(m, at);
    if (other >= 0 && m->at[other] == at)
        take_primary(&to, other);
    else if (other >= 0 && other_at == at)
        change(&to, m->use[other], 1);
    return put_primary(&to, guest, force);
}

static enum rule check_mirrored(const struct model *m, int guest, int at, int mirror)
{
    int p = m->at[guest], s = m->mirror[guest];
    bool force_p = m->nodes[p].offline, force_s = m->nodes[s].offline;
    struct look was_p = look_at(m, p), was_s = look_at(m, s);
    take_primary(&was_p, guest);
    take_mirror(&was_s, guest);
    if (at == s && mirror == p) /* failover */
        return first_of(put_primary(&was_s, guest, force_p), put_mirror(&was_p, guest, s, false, false));
    if (at == p) { /* another disk */
        struct look to = look_at(m, mirror);
        return first_of(put_mirror(&to, guest, p, force_s, false), put_primary(&was_p, guest, true));
    }
    if (at == s) { /* failover, then another disk */
        struct look to = look_at(m, mirror);
        return first_of(put_primary(&was_s, guest, force_p), put_mirror(&to, guest, s, force_p, false));
    }
    struct look to = look_at(m, at);
    if (mirror == p) /* another disk, then failover to it */
        return first_of(put_primary(&to, guest, false), put_mirror(&was_p, guest, at, force_s, false));
    if (mirror != s)
        return RULE_FIXED;       /* both nodes at once: no such step */
    struct look through = was_s; /* failover, another disk, failover back to it */
    enum rule rule = first_of(put_primary(&through, guest, force_p), put_primary(&to, guest, force_p));
    return first_of(rule, put_mirror(&was_s, guest, at, force_p, true));
}

static bool migration_allowed(const struct model *m, int guest, int at, int mirror)
{
    int p = m->at[guest], s = m->mirror[guest];
    if (p < 0 || at == p)
        return true;
    bool through = s >= 0 && at != s && mirror == s;
    return through ? may_migrate(m, p, s) && may_migrate(m, s, at) : may_migrate(m, p, at);
}

enum rule ganeti_rules_check(const struct model *m, int guest, int at, int mirror, int other, int other_at)
{
    int p = m->at[guest];
    if (!migration_allowed(m, guest, at, mirror))
        return RULE_MIGRATION;
    bool force = p >= 0 && m->nodes[p].offline;
    enum rule rule = m->mirror[guest] >= 0 ? check_mirrored(m, guest, at, mirror)
                                           : check_plain(m, guest, at, force, other, other_at);
    if (rule != RULE_NONE || at == p || force)
        return rule;
    return groups_forbid(m, guest, at, other, other_at) >= 0 ? RULE_APART : RULE_NONE;
}
