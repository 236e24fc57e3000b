#include "balancer/explain.h"

#include <stdio.h>

#include "balancer/policy.h"

static bool comes_back(const struct model_guest *g, const struct policy *p, int node)
{
    double ago = model_left_ago(g, node);
    return ago >= 0 && ago < p->return_s;
}

/* The best node that the rules allow, and how many better ones they do not. */
static void look_around(const struct score *s, int guest, struct explain *e, double *forbidden_gain)
{
    const struct model *m = s->model;
    double value = score_value(s);
    int reasons[RULE_COUNT] = {0};
    for (int n = 0; n < m->node_count; n++) {
        if (n == m->at[guest] || n == m->mirror[guest] || m->nodes[n].outside)
            continue;
        double gain = value - score_after(s, guest, n, m->mirror[guest]);
        enum rule rule = rules_check(m, s->policy, guest, n, m->mirror[guest]);
        if (rule != RULE_NONE) {
            reasons[rule] += gain > e->price;
            *forbidden_gain = gain > *forbidden_gain ? gain : *forbidden_gain;
        } else if (e->node < 0 || gain > e->gain) {
            e->node = n;
            e->gain = gain;
        }
    }
    for (int r = 1; r < RULE_COUNT; r++) {
        e->nodes_refused += reasons[r];
        if (reasons[r] && (e->rule == RULE_NONE || reasons[r] > reasons[e->rule]))
            e->rule = (enum rule)r;
    }
}

struct explain explain_guest(const struct score *s, const struct model *before, const struct plan *plan, int guest)
{
    const struct model *m = s->model;
    const struct model_guest *g = &m->guests[guest];
    struct explain e = {.node = -1, .price = cost_threshold(m, s->policy, guest, s->up)};
    bool lost = plan->at[guest] < 0;
    if (!lost && (plan->at[guest] != before->at[guest] || plan->mirror[guest] != before->mirror[guest])) {
        e.kind = EXPLAIN_MOVED;
        e.node = plan->at[guest];
        for (int i = 0; i < plan->count; i++) {
            e.gain += plan->moves[i].guest == guest ? plan->moves[i].gain : 0;
            if (plan->moves[i].guest == guest && !plan->moves[i].parking)
                e.reason = plan->moves[i].reason;
        }
        return e;
    }
    e.rule = rules_movable(m, guest);
    if (e.rule != RULE_NONE) {
        e.kind = EXPLAIN_FIXED;
        return e;
    }
    double forbidden = 0;
    look_around(s, guest, &e, &forbidden);
    if (e.node >= 0 && m->at[guest] >= 0)
        e.price = cost_price(m, s->policy, guest, m->at[guest], e.node, s->up);
    bool resting = g->moved_ago_s >= 0 && g->moved_ago_s < s->policy->cool_down_s;
    if (m->family == MODEL_DROVER && !g->measured)
        e.kind = EXPLAIN_UNMEASURED;
    else if (resting)
        e.kind = EXPLAIN_RESTING;
    else if (e.node >= 0 && e.gain > e.price + 1e-6)
        e.kind = comes_back(g, s->policy, e.node)  ? EXPLAIN_RETURN
                 : plan->kept && plan->kept[guest] ? EXPLAIN_ROOM
                 : plan->why == PLAN_BALANCED      ? EXPLAIN_BALANCED
                                                   : EXPLAIN_LATER;
    else if (e.nodes_refused && forbidden > e.price)
        e.kind = EXPLAIN_RULES;
    else
        e.kind = e.node >= 0 && e.gain > 0 ? EXPLAIN_COST : EXPLAIN_BEST;
    return e;
}

static const char *sake(enum score_reason reason)
{
    static const char *const texts[REASON_COUNT] = {
        [REASON_CPU] = "most of it for the processors",
        [REASON_MEMORY] = "most of it for the memory that is used",
        [REASON_DISK] = "most of it for the disks",
        [REASON_NETWORK] = "most of it for the networks",
        [REASON_RESERVED] = "most of it for what is given out",
        [REASON_GROUPS] = "most of it for its groups",
        [REASON_PLACE] = "because it cannot stay where it is",
    };
    return texts[reason];
}

char *explain_text(const struct explain *e, const struct model *m, int guest, char *buffer, size_t len)
{
    const char *name = model_guest_name(m, guest), *node = model_node_name(m, e->node);
    const char *here = model_node_name(m, m->at[guest]);
    switch (e->kind) {
    case EXPLAIN_MOVED:
        snprintf(buffer, len, "%s moves to %s: the score falls by %.6f, %s", name, node, e->gain, sake(e->reason));
        break;
    case EXPLAIN_FIXED:
        snprintf(buffer, len, "%s stays on %s: %s", name, here, rules_text_of(m, guest, e->rule));
        break;
    case EXPLAIN_UNMEASURED:
        snprintf(buffer, len, "%s stays on %s: it has no fresh measurements", name, here);
        break;
    case EXPLAIN_RESTING:
        snprintf(buffer, len, "%s stays on %s: it moved %.0f s ago and rests", name, here,
                 m->guests[guest].moved_ago_s);
        break;
    case EXPLAIN_RETURN:
        snprintf(buffer, len, "%s stays on %s: it came from %s only %.0f s ago", name, here, node,
                 model_left_ago(&m->guests[guest], e->node));
        break;
    case EXPLAIN_RULES:
        if (m->at[guest] < 0)
            snprintf(buffer, len, "%s finds no place: %d nodes are forbidden, most of them because: %s", name,
                     e->nodes_refused, rules_text(e->rule));
        else
            snprintf(buffer, len, "%s stays on %s: %d better nodes are forbidden, most of them because: %s", name, here,
                     e->nodes_refused, rules_text(e->rule));
        break;
    case EXPLAIN_COST:
        if (e->price >= COST_TOO_LONG) {
            snprintf(buffer, len, "%s stays on %s: going to %s gains %.6f, and takes longer than that lasts", name,
                     here, node, e->gain);
            break;
        }
        snprintf(buffer, len, "%s stays on %s: going to %s gains %.6f and costs %.6f", name, here, node, e->gain,
                 e->price);
        break;
    case EXPLAIN_BEST:
        snprintf(buffer, len, "%s stays on %s: no other node is better", name, here);
        break;
    case EXPLAIN_ROOM:
        snprintf(buffer, len, "%s stays on %s: %s is better by %.6f, but the room for a lost node would be gone", name,
                 here, node, e->gain);
        break;
    case EXPLAIN_BALANCED:
        snprintf(buffer, len, "%s stays on %s: %s is better by %.6f, but the loads are spread well enough", name, here,
                 node, e->gain);
        break;
    case EXPLAIN_LATER:
        snprintf(buffer, len,
                 "%s stays on %s for now: %s is better by %.6f, but the plan's limits were reached or it "
                 "takes more steps than one",
                 name, here, node, e->gain);
        break;
    }
    return buffer;
}

char *explain_plan(const struct plan *plan, const struct policy *policy, char *buffer, size_t len)
{
    switch (plan->why) {
    case PLAN_MOVES:
        snprintf(buffer, len, "%d moves in %d waves take the score from %.8f to %.8f", plan->count, plan->waves,
                 plan->before, plan->after);
        break;
    case PLAN_AT_REST:
        snprintf(buffer, len, "%s",
                 plan->kept    ? "no move gains more than it costs that leaves the room for a lost node"
                 : plan->rests ? "no move that is allowed gains more than it costs"
                               : "the time was over before a move was found that is allowed and pays");
        break;
    case PLAN_BALANCED:
        snprintf(buffer, len, "the loads are spread well: %.4f, and balancing begins at %.4f", plan->spread,
                 policy->enter);
        break;
    case PLAN_EMPTY:
        snprintf(buffer, len, "there is nothing to balance: no node is up, or there are no guests");
        break;
    }
    return buffer;
}
