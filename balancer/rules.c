#include "balancer/rules.h"

#include "balancer/ganeti_rules.h"
#include "balancer/groups.h"
#include "balancer/model.h"
#include "balancer/policy.h"

const char *rules_text(enum rule rule)
{
    static const char *const texts[RULE_COUNT] = {
        [RULE_NONE] = "allowed",
        [RULE_MEMORY] = "not enough memory",
        [RULE_DISK] = "not enough disk",
        [RULE_VCPUS] = "too many vCPUs for its threads",
        [RULE_SPINDLES] = "too many disks for its spindles",
        [RULE_RESERVE] = "the room for a node's failure would be gone",
        [RULE_APART] = "another member of a group that stays apart",
        [RULE_TOGETHER] = "away from the group it stays with",
        [RULE_CPU_MODEL] = "the CPU model is not offered",
        [RULE_NETWORK] = "a network is not reached",
        [RULE_POOL] = "a storage pool is not reached",
        [RULE_PIN] = "not one of the nodes it is pinned to, one it avoids, or one without a copy of what it boots from",
        [RULE_NODE_CLOSED] = "the node takes no guests",
        [RULE_NODE_STALE] = "no fresh measurements of the node",
        [RULE_MIGRATION] = "no migration between these nodes",
        [RULE_FIXED] = "the guest may not move",
        [RULE_UNSEEN] = "a guest of the node is not measured yet",
        [RULE_FILLED] = "enough guests have come to the node within the hour",
        [RULE_HELD] = "balancing is off, or only advised, for it or for the node",
        [RULE_SAME] = "it is there",
    };
    return texts[rule];
}

const char *rules_text_of(const struct model *m, int guest, enum rule rule)
{
    int fixed = m->guests[guest].fixed;
    return rule == RULE_FIXED && fixed ? m->reasons.text[fixed - 1] : rules_text(rule);
}

enum rule rules_movable(const struct model *m, int guest)
{
    const struct model_guest *g = &m->guests[guest];
    int n = m->at[guest];
    if (n >= 0 && m->nodes[n].outside)
        return RULE_FIXED;
    if (!g->movable || (g->planned && m->family == MODEL_DROVER))
        return RULE_FIXED;
    if (n >= 0 && m->nodes[n].stale && !m->nodes[n].offline)
        return RULE_NODE_STALE;
    return g->held ? RULE_HELD : RULE_NONE;
}

static bool reaches(const struct model_guest *g, const struct model_node *n, enum rule *rule)
{
    static const struct bits none;
    *rule = !bits_within(&g->networks, &n->networks)                                             ? RULE_NETWORK
            : !bits_within(&g->pools, &n->pools)                                                 ? RULE_POOL
            : !bits_equal(&g->cpu_models, &none) && !bits_shared(&g->cpu_models, &n->cpu_models) ? RULE_CPU_MODEL
                                                                                                 : RULE_NONE;
    return *rule == RULE_NONE;
}

bool rules_reach(const struct model *m, const struct model_guest *g, int node)
{
    enum rule rule;
    return reaches(g, &m->nodes[node], &rule) && !model_is_pinned_away(g, node);
}

/* Memory of all guests together. */
static double memory_limit(const struct model_node *n, const struct policy *p)
{
    double limit = p->memory_limit < 1 ? p->memory_limit * n->memory - n->memory_own : n->free_at_load;
    return limit < n->free_at_load ? limit : n->free_at_load;
}

static double vcpu_limit(const struct model_node *n, const struct policy *p)
{
    return (n->vcpu_ratio > 0 ? n->vcpu_ratio : p->vcpu_ratio) * n->vcpus;
}

void rules_room(const struct model *m, const struct policy *p, int node, double *memory, double *vcpus, double *disk)
{
    const struct model_node *n = &m->nodes[node];
    *memory = memory_limit(n, p) - m->sum[node][SUM_MEMORY] - m->held[node][SUM_MEMORY];
    *vcpus = vcpu_limit(n, p) - n->vcpus_own - m->sum[node][SUM_VCPUS] - m->held[node][SUM_VCPUS];
    *disk = model_disk_free(m, node);
}

/* Capacity with what the guest brings; `change` is what another guest's step brought or took before. */
static enum rule capacity(const struct model *m, const struct policy *p, int guest, int at, const double *change)
{
    const struct model_node *n = &m->nodes[at];
    const double *use = m->use[guest];
    double more[SUM_COUNT] = {0};
    for (int k = SUM_MEMORY; change && k <= SUM_SPINDLES; k++)
        more[k] = change[k];
    double memory = m->sum[at][SUM_MEMORY] + m->held[at][SUM_MEMORY] + more[SUM_MEMORY] + use[SUM_MEMORY];
    if (memory > memory_limit(n, p))
        return RULE_MEMORY;
    if (use[SUM_DISK] > 0 &&
        m->sum[at][SUM_DISK] + m->held[at][SUM_DISK] + more[SUM_DISK] + use[SUM_DISK] > n->disk_at_load)
        return RULE_DISK;
    double vcpus = m->sum[at][SUM_VCPUS] + m->held[at][SUM_VCPUS] + more[SUM_VCPUS] + use[SUM_VCPUS] + n->vcpus_own;
    return vcpus > vcpu_limit(n, p) ? RULE_VCPUS : RULE_NONE;
}

static enum rule check_drover(const struct model *m, const struct policy *p, int guest, int at, int other, int other_at)
{
    const struct model_guest *g = &m->guests[guest];
    double change[SUM_COUNT] = {0};
    if (other >= 0)
        for (int k = 0; k <= SUM_SPINDLES; k++)
            change[k] = m->at[other] == at ? -m->use[other][k] : other_at == at ? m->use[other][k] : 0;
    enum rule rule = capacity(m, p, guest, at, other >= 0 ? change : NULL);
    if (rule != RULE_NONE || !reaches(g, &m->nodes[at], &rule))
        return rule;
    if (model_is_pinned_away(g, at))
        return RULE_PIN;
    int group = groups_forbid(m, guest, at, other, other_at);
    if (group < 0)
        return RULE_NONE;
    return m->groups[group].together ? RULE_TOGETHER : RULE_APART;
}

static enum rule check(const struct model *m, const struct policy *p, int guest, int at, int mirror, int other,
                       int other_at)
{
    if (at < 0)
        return RULE_NODE_CLOSED;
    if (at == m->at[guest] && mirror == m->mirror[guest])
        return RULE_SAME;
    const struct model_node *n = &m->nodes[at];
    if (at != m->at[guest] && (n->offline || n->outside))
        return RULE_NODE_CLOSED;
    if (mirror >= 0 && mirror != m->mirror[guest] && mirror != m->at[guest] &&
        (m->nodes[mirror].offline || m->nodes[mirror].outside))
        return RULE_NODE_CLOSED;
    if (n->stale)
        return RULE_NODE_STALE;
    if (n->held && at != m->at[guest])
        return RULE_HELD;
    bool must = model_must_go(m, guest);
    if (n->unseen && at != m->at[guest] && !must)
        return RULE_UNSEEN;
    if (p->into_per_hour && at != m->at[guest] && at != m->home[guest] && !must &&
        n->arrived + m->came[at] >= p->into_per_hour)
        return RULE_FILLED;
    if (m->family == MODEL_GANETI)
        return ganeti_rules_check(m, guest, at, mirror, other, other_at);
    return check_drover(m, p, guest, at, other, other_at);
}

enum rule rules_check(const struct model *m, const struct policy *p, int guest, int at, int mirror)
{
    return check(m, p, guest, at, mirror, -1, -1);
}

enum rule rules_check_after(const struct model *m, const struct policy *p, int guest, int at, int other, int other_at)
{
    return check(m, p, guest, at, m->mirror[guest], other, other_at);
}

/* What the guest's own place says of it, as if it came there anew. */
static bool breaks_where_it_is(const struct model *m, int guest)
{
    const struct model_guest *g = &m->guests[guest];
    int at = m->at[guest];
    return at < 0 || !rules_reach(m, g, at);
}

int rules_broken(const struct model *m, const struct policy *p)
{
    int broken = groups_broken(m);
    for (int n = 0; n < m->node_count; n++) {
        const struct model_node *node = &m->nodes[n];
        if (node->offline || node->outside)
            continue;
        broken += model_memory_free(m, n) < 0;
        broken += m->sum[n][SUM_DISK] > 0 && model_disk_free(m, n) < 0;
        broken += m->sum[n][SUM_VCPUS] + m->held[n][SUM_VCPUS] + node->vcpus_own > vcpu_limit(node, p);
    }
    for (int g = 0; m->family == MODEL_DROVER && g < m->guest_count; g++)
        broken += breaks_where_it_is(m, g);
    return broken;
}
