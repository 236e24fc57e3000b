#include "balancer/search.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/cost.h"
#include "balancer/plan_last.h"
#include "balancer/policy.h"
#include "balancer/rules.h"
#include "node/base/err.h"

static const double UNKNOWN = 1e300; /* a gain that nobody has looked at since something changed */

enum {
    KICK_GUESTS_MAX = 5000,
    KICKS_IN_VAIN = 60,
    KICK_LEAST = 20000,
    SMALL_ENOUGH_TO_CHAIN = 4000,
    REST_AFTER_KICK_NODES = 8,
    FEW_NODES = 200,
    KICK_LOOKS = 60, /* per guest and node, and way to get there */
    MIRRORED_WAYS = 4,
    LAST_ROUNDS = 3, /* who goes makes room for others */
};

static void tear_down(struct search *s)
{
    score_fini(&s->score);
    free(s->threshold);
    free(s->stays);
    free(s->gain);
    free(s->heap);
    free(s->where);
    free(s->targets);
    free(s->order);
    free(s->heat);
    free(s->price);
    free(s->best_at);
    free(s->best_mirror);
}

void search_fini(struct search *s)
{
    tear_down(s);
    *s = (struct search){0};
}

int search_init(struct search *s, struct model *m, const struct policy *p, uint64_t seed, struct search_budget budget,
                struct err *err)
{
    *s = (struct search){.model = m, .policy = p, .budget = budget, .seed = seed * 2 + 1};
    size_t guests = (size_t)m->guest_count + 1, nodes = (size_t)m->node_count + 1;
    int rc = score_init(&s->score, m, p, err);
    if (rc < 0)
        return rc;
    s->threshold = calloc(guests, sizeof *s->threshold);
    s->stays = calloc(guests, sizeof *s->stays);
    s->gain = calloc(guests, sizeof *s->gain);
    s->heap = malloc(guests * sizeof *s->heap);
    s->where = malloc(guests * sizeof *s->where);
    s->targets = malloc(nodes * sizeof *s->targets);
    s->order = malloc(nodes * sizeof *s->order);
    s->heat = malloc(nodes * sizeof *s->heat);
    s->price = malloc(guests * sizeof *s->price);
    s->best_at = malloc(guests * sizeof *s->best_at);
    s->best_mirror = malloc(guests * sizeof *s->best_mirror);
    if (!s->threshold || !s->stays || !s->gain || !s->heap || !s->where || !s->targets || !s->order || !s->heat ||
        !s->price || !s->best_at || !s->best_mirror) {
        search_fini(s);
        return err_set(err, ENOMEM, "no memory to plan for %d guests", m->guest_count);
    }
    for (int n = 0; n < m->node_count; n++)
        s->links |= m->nodes[n].link_bytes_per_s > 0;
    s->least_gain = m->family == MODEL_GANETI ? 1e-6 : 1e-9;
    for (int g = 0; g < m->guest_count; g++) {
        const struct model_guest *guest = &m->guests[g];
        s->threshold[g] = cost_threshold(m, p, g, s->score.up);
        bool resting = guest->moved_ago_s >= 0 && guest->moved_ago_s < p->cool_down_s;
        bool unknown = m->family == MODEL_DROVER && !guest->measured;
        s->stays[g] = rules_movable(m, g) != RULE_NONE || ((resting || unknown) && !search_must_move(s, g));
    }
    return 0;
}

/* ---- small questions ---- */

bool search_over(struct search *s)
{
    if (s->budget.evaluations && s->evaluations >= s->budget.evaluations)
        s->stopped = true;
    if (s->budget.stop && s->budget.stop(s->budget.data))
        s->stopped = true;
    return s->stopped;
}

static uint32_t draw(struct search *s, uint32_t below)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    return (uint32_t)((s->seed >> 32) * below >> 32);
}

bool search_must_move(const struct search *s, int guest)
{
    const struct model *m = s->model;
    int mirror = m->mirror[guest];
    return model_must_go(m, guest) || (mirror >= 0 && m->nodes[mirror].offline);
}

bool search_forbidden(const struct search *s, int guest, int at)
{
    double ago = model_left_ago(&s->model->guests[guest], at);
    int home = s->model->home[guest];
    return ago >= 0 && ago < s->policy->return_s && home >= 0 && !s->model->nodes[home].offline;
}

/* Moves from its home to there: two if it has a mirror and both nodes are new, since one stays in each step. */
static int steps_to(const struct search *s, int guest, int at, int mirror)
{
    int p = s->model->home[guest], q = s->model->home_mirror[guest];
    if (at == p && mirror == q)
        return 0;
    return q >= 0 && at != p && at != q && mirror != p && mirror != q ? 2 : 1;
}

static double price_to(const struct search *s, int guest, int at, int mirror)
{
    int steps = steps_to(s, guest, at, mirror), home = s->model->home[guest];
    if (!steps || !s->links || at == home)
        return steps * s->threshold[guest];
    return steps * cost_price(s->model, s->policy, guest, home, at, s->score.up);
}

double search_price(const struct search *s, int guest, int at, int mirror)
{
    const struct model *m = s->model;
    return price_to(s, guest, at, mirror) - price_to(s, guest, m->at[guest], m->mirror[guest]);
}

/* ---- targets ---- */

static int select_coldest(struct search *s, int wanted)
{
    const struct model *m = s->model;
    int count = 0;
    for (int n = 0; n < m->node_count; n++) {
        const struct model_node *node = &m->nodes[n];
        if (node->offline || node->outside || node->stale || node->held)
            continue;
        double heat = score_heat(&s->score, n);
        if (count == wanted && heat >= s->heat[count - 1])
            continue;
        int i = count < wanted ? count++ : count - 1;
        for (; i > 0 && s->heat[i - 1] > heat; i--) {
            s->heat[i] = s->heat[i - 1];
            s->targets[i] = s->targets[i - 1];
        }
        s->heat[i] = heat;
        s->targets[i] = n;
    }
    return count;
}

void search_pick_targets(struct search *s)
{
    const struct model *m = s->model;
    if (m->node_count > SEARCH_ALL_NODES) {
        s->target_count = select_coldest(s, SEARCH_TARGETS);
        return;
    }
    s->target_count = 0;
    for (int n = 0; n < m->node_count; n++)
        if (!m->nodes[n].offline && !m->nodes[n].outside && !m->nodes[n].stale && !m->nodes[n].held)
            s->targets[s->target_count++] = n;
}

/* ---- the best step of one guest ---- */

struct best {
    double gain, value;
    int from, from_mirror;
    double paid; /* for being there */
    int at, mirror;
    bool any_allowed, must;
    struct score_away away;
};

static inline void consider(struct search *s, int guest, int at, int mirror, double after, struct best *best)
{
    s->evaluations++;
    double gain = best->value - after - (price_to(s, guest, at, mirror) - best->paid);
    if (gain <= best->gain + s->least_gain && (best->any_allowed || !best->must))
        return;
    if (search_forbidden(s, guest, at) || rules_check(s->model, s->policy, guest, at, mirror) != RULE_NONE)
        return;
    best->any_allowed = true;
    if (gain > best->gain + s->least_gain) {
        best->gain = gain;
        best->at = at;
        best->mirror = mirror;
    }
}

static inline void consider_node(struct search *s, int guest, int n, struct best *best)
{
    int p = best->from, mirror = best->from_mirror;
    if (n == p || n == mirror)
        return;
    if (mirror < 0) {
        consider(s, guest, n, -1, score_arrive(&s->score, &best->away, n), best);
        return;
    }
    int ways[MIRRORED_WAYS][2] = {{p, n}, {n, p}, {mirror, n}, {n, mirror}};
    for (int i = 0; i < MIRRORED_WAYS; i++)
        consider(s, guest, ways[i][0], ways[i][1], score_after(&s->score, guest, ways[i][0], ways[i][1]), best);
}

/* Its gain in the objective, 0 if there is none. */
static double best_step(struct search *s, int guest, int *at, int *mirror)
{
    const struct model *m = s->model;
    const struct model_guest *g = &m->guests[guest];
    struct best best = {.at = -1, .value = score_value(&s->score), .must = search_must_move(s, guest)};
    int other = m->mirror[guest];
    best.from = m->at[guest];
    best.from_mirror = other;
    best.paid = price_to(s, guest, best.from, other);
    if (other >= 0)
        consider(s, guest, other, m->at[guest], score_after(&s->score, guest, other, m->at[guest]), &best);
    else
        score_leave(&s->score, guest, &best.away);
    bool pinned = g->pins && !g->avoids;
    for (int i = 0; i < g->pin_count && pinned; i++)
        consider_node(s, guest, g->pins[i], &best);
    for (int i = 0; i < s->target_count && !pinned; i++)
        consider_node(s, guest, s->targets[i], &best);
    /* in a large cluster few are looked at; those with its data are always among them */
    for (int i = 0; i < g->storage_count && !pinned && m->node_count > SEARCH_ALL_NODES; i++)
        consider_node(s, guest, g->storage[i].node, &best);
    /* none of the usual ones takes it: everybody is asked, or every so many in a large cluster */
    if (!best.any_allowed && best.must && s->target_count < m->node_count) {
        int step = m->node_count / SEARCH_NODES_SCANNED + 1;
        for (int n = guest % step; n < m->node_count; n += step)
            consider_node(s, guest, n, &best);
    }
    *at = best.at;
    *mirror = best.mirror;
    return best.at >= 0 ? best.gain : 0;
}

/* ---- the heap ---- */

static void heap_swap(struct search *s, int i, int j)
{
    int a = s->heap[i], b = s->heap[j];
    s->heap[i] = b;
    s->heap[j] = a;
    s->where[b] = i;
    s->where[a] = j;
}

/* Equal gains go by number, so that the order is the same on every machine. */
static bool heap_before(const struct search *s, int i, int j)
{
    int a = s->heap[i], b = s->heap[j];
    return s->gain[a] > s->gain[b] || (s->gain[a] == s->gain[b] && a < b);
}

static void heap_settle(struct search *s, int i)
{
    while (i > 0 && heap_before(s, i, (i - 1) / 2)) {
        heap_swap(s, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
    for (;;) {
        int child = 2 * i + 1;
        if (child + 1 < s->heap_count && heap_before(s, child + 1, child))
            child++;
        if (child >= s->heap_count || !heap_before(s, child, i))
            return;
        heap_swap(s, i, child);
        i = child;
    }
}

static void heap_fill(struct search *s, bool must)
{
    s->heap_count = 0;
    for (int g = 0; g < s->model->guest_count; g++) {
        s->where[g] = -1;
        if (s->stays[g] || (must && !search_must_move(s, g)))
            continue;
        s->gain[g] = UNKNOWN;
        s->where[g] = s->heap_count;
        s->heap[s->heap_count++] = g;
    }
}

static void unsettle_node(struct search *s, int node)
{
    if (node < 0)
        return;
    for (int g = s->model->first[node]; g >= 0; g = s->model->next[g])
        if (s->where[g] >= 0 && s->gain[g] < UNKNOWN) {
            s->gain[g] = UNKNOWN;
            heap_settle(s, s->where[g]);
        }
}

void search_commit(struct search *s, int guest, int at, int mirror)
{
    int p = s->model->at[guest], old = s->model->mirror[guest];
    score_commit(&s->score, guest, at, mirror);
    if (!s->heap_count)
        return;
    unsettle_node(s, p);
    unsettle_node(s, at);
    if (mirror != old) {
        unsettle_node(s, mirror);
        unsettle_node(s, old);
    }
}

/* ---- descend ---- */

/* One run of the heap until nothing in it promises anything. True if something moved. */
static bool drain_heap(struct search *s)
{
    bool moved = false;
    unsigned since_targets = 0;
    search_pick_targets(s);
    while (s->heap_count > 0) {
        int g = s->heap[0], at, mirror;
        if (s->gain[g] <= s->least_gain || ((s->evaluations & 63) == 0 && search_over(s)) || s->stopped)
            break;
        double before = s->gain[g];
        s->gain[g] = best_step(s, g, &at, &mirror);
        if (search_over(s))
            break;
        bool good = at >= 0 && s->gain[g] > s->least_gain;
        double gain = s->gain[g];
        heap_settle(s, 0);
        bool leads = s->heap[0] == g || (before < UNKNOWN && gain >= 0.9 * before && s->gain[s->heap[0]] < UNKNOWN);
        if (!good || !leads)
            continue;
        search_commit(s, g, at, mirror);
        moved = true;
        if (++since_targets % 4 == 0 || s->target_count < SEARCH_TARGETS)
            search_pick_targets(s);
    }
    return moved;
}

static void descend(struct search *s, bool must)
{
    double before;
    do {
        before = score_value(&s->score);
        heap_fill(s, must);
        if (!drain_heap(s))
            break;
        /* a last sweep of a large cluster that gains next to nothing is not worth a second */
    } while (!s->stopped && (s->model->node_count <= FEW_NODES || before - score_value(&s->score) > 1e-3 * before));
}

/* ---- moves that turned out not to be needed ---- */

static bool send_home(struct search *s)
{
    bool any = false;
    const struct model *m = s->model;
    for (int g = 0; g < m->guest_count; g++) {
        int at = s->model->home[g], mirror = s->model->home_mirror[g];
        if ((m->at[g] == at && m->mirror[g] == mirror) || at < 0 || m->nodes[at].offline)
            continue;
        s->evaluations++;
        double gain = score_value(&s->score) - score_after(&s->score, g, at, mirror) - search_price(s, g, at, mirror);
        if (gain < 0 || rules_check(m, s->policy, g, at, mirror) != RULE_NONE)
            continue;
        search_commit(s, g, at, mirror);
        any = true;
    }
    return any;
}

static void rest(struct search *s)
{
    int rounds = s->model->node_count <= FEW_NODES ? 50 : 4;
    for (int round = 0; round < rounds && !s->stopped; round++) {
        descend(s, false);
        bool better = search_swaps(s);
        if (!better && s->model->guest_count <= SMALL_ENOUGH_TO_CHAIN)
            better = search_chains(s);
        better |= send_home(s);
        if (!better)
            return;
    }
}

/* ---- kicks ---- */

static double objective(const struct search *s)
{
    double sum = score_value(&s->score);
    const struct model *m = s->model;
    for (int g = 0; g < m->guest_count; g++)
        sum += price_to(s, g, m->at[g], m->mirror[g]);
    return sum;
}

static void keep(struct search *s)
{
    size_t bytes = (size_t)s->model->guest_count * sizeof *s->best_at;
    memcpy(s->best_at, s->model->at, bytes);
    memcpy(s->best_mirror, s->model->mirror, bytes);
}

static void go_back(struct search *s)
{
    const struct model *m = s->model;
    for (int g = 0; g < m->guest_count; g++)
        if (m->at[g] != s->best_at[g] || m->mirror[g] != s->best_mirror[g])
            score_commit(&s->score, g, s->best_at[g], s->best_mirror[g]);
    score_refresh(&s->score);
}

static void kick_once(struct search *s)
{
    const struct model *m = s->model;
    int wanted = 2 + (int)draw(s, 3);
    for (int tries = 0; wanted > 0 && tries < 40; tries++) {
        int g = (int)draw(s, (uint32_t)m->guest_count), n = (int)draw(s, (uint32_t)m->node_count);
        int p = m->at[g], mirror = m->mirror[g], way = mirror >= 0 ? (int)draw(s, MIRRORED_WAYS) : 0;
        if (s->stays[g] || n == p || n == mirror || p < 0)
            continue;
        int at = way == 0 || way == 1 ? n : way == 2 ? p : mirror; /* the four ways to bring in a new node */
        int other = way == 0 ? mirror : way == 1 ? p : n;
        if (search_forbidden(s, g, at) || rules_check(m, s->policy, g, at, other) != RULE_NONE)
            continue;
        search_commit(s, g, at, other);
        wanted--;
    }
}

static void kick(struct search *s)
{
    uint64_t size = (uint64_t)s->model->guest_count * (uint64_t)s->model->node_count * KICK_LOOKS;
    size = size > KICK_LEAST ? size : KICK_LEAST;
    size = size < SEARCH_KICK_EVALUATIONS ? size : SEARCH_KICK_EVALUATIONS;
    uint64_t end = s->evaluations + size * (s->model->has_mirrors ? MIRRORED_WAYS : 1);
    double best = objective(s);
    keep(s);
    for (int vain = 0; vain < KICKS_IN_VAIN && s->evaluations < end && !search_over(s); vain++) {
        kick_once(s); /* only who is near to it is looked at again; in a small cluster, everybody */
        if (s->model->node_count <= REST_AFTER_KICK_NODES)
            rest(s);
        else
            drain_heap(s);
        double now = objective(s);
        if (now < best - s->least_gain && !s->stopped) {
            best = now;
            keep(s);
            vain = -1;
        } else {
            go_back(s);
        }
    }
    go_back(s);
    rest(s);
}

/* ---- where the last plan left off ---- */

static bool go_as_before(struct search *s)
{
    const struct model *m = s->model;
    bool any = false;
    for (int g = 0; g < m->guest_count; g++) {
        int at = s->last->at[g], mirror = s->last->mirror[g];
        if (at < 0 || s->stays[g] || (at == m->at[g] && mirror == m->mirror[g]) || search_forbidden(s, g, at) ||
            rules_check(m, s->policy, g, at, mirror) != RULE_NONE)
            continue;
        search_commit(s, g, at, mirror);
        any = true;
    }
    return any;
}

/* A move may be half of a swap, so they are judged together. */
static void begin_as_before(struct search *s)
{
    double before = objective(s);
    keep(s);
    for (int round = 0; round < LAST_ROUNDS && go_as_before(s); round++)
        ;
    if (objective(s) > before - s->least_gain)
        go_back(s);
}

static bool makes_room(struct search *s)
{
    return !s->others_stay && !s->stopped && search_make_room(s);
}

void search_run(struct search *s, bool must)
{
    if (!s->model->node_count || !s->model->guest_count || !s->score.up)
        return;
    descend(s, true); /* who must move goes first, while there is room */
    while (makes_room(s))
        descend(s, true);
    if (must)
        return;
    double before = objective(s);
    if (s->last && s->last->count)
        begin_as_before(s);
    rest(s);
    /* at rest from the beginning stays so: a kick would find something on the tenth run that nine did not need */
    if (before - objective(s) > s->least_gain && s->model->guest_count <= KICK_GUESTS_MAX && !s->stopped)
        kick(s);
    while (makes_room(s)) { /* that there was none of before the others went */
        descend(s, true);
        rest(s);
    }
}
