#include "balancer/consolidate_file.h"

#include <stdint.h>
#include <string.h>

#include "balancer/plan_file.h"
#include "balancer/policy.h"

enum { TEXT_MAX = 512 };

static const char *const resources[RESOURCE_COUNT] = {"cpu", "memory", "disk", "network"};
static const char *const of_resource[RESOURCE_COUNT] = {"of its processors", "of its memory", "of its disks",
                                                        "of its networks"};
static const char *const verdicts[] = {[CONSOLIDATE_STAYS] = "stays",
                                       [CONSOLIDATE_SLEEPS] = "can sleep",
                                       [CONSOLIDATE_ASLEEP] = "asleep",
                                       [CONSOLIDATE_WAKES] = "wake",
                                       [CONSOLIDATE_CLOSED] = "closed"};

static const char *limit_text(const struct consolidate_node *v, const struct model *m, const double *limit,
                              char *buffer, size_t len)
{
    if (v->node < 0)
        snprintf(buffer, len, "the others together would have %.0f %% %s in use, and %.0f %% is the limit",
                 v->value * 100, of_resource[v->resource] + strlen("of its "), limit[v->resource] * 100);
    else
        snprintf(buffer, len, "%s would have %.0f %% %s in use, and %.0f %% is the limit", model_node_name(m, v->node),
                 v->value * 100, of_resource[v->resource], limit[v->resource] * 100);
    return buffer;
}

/* Why a node does not sleep, as a piece of a sentence; returns buffer. */
static const char *reason_text(const struct consolidate_node *v, const struct consolidation *c, const struct policy *p,
                               char *buffer, size_t len)
{
    const struct model *m = c->closed;
    const char *guest = v->guest >= 0 && v->guest < m->guest_count ? model_guest_name(m, v->guest) : "";
    switch (v->reason) {
    case CONSOLIDATE_NO_REASON:
        snprintf(buffer, len, "%s", "");
        break;
    case CONSOLIDATE_MEMBERS:
        snprintf(buffer, len, "it has %d members or witnesses of volumes", v->count);
        break;
    case CONSOLIDATE_STAYS_ON:
        snprintf(buffer, len, "it is to stay on (label sleep=never)");
        break;
    case CONSOLIDATE_STALE:
        snprintf(buffer, len, "its measurements are missing or too old");
        break;
    case CONSOLIDATE_UNMEASURED:
        snprintf(buffer, len, "guest %s has no fresh measurements", guest);
        break;
    case CONSOLIDATE_FIXED:
        snprintf(buffer, len, "guest %s may not move", guest);
        break;
    case CONSOLIDATE_HELD:
        snprintf(buffer, len, v->guest < 0 ? "balancing is off for it" : "balancing is off for guest %s", guest);
        break;
    case CONSOLIDATE_RESTING:
        snprintf(buffer, len, "guest %s moved %.0f s ago and rests", guest, m->guests[v->guest].moved_ago_s);
        break;
    case CONSOLIDATE_WAITING:
        snprintf(buffer, len, "guest %s is on no node that is open: it gets its place first", guest);
        break;
    case CONSOLIDATE_FULL:
        snprintf(buffer, len, "the cluster is too full");
        break;
    case CONSOLIDATE_KEEP:
        snprintf(buffer, len, "fewer than %d nodes would be left on",
                 p->consolidate.keep > 1 ? p->consolidate.keep : 1);
        break;
    case CONSOLIDATE_RULES:
        snprintf(buffer, len, "guest %s would find no other place%s%s", guest,
                 v->rule ? ", on most nodes because: " : "", v->rule ? rules_text(v->rule) : "");
        break;
    case CONSOLIDATE_LIMIT:
        limit_text(v, m, p->consolidate.limit, buffer, len);
        break;
    case CONSOLIDATE_ROOM:
        snprintf(buffer, len, "the room for %d lost node%s would not be there", c->lose, c->lose == 1 ? "" : "s");
        break;
    case CONSOLIDATE_BUDGET:
        snprintf(buffer, len, "the budget ended before it was looked at");
        break;
    }
    return buffer;
}

static const char *full_text(const struct consolidation *c, const struct policy *p, char *buffer, size_t len)
{
    const struct consolidate_node *v = &c->full;
    const struct model *m = c->closed;
    if (v->reason == CONSOLIDATE_LIMIT)
        snprintf(buffer, len, "%s has %.0f %% %s in use whatever moves, and %.0f %% is when nodes are woken",
                 model_node_name(m, v->node), v->value * 100, of_resource[v->resource],
                 p->consolidate.wake[v->resource] * 100);
    else if (v->reason == CONSOLIDATE_RULES)
        snprintf(buffer, len, "guest %s finds no place", model_guest_name(m, v->guest));
    else
        snprintf(buffer, len, "the room for %d lost node%s is not there", c->lose, c->lose == 1 ? "" : "s");
    return buffer;
}

static char *summary(const struct consolidation *c, const struct policy *p, char *buffer, size_t len)
{
    char why[TEXT_MAX];
    if (c->wakes)
        snprintf(buffer, len, "%d of %d sleeping nodes should be woken: %s", c->wakes, c->asleep,
                 full_text(c, p, why, sizeof why));
    else if (c->is_full)
        snprintf(buffer, len, "too full, and %s: %s",
                 !c->asleep ? "no node sleeps"
                 : c->rests ? "waking nodes would not help"
                            : "the budget ended before it was clear how many to wake",
                 full_text(c, p, why, sizeof why));
    else if (c->sleeps)
        snprintf(buffer, len, "%d of %d nodes can sleep after %d moves", c->sleeps, c->on, c->plan.count);
    else
        snprintf(buffer, len, "no node can sleep, none is to be woken");
    return buffer;
}

void consolidate_print(FILE *out, const struct consolidation *c, const struct policy *p, bool explain)
{
    char text[TEXT_MAX];
    const struct model *m = c->closed;
    fprintf(out, "%s\n", summary(c, p, text, sizeof text));
    for (int n = 0; n < m->node_count; n++) {
        const char *reason = reason_text(&c->nodes[n], c, p, text, sizeof text);
        fprintf(out, "  %-12s %s%s%s\n", model_node_name(m, n), verdicts[c->nodes[n].verdict], *reason ? ": " : "",
                reason);
    }
    if (c->sleeps) {
        fprintf(out, "the fullest of the others:");
        for (int r = 0; r < RESOURCE_COUNT; r++)
            fprintf(out, "%s %.0f %% %s, before %.0f %%", r ? ";" : "", c->load_after[r] * 100, of_resource[r],
                    c->load[r] * 100);
        fprintf(out, "\n");
    }
    if (!c->rests)
        fprintf(out, "the budget ended the search; with more there may be more nodes\n");
    if (c->plan.count) {
        plan_print_moves(out, &c->plan, m);
        fprintf(out, "%.1f GiB over the wire, in about %.0f s\n", c->plan.bytes / (1 << 30), c->plan.seconds);
    }
    if (c->sleeps && explain)
        plan_print_reasons(out, &c->plan, m, p);
}

static json_t *four(const double *values)
{
    json_t *object = json_object();
    for (int r = 0; r < RESOURCE_COUNT; r++)
        json_object_set_new(object, resources[r], json_real(values[r]));
    return object;
}

static json_t *names_of(const struct consolidation *c, enum consolidate_verdict verdict)
{
    json_t *list = json_array();
    for (int n = 0; n < c->closed->node_count; n++)
        if (c->nodes[n].verdict == verdict)
            json_array_append_new(list, json_string(model_node_name(c->closed, n)));
    return list;
}

json_t *consolidate_json(const struct consolidation *c, const struct policy *p, bool explain)
{
    char text[TEXT_MAX];
    const struct model *m = c->closed;
    json_t *nodes = json_array();
    for (int n = 0; n < m->node_count; n++) {
        const char *reason = reason_text(&c->nodes[n], c, p, text, sizeof text);
        json_t *node = json_pack("{s:s, s:s}", "name", model_node_name(m, n), "verdict", verdicts[c->nodes[n].verdict]);
        if (*reason)
            json_object_set_new(node, "reason", json_string(reason));
        json_array_append_new(nodes, node);
    }
    json_t *root =
        json_pack("{s:s, s:i, s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "summary", summary(c, p, text, sizeof text), "on",
                  c->on, "too_full", (int)c->is_full, "at_rest", (int)c->rests, "sleep",
                  names_of(c, CONSOLIDATE_SLEEPS), "wake", names_of(c, CONSOLIDATE_WAKES), "nodes", nodes,
                  "load_before", four(c->load), "load_after", four(c->load_after));
    if (root && c->sleeps) {
        json_object_update_new(root,
                               json_pack("{s:i, s:f, s:f, s:o}", "moves", c->plan.count, "seconds", c->plan.seconds,
                                         "bytes", c->plan.bytes, "waves", plan_waves_json(&c->plan, m)));
        if (explain)
            json_object_set_new(root, "reasons", plan_reasons_json(&c->plan, m, p, SIZE_MAX));
    }
    return root;
}
