/* A wave is filled greedily, best gain first, from the moves that are left: one joins if the rules allow it while all
 * that moved in this wave before still hold their old place (model.held). What leaves therefore never makes room within
 * its own wave, and any order of the wave's moves is as good as another. */
#include "balancer/waves.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/policy.h"
#include "balancer/uplinks.h"

enum { GAINS_ANEW_MAX = 400, PARK_TRIES_MAX = 64 };

struct pending {
    int guest;
    double gain;
};

struct weaver {
    struct score *score;
    struct model *model;
    const struct policy *policy;
    const int *at, *mirror;
    struct plan *plan;
    struct pending *left;
    int left_count;
    int *leaving;                /* [guests] the node it leaves in this wave, -1 */
    struct group_counts left_by; /* what groups had there */
    int *busy;                   /* [nodes] moves of this wave that end there */
    struct uplinks uplinks;
    int *touched; /* nodes that hold something for this wave */
    int touched_count, moving;
    int others;  /* ends, two each, of migrations that are under way beside the first wave, and take slots of it */
    int *parked; /* [guests] times it waited somewhere */
};

static bool is_there(const struct weaver *w, int g)
{
    return w->model->at[g] == w->at[g] && w->model->mirror[g] == w->mirror[g];
}

/* Somebody of the same hard group has left this place within the wave: it is not free of him yet. */
static bool meets_leaver(const struct weaver *w, int guest, int to)
{
    const struct model *m = w->model;
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++) {
        const struct model_group *group = &m->groups[m->group_of[i]];
        if (group->hard && !group->together && group_counts_meets(&w->left_by, m, m->group_of[i], to))
            return true;
    }
    return false;
}

/* Together groups and mirrored guests take a wave of their own with respect to the nodes they use. */
static bool has_slot(const struct weaver *w, int guest, int to, int to_mirror)
{
    const struct model *m = w->model;
    int from = m->at[guest], ends[] = {from, to, to_mirror != m->mirror[guest] ? to_mirror : -1};
    if (w->moving + w->others / 2 >= w->policy->parallel || w->leaving[guest] >= 0)
        return false;
    for (int i = 0; i < 3; i++)
        if (ends[i] >= 0 && w->busy[ends[i]] >= (m->mirror[guest] >= 0 ? 1 : w->policy->per_node))
            return false;
    return uplinks_have_room(&w->uplinks, from, to) && (ends[2] < 0 || uplinks_have_room(&w->uplinks, to, to_mirror));
}

static bool is_grouped_hard(const struct model *m, int guest)
{
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++)
        if (m->groups[m->group_of[i]].hard && m->groups[m->group_of[i]].together)
            return true;
    return false;
}

static bool may_join(const struct weaver *w, int guest, int to, int to_mirror)
{
    if (!has_slot(w, guest, to, to_mirror) || (w->moving && is_grouped_hard(w->model, guest)))
        return false;
    if (rules_check(w->model, w->policy, guest, to, to_mirror) != RULE_NONE)
        return false;
    return to == w->model->at[guest] || !meets_leaver(w, guest, to);
}

static void hold(struct weaver *w, int node, const double *row)
{
    if (node < 0)
        return;
    model_hold_row(w->model, node, row, 1);
    w->touched[w->touched_count++] = node;
}

static int add_move(struct weaver *w, int guest, int to, int to_mirror, bool parking)
{
    struct plan *plan = w->plan;
    struct model *m = w->model;
    if (plan->count == plan->room) {
        int room = plan->room ? plan->room * 2 : 64;
        struct plan_move *moves = realloc(plan->moves, (size_t)room * sizeof *moves);
        if (!moves)
            return -ENOMEM;
        plan->moves = moves;
        plan->room = room;
    }
    int from = m->at[guest], old = m->mirror[guest];
    double before = score_value(w->score), parts[2][REASON_COUNT];
    score_reasons(w->score, from, to, parts[0]);
    score_commit(w->score, guest, to, to_mirror);
    score_reasons(w->score, from, to, parts[1]);
    double after = score_value(w->score);
    plan->moves[plan->count++] = (struct plan_move){.guest = guest,
                                                    .from = from,
                                                    .from_mirror = old,
                                                    .to = to,
                                                    .to_mirror = to_mirror,
                                                    .wave = plan->waves,
                                                    .parking = parking,
                                                    .reason = score_reason_most(parts[0], parts[1]),
                                                    .gain = before - after,
                                                    .after = after,
                                                    .cost = cost_migration(m, w->policy, guest, from, to)};
    if (from != to) {
        hold(w, from, m->use[guest]);
        w->leaving[guest] = from >= 0 ? from : -1;
        if (from >= 0)
            group_counts_add(&w->left_by, m, guest, from, 1);
    }
    if (old >= 0 && old != to_mirror)
        hold(w, old, m->copy[guest]);
    int ends[] = {from, to, to_mirror != old ? to_mirror : -1};
    for (int i = 0; i < 3; i++)
        if (ends[i] >= 0)
            w->busy[ends[i]]++;
    uplinks_take(&w->uplinks, from, to);
    if (ends[2] >= 0)
        uplinks_take(&w->uplinks, to, to_mirror);
    w->moving++;
    return 0;
}

static void end_wave(struct weaver *w)
{
    const struct plan *plan = w->plan;
    for (int i = 0; i < w->touched_count; i++)
        memset(w->model->held[w->touched[i]], 0, sizeof *w->model->held);
    w->touched_count = 0;
    for (int i = plan->count - 1; i >= 0 && plan->moves[i].wave == plan->waves; i--) {
        const struct plan_move *move = &plan->moves[i];
        if (w->leaving[move->guest] >= 0)
            group_counts_add(&w->left_by, w->model, move->guest, w->leaving[move->guest], -1);
        w->leaving[move->guest] = -1;
        int ends[] = {move->from, move->to, move->to_mirror};
        for (int j = 0; j < 3; j++)
            if (ends[j] >= 0)
                w->busy[ends[j]] = 0;
    }
    uplinks_clear(&w->uplinks);
    if (w->moving)
        w->plan->waves++;
    w->moving = 0;
}

/* ---- what to do next ---- */

static int compare(const void *a, const void *b)
{
    const struct pending *x = a, *y = b;
    if (x->gain != y->gain)
        return x->gain < y->gain ? 1 : -1;
    return (x->guest > y->guest) - (x->guest < y->guest);
}

static void sort_left(struct weaver *w)
{
    double value = score_value(w->score);
    for (int i = 0; i < w->left_count; i++) {
        int g = w->left[i].guest;
        bool must = model_must_go(w->model, g);
        w->left[i].gain = value - score_after(w->score, g, w->at[g], w->mirror[g]) + (must ? 1e9 : 0);
    }
    qsort(w->left, (size_t)w->left_count, sizeof *w->left, compare);
}

/* A mirrored guest that changes both nodes needs two steps; the first is one after which the second is allowed. */
static bool first_step(const struct weaver *w, int guest, int *to, int *to_mirror)
{
    const struct model *m = w->model;
    int p = m->at[guest], s = m->mirror[guest], p2 = w->at[guest], s2 = w->mirror[guest];
    *to = p2;
    *to_mirror = s2;
    if (s < 0 || p2 == p || p2 == s || s2 == p || s2 == s)
        return true;
    int ways[4][2] = {{p2, s}, {p, s2}, {p2, p}, {s, s2}};
    for (int i = 0; i < 4; i++)
        if (may_join(w, guest, ways[i][0], ways[i][1])) {
            *to = ways[i][0];
            *to_mirror = ways[i][1];
            return true;
        }
    return false;
}

/* Slots that are taken before the first wave begins. */
static void note_others(struct weaver *w)
{
    for (int n = 0; n < w->model->node_count; n++) {
        w->busy[n] = w->model->nodes[n].moving;
        w->others += w->busy[n];
    }
}

/* ... and are free again when that is over, or if nothing could begin before. */
static bool forget_others(struct weaver *w)
{
    bool were = w->others > 0;
    if (were)
        memset(w->busy, 0, (size_t)w->model->node_count * sizeof *w->busy);
    w->others = 0;
    return were;
}

/* Takes everything into the wave that fits. The number of moves, or -ENOMEM. */
static int fill_wave(struct weaver *w)
{
    int kept = 0, taken = 0;
    for (int i = 0; i < w->left_count; i++) {
        int g = w->left[i].guest, to, to_mirror;
        bool full = w->moving + w->others / 2 >= w->policy->parallel || w->plan->count >= w->policy->moves_max;
        if (!full && first_step(w, g, &to, &to_mirror) && may_join(w, g, to, to_mirror)) {
            if (add_move(w, g, to, to_mirror, false) < 0)
                return -ENOMEM;
            taken++;
            if (is_there(w, g))
                continue;
        }
        w->left[kept++] = w->left[i];
    }
    w->left_count = kept;
    return taken;
}

static bool frees_another(struct weaver *w, int guest)
{
    for (int i = 0; i < w->left_count; i++) {
        int g = w->left[i].guest;
        if (g != guest && rules_check(w->model, w->policy, g, w->at[g], w->mirror[g]) == RULE_NONE)
            return true;
    }
    return false;
}

/* Would it help if the guest went there first: may it go on to its place then, or another one to his? */
static bool helps_from(struct weaver *w, int guest, int at, int mirror)
{
    struct model *m = w->model;
    int from = m->at[guest], old = m->mirror[guest];
    score_commit(w->score, guest, at, mirror);
    bool helps = frees_another(w, guest);
    if (mirror >= 0)
        helps = helps || rules_check(m, w->policy, guest, w->at[guest], w->mirror[guest]) == RULE_NONE;
    score_commit(w->score, guest, from, old);
    return helps;
}

/* The ways of one guest through this node that the rules allow and that help. 1: went, 0: no, -ENOMEM. */
static int park_at(struct weaver *w, int guest, int n)
{
    const struct model *m = w->model;
    int p = m->at[guest], s = m->mirror[guest];
    int ways[5][2] = {{n, s}, {n, p}, {p, n}, {s, n}, {s, p}};
    for (int i = 0; i < (s >= 0 ? 5 : 1); i++) {
        int at = ways[i][0], mirror = ways[i][1];
        bool there = at == w->at[guest] && mirror == w->mirror[guest];
        if (there || (i < 4 && (n == p || n == s)) || rules_check(m, w->policy, guest, at, mirror) != RULE_NONE)
            continue;
        if (!helps_from(w, guest, at, mirror))
            continue;
        w->parked[guest]++;
        return add_move(w, guest, at, mirror, true) < 0 ? -ENOMEM : 1;
    }
    return 0;
}

/* A circle: somebody waits elsewhere so that another one can go. 1: done, 0: nobody can, -ENOMEM. */
static int park(struct weaver *w)
{
    struct model *m = w->model;
    for (int i = 0; i < w->left_count && i < PARK_TRIES_MAX; i++) {
        int g = w->left[i].guest;
        for (int n = 0; m->at[g] >= 0 && !w->parked[g] && n < m->node_count; n++) {
            int went = n != m->at[g] && (m->mirror[g] >= 0 || n != w->at[g]) ? park_at(w, g, n) : 0;
            if (went)
                return went;
        }
    }
    return 0;
}

static int weave(struct weaver *w)
{
    int last_sorted = -1;
    while (w->left_count > 0 && w->plan->count < w->policy->moves_max) {
        if (last_sorted < 0 || w->left_count <= GAINS_ANEW_MAX) {
            sort_left(w);
            last_sorted = w->left_count;
        }
        int taken = fill_wave(w);
        end_wave(w);
        if (forget_others(w) && taken == 0)
            continue;
        if (taken == 0 && w->left_count > 0) {
            taken = park(w);
            end_wave(w);
        }
        if (taken < 0)
            return taken;
        if (taken == 0)
            break;
    }
    w->plan->dropped += w->left_count;
    return 0;
}

/* Where not everything could be reached, half a swap may be left over: the plan ends where the score was least. */
static void end_at_best(struct weaver *w, double before)
{
    struct plan *plan = w->plan;
    int best = 0;
    for (int i = 0; i < plan->count; i++)
        if (plan->moves[i].after < (best ? plan->moves[best - 1].after : before) - 1e-12)
            best = i + 1;
    for (int i = plan->count - 1; i >= best; i--)
        score_commit(w->score, plan->moves[i].guest, plan->moves[i].from, plan->moves[i].from_mirror);
    plan->dropped += plan->count - best;
    plan->count = best;
    plan->waves = best ? plan->moves[best - 1].wave + 1 : 0;
}

int waves_make(struct score *score, const int *at, const int *mirror, struct plan *plan)
{
    struct model *m = score->model;
    size_t guests = (size_t)m->guest_count + 1, nodes = (size_t)m->node_count + 1;
    struct weaver w = {.score = score, .model = m, .policy = score->policy, .at = at, .mirror = mirror, .plan = plan};
    w.left = malloc(guests * sizeof *w.left);
    w.leaving = malloc(guests * sizeof *w.leaving);
    w.parked = calloc(guests, sizeof *w.parked);
    w.busy = calloc(nodes, sizeof *w.busy);
    w.touched = malloc(((size_t)score->policy->parallel + 1) * 2 * sizeof *w.touched);
    int rc = -ENOMEM;
    if (!uplinks_init(&w.uplinks, m, score->policy->per_link) && !group_counts_init(&w.left_by, m) && w.left &&
        w.leaving && w.parked && w.busy && w.touched) {
        for (int g = 0; g < m->guest_count; g++) {
            w.leaving[g] = -1;
            if (!is_there(&w, g) && at[g] >= 0)
                w.left[w.left_count++].guest = g;
        }
        double before = score_value(score);
        note_others(&w);
        rc = weave(&w);
        if (rc == 0)
            end_at_best(&w, before);
    }
    free(w.left);
    free(w.leaving);
    group_counts_fini(&w.left_by);
    free(w.parked);
    free(w.busy);
    free(w.touched);
    uplinks_fini(&w.uplinks);
    return rc;
}

/* ---- checking ---- */

static void hold_move(struct model *m, const struct plan_move *move, double sign)
{
    if (move->from != move->to)
        model_hold_row(m, move->from, m->use[move->guest], sign);
    if (move->from_mirror >= 0 && move->from_mirror != move->to_mirror)
        model_hold_row(m, move->from_mirror, m->copy[move->guest], sign);
}

int waves_check(const struct model *model, const struct policy *policy, const struct plan *plan)
{
    struct model *m = model_copy(model);
    int wrong = 0, broken = m ? rules_broken(m, policy) : 0;
    if (!m)
        return -ENOMEM;
    for (int i = 0, first = 0; i < plan->count && !wrong; i++) {
        const struct plan_move *move = &plan->moves[i];
        if (i && move->wave != plan->moves[i - 1].wave) { /* the wave before is through */
            for (; first < i; first++)
                hold_move(m, &plan->moves[first], -1);
            int now = rules_broken(m, policy);
            wrong = now > broken ? i : 0;
            broken = now;
        }
        bool known = move->guest >= 0 && move->guest < m->guest_count && move->to < m->node_count && move->to >= 0 &&
                     move->to_mirror < m->node_count;
        if (wrong || !known || m->at[move->guest] != move->from || m->mirror[move->guest] != move->from_mirror ||
            rules_check(m, policy, move->guest, move->to, move->to_mirror) != RULE_NONE) {
            wrong = wrong ? wrong : i + 1;
            break;
        }
        model_place(m, move->guest, move->to, move->to_mirror);
        hold_move(m, move, 1);
    }
    model_free(m);
    return wrong;
}
