/* What came of a campaign, for programs and for people. */
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "node/drill/campaign.h"
#include "node/drill/cluster.h"

/* So many of a hundred were at most as long. */
static uint64_t percentile(const struct campaign_spread *s, unsigned percent)
{
    return s->count ? s->ms[(s->count * percent + 99) / 100 - 1] : 0;
}

static const char *node_name(const struct campaign *c, int node)
{
    return node >= 0 ? c->cluster->nodes[node].name : "";
}

static int away(const struct cluster *c)
{
    int count = 0;
    for (int n = 0; n < c->node_count; n++)
        count += c->nodes[n].away;
    return count;
}

/* ---- for programs ---- */

static json_t *names_of(const struct campaign *c, uint64_t nodes)
{
    json_t *list = json_array();
    for (int n = 0; n < c->cluster->node_count; n++)
        if (nodes & UINT64_C(1) << n)
            json_array_append_new(list, json_string(c->cluster->nodes[n].name));
    return list;
}

static json_t *spread_json(const struct campaign *c, const struct campaign_spread *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:s}", "restarts", (json_int_t)s->count, "p50_ms",
                     (json_int_t)percentile(s, 50), "p99_ms", (json_int_t)percentile(s, 99), "worst_ms",
                     (json_int_t)s->worst_ms, "worst_seed", (json_int_t)s->worst_seed, "worst_node",
                     node_name(c, s->worst_node), "worst_guest", c->cluster->guests[s->worst_guest].name);
}

static json_t *kind_json(const struct campaign *c, enum campaign_kind kind)
{
    const struct campaign_figures *f = &c->figures[kind];
    json_t *to =
        json_pack("{s:s, s:I, s:I, s:I}", "kind", campaign_kind_name(kind), "schedules", (json_int_t)f->schedules,
                  "take_overs", (json_int_t)f->takeovers, "stood", (json_int_t)f->stood);
    if (f->rto.count)
        json_object_set_new(to, "rto", spread_json(c, &f->rto));
    if (f->down.count)
        json_object_set_new(to, "down", spread_json(c, &f->down));
    return to;
}

static json_t *stays_json(const struct campaign *c)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < c->stay_count; i++) {
        const struct campaign_stay *s = &c->stays[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:s, s:I}", "node", node_name(c, s->node), "guest",
                                              c->cluster->guests[s->guest].name, "reason", s->reason, "schedules",
                                              (json_int_t)s->schedules, "kind", campaign_kind_name(s->kind), "seed",
                                              (json_int_t)s->seed));
    }
    return list;
}

static json_t *wrongs_json(const struct campaign *c)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < c->wrong_count && i < CAMPAIGN_WRONG_MAX; i++) {
        const struct campaign_wrong *w = &c->wrongs[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:s}", "kind", campaign_kind_name(w->kind), "node",
                                              node_name(c, w->node), "seed", (json_int_t)w->seed, "text", w->text));
    }
    return list;
}

json_t *campaign_json(const struct campaign *c)
{
    json_t *kinds = json_array();
    for (unsigned k = 0; k < CAMPAIGN_KINDS; k++)
        if (c->figures[k].schedules)
            json_array_append_new(kinds, kind_json(c, (enum campaign_kind)k));
    json_t *cluster = json_pack("{s:i, s:i, s:i, s:i, s:O}", "nodes", c->cluster->node_count, "away", away(c->cluster),
                                "guests", (int)c->cluster->all_guests, "protected", (int)c->cluster->guest_count,
                                "left_out", c->cluster->left_out);
    return json_pack("{s:o, s:s, s:s, s:I, s:I, s:o, s:o, s:o, s:o, s:I, s:o}", "cluster", cluster, "kind",
                     campaign_kind_name(c->plan.kind), "node", node_name(c, c->plan.node), "schedules",
                     (json_int_t)c->plan.schedules, "seed", (json_int_t)c->plan.seed, "kinds", kinds, "lost",
                     names_of(c, c->lost), "not_borne", names_of(c, c->unbearable), "stay_down", stays_json(c),
                     "violation_count", (json_int_t)c->wrong_count, "violations", wrongs_json(c));
}

/* ---- for people ---- */

static void print_cluster(FILE *out, const struct campaign *c)
{
    size_t i;
    json_t *line;
    fprintf(out, "%d nodes (%d away), %u guests that run, %u of them protected\n", c->cluster->node_count,
            away(c->cluster), c->cluster->all_guests, c->cluster->guest_count);
    json_array_foreach (c->cluster->left_out, i, line)
        fprintf(out, "%s\n", json_string_value(line));
    if (!c->cluster->guest_count)
        fprintf(out, "no guest is protected, so nothing would be taken over: `drover guest set GUEST --ha`\n");
}

static void print_spread(FILE *out, const struct campaign_spread *s)
{
    if (s->count)
        fprintf(out, " %8" PRIu64 " %8" PRIu64 " %10" PRIu64, percentile(s, 50), percentile(s, 99), s->worst_ms);
    else
        fprintf(out, " %8s %8s %10s", "-", "-", "-");
}

static void print_figures(FILE *out, const struct campaign *c)
{
    fprintf(out, "\n%-16s %9s %10s %6s %8s %8s %10s %8s %8s %10s  %s\n", "KIND", "SCHEDULES", "TAKE-OVERS", "STOOD",
            "RTO-P50", "RTO-P99", "RTO-WORST", "DOWN-P50", "DOWN-P99", "DOWN-WORST", "MS; THE WORST IS");
    for (unsigned k = 0; k < CAMPAIGN_KINDS; k++) {
        const struct campaign_figures *f = &c->figures[k];
        const struct campaign_spread *s = f->rto.count ? &f->rto : &f->down;
        if (!f->schedules)
            continue;
        fprintf(out, "%-16s %9" PRIu64 " %10" PRIu64 " %6" PRIu64, campaign_kind_name((enum campaign_kind)k),
                f->schedules, f->takeovers, f->stood);
        print_spread(out, &f->rto);
        print_spread(out, &f->down);
        if (s->count)
            fprintf(out, "  seed %" PRIu64 "%s%s, guest %s", s->worst_seed, s->worst_node >= 0 ? ", node " : "",
                    node_name(c, s->worst_node), c->cluster->guests[s->worst_guest].name);
        fputc('\n', out);
    }
}

static void print_list(FILE *out, const struct campaign *c, uint64_t nodes)
{
    const char *between = "";
    for (int n = 0; n < c->cluster->node_count; n++)
        if (nodes & UINT64_C(1) << n) {
            fprintf(out, "%s%s", between, c->cluster->nodes[n].name);
            between = ", ";
        }
}

static void print_losses(FILE *out, const struct campaign *c)
{
    uint64_t there = 0;
    for (int n = 0; n < c->cluster->node_count; n++)
        there |= c->cluster->nodes[n].away ? 0 : UINT64_C(1) << n;
    if (!c->lost || !c->cluster->guest_count)
        return;
    if (c->unbearable) {
        fprintf(out, "\nnodes whose loss the cluster cannot bear: ");
        print_list(out, c, c->unbearable);
        fprintf(out, "\n%-20s %-24s %9s  %s\n", "IF-LOST", "STAYS-DOWN", "SCHEDULES", "BECAUSE");
    } else {
        fprintf(out, "\nevery protected guest ran again, whichever node was lost: ");
        print_list(out, c, c->lost);
        fputc('\n', out);
    }
    for (unsigned i = 0; i < c->stay_count; i++)
        fprintf(out, "%-20s %-24s %9" PRIu64 "  %s\n", node_name(c, c->stays[i].node),
                c->cluster->guests[c->stays[i].guest].name, c->stays[i].schedules, c->stays[i].reason);
    if (there & ~c->lost) {
        fprintf(out, "not lost in any of these schedules: ");
        print_list(out, c, there & ~c->lost);
        fputc('\n', out);
    }
}

void campaign_print(FILE *out, const struct campaign *c)
{
    print_cluster(out, c);
    print_figures(out, c);
    print_losses(out, c);
    if (!c->wrong_count) {
        fprintf(out, "\nno rule was broken\n");
        return;
    }
    fprintf(out, "\nrules were broken in %" PRIu64 " of %" PRIu64 " schedules; again, with the same cluster:\n",
            c->wrong_count, c->plan.schedules);
    for (unsigned i = 0; i < c->wrong_count && i < CAMPAIGN_WRONG_MAX; i++) {
        const struct campaign_wrong *w = &c->wrongs[i];
        fprintf(out, "    --kind %s%s%s --schedules 1 --seed %" PRIu64 "\n        %s\n", campaign_kind_name(w->kind),
                w->node >= 0 ? " --node " : "", node_name(c, w->node), w->seed, w->text);
    }
}
