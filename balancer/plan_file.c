#include "balancer/plan_file.h"

#include <jansson.h>
#include <stdlib.h>

#include "balancer/explain.h"
#include "balancer/policy.h"

enum { TEXT_MAX = 1024 };

/* The state after the plan, to be asked why; NULL: no memory. */
static struct model *state_after(const struct plan *plan, const struct model *model, const struct policy *policy,
                                 struct score *score)
{
    struct model *m = model_copy(model);
    if (m)
        model_shun_unseen(m);
    for (int i = 0; m && i < plan->closed_count; i++)
        model_set_offline(m, plan->closed[i], true);
    if (!m || score_init(score, m, policy, NULL) < 0) {
        model_free(m);
        return NULL;
    }
    for (int g = 0; g < m->guest_count; g++)
        if (m->at[g] != plan->at[g] || m->mirror[g] != plan->mirror[g])
            score_commit(score, g, plan->at[g], plan->mirror[g]);
    score_refresh(score);
    return m;
}

void plan_print_moves(FILE *out, const struct plan *plan, const struct model *m)
{
    for (int i = 0; i < plan->count; i++) {
        const struct plan_move *v = &plan->moves[i];
        if (!i || v->wave != plan->moves[i - 1].wave)
            fprintf(out, "wave %d\n", v->wave + 1);
        fprintf(out, "  %4d. %s  %s", i + 1, model_guest_name(m, v->guest), model_node_name(m, v->from));
        if (v->from_mirror >= 0)
            fprintf(out, ":%s", model_node_name(m, v->from_mirror));
        fprintf(out, " => %s", model_node_name(m, v->to));
        if (v->to_mirror >= 0)
            fprintf(out, ":%s", model_node_name(m, v->to_mirror));
        fprintf(out, "  %.8f  %.1f s, %.1f MiB, stopped %.0f ms, for %s%s\n", v->after, v->cost.seconds,
                v->cost.bytes / 1048576, v->cost.downtime_s * 1000, score_reason_word(v->reason),
                v->parking ? "  (waits here)" : "");
    }
}

void plan_print_reasons(FILE *out, const struct plan *plan, const struct model *m, const struct policy *policy)
{
    char text[TEXT_MAX];
    struct score score;
    struct model *after = state_after(plan, m, policy, &score);
    for (int g = 0; after && g < m->guest_count; g++) {
        struct explain e = explain_guest(&score, m, plan, g);
        fprintf(out, "%s\n", explain_text(&e, m, g, text, sizeof text));
    }
    if (after)
        score_fini(&score);
    model_free(after);
}

/* Each with the options by which it is to be had. */
static void print_frontier(FILE *out, const struct frontier *f)
{
    for (int i = 0; i < f->count; i++) {
        const struct frontier_point *p = &f->points[i];
        fprintf(out, "%3.0f %% of the gain after %d moves, %.1f GiB, about %.0f s", p->gain * 100, p->moves,
                p->bytes / (1 << 30), p->seconds);
        if (p->price != 1)
            fprintf(out, ": --price %g", p->price);
        if (p->part < 100)
            fprintf(out, "%s --part %d", p->price != 1 ? "" : ":", p->part);
        fputc('\n', out);
    }
}

void plan_print(FILE *out, const struct plan *plan, const struct model *m, const struct policy *policy,
                const struct frontier *frontier, double price, bool explain)
{
    char text[TEXT_MAX];
    struct frontier own;
    plan_print_moves(out, plan, m);
    fprintf(out, "%s\n", explain_plan(plan, policy, text, sizeof text));
    if (!frontier && plan->count > 1)
        frontier_of(plan, price, &own);
    if (frontier || plan->count > 1)
        print_frontier(out, frontier ? frontier : &own);
    if (plan->dropped)
        fprintf(out, "%d wanted moves were left out: no order of steps leads there within the rules and limits\n",
                plan->dropped);
    if (plan->stranded)
        fprintf(out, "%d guests find no node that may take them\n", plan->stranded);
    if (!plan->rests || (frontier && !frontier->rests))
        fprintf(out, "the budget ended the search; with more there may be a better plan\n");
    if (explain)
        plan_print_reasons(out, plan, m, policy);
}

static json_t *node_or_null(const struct model *m, int node)
{
    return node >= 0 ? json_string(model_node_name(m, node)) : json_null();
}

static json_t *move_json(const struct plan_move *v, const struct model *m)
{
    json_t *move =
        json_pack("{s:s, s:o, s:o, s:s, s:f, s:f, s:f, s:f, s:f, s:b}", "guest", model_guest_name(m, v->guest), "from",
                  node_or_null(m, v->from), "to", node_or_null(m, v->to), "for", score_reason_word(v->reason), "gain",
                  v->gain, "score_after", v->after, "seconds", v->cost.seconds, "bytes", v->cost.bytes, "downtime",
                  v->cost.downtime_s, "parking", (int)v->parking);
    if (v->from_mirror >= 0) {
        json_object_set_new(move, "mirror_from", node_or_null(m, v->from_mirror));
        json_object_set_new(move, "mirror_to", node_or_null(m, v->to_mirror));
    }
    return move;
}

json_t *plan_waves_json(const struct plan *plan, const struct model *m)
{
    json_t *waves = json_array(), *wave = NULL;
    for (int i = 0; i < plan->count; i++) {
        if (!i || plan->moves[i].wave != plan->moves[i - 1].wave) {
            wave = json_array();
            json_array_append_new(waves, wave);
        }
        json_array_append_new(wave, move_json(&plan->moves[i], m));
    }
    return waves;
}

static void put_reason(json_t *reasons, const struct score *score, const struct plan *plan, const struct model *m,
                       int guest)
{
    char text[TEXT_MAX];
    struct explain e = explain_guest(score, m, plan, guest);
    json_object_set_new(reasons, model_guest_name(m, guest),
                        json_string(explain_text(&e, m, guest, text, sizeof text)));
}

/* Those that move first: each of the others is a look at every node. */
json_t *plan_reasons_json(const struct plan *plan, const struct model *m, const struct policy *policy, size_t most)
{
    struct score score;
    struct model *after = state_after(plan, m, policy, &score);
    json_t *reasons = json_object();
    for (int i = 0; after && i < plan->count && json_object_size(reasons) < most; i++)
        put_reason(reasons, &score, plan, m, plan->moves[i].guest);
    for (int g = 0; after && g < m->guest_count && json_object_size(reasons) < most; g++)
        if (!json_object_get(reasons, model_guest_name(m, g)))
            put_reason(reasons, &score, plan, m, g);
    if (after)
        score_fini(&score);
    model_free(after);
    return reasons;
}

json_t *plan_reason_json(const struct plan *plan, const struct model *m, const struct policy *policy, int guest)
{
    struct score score;
    struct model *after = state_after(plan, m, policy, &score);
    json_t *reasons = json_object();
    if (after) {
        put_reason(reasons, &score, plan, m, guest);
        score_fini(&score);
    }
    model_free(after);
    return reasons;
}

json_t *plan_json(const struct plan *plan, const struct model *m, const struct policy *policy,
                  const struct frontier *frontier, double price, size_t reasons)
{
    char text[TEXT_MAX];
    struct frontier own;
    if (!frontier)
        frontier_of(plan, price, &own);
    json_t *root =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:i, s:b, s:s, s:o, s:o}", "score_before", plan->before,
                  "score_after", plan->after, "spread_before", plan->spread, "spread_after", plan->spread_after,
                  "seconds", plan->seconds, "bytes", plan->bytes, "moves", plan->count, "left_out", plan->dropped,
                  "stranded", plan->stranded, "at_rest", (int)(plan->rests && (!frontier || frontier->rests)),
                  "summary", explain_plan(plan, policy, text, sizeof text), "frontier",
                  frontier_json(frontier ? frontier : &own), "waves", plan_waves_json(plan, m));
    if (root && reasons)
        json_object_set_new(root, "reasons", plan_reasons_json(plan, m, policy, reasons));
    return root;
}
