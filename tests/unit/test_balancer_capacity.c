/* What `capacity` claims, beside the truth: small random clusters in which every set of nodes is lost and every way of
 * placing their guests is tried, by rules that are written down here once more. Never more is claimed than is true. */
#include "tests/unit/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/capacity.h"
#include "balancer/capacity_proof.h"
#include "balancer/loss.h"
#include "balancer/model.h"
#include "balancer/model_copy.h"
#include "balancer/plan_room.h"
#include "balancer/policy.h"
#include "balancer/rules.h"

enum { NODES_MOST = 7, GUESTS_MOST = 40, LOSE = 3 };

static int clusters_wanted = 500;

static uint32_t roll(uint64_t *seed, uint32_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)((*seed >> 32) * below >> 32);
}

/* ---- clusters ---- */

static void add_nodes(struct model *m, int count, uint64_t *seed)
{
    names_intern(&m->pools, "ssd", 3);
    for (int n = 0; n < count; n++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", n);
        struct model_node node = {.rack = n / 2, .site = -1, .speed = 1, .vcpus = 3 + roll(seed, 3)};
        node.memory = node.memory_free = 80 + 20 * roll(seed, 3);
        node.disk = node.disk_free = 100;
        if (roll(seed, 6))
            bits_add(&node.pools, 0);
        assert_int_equal(model_add_node(m, name, &node, NULL), n);
    }
}

static struct model_guest some_guest(int nodes, bool large, bool ruled, uint64_t *seed)
{
    struct model_guest g = {.movable = true, .balanced = true, .measured = true, .moved_ago_s = -1, .came_from = -1};
    g.memory = 1 + roll(seed, large ? 60 : 20);
    g.vcpus = 1 + roll(seed, large ? 4 : 3);
    g.disk = 1 + roll(seed, 50);
    g.local = ruled && !roll(seed, 5);
    g.state = roll(seed, 10) ? GUEST_RUNNING : GUEST_DOWN;
    if (ruled && !roll(seed, 4))
        bits_add(&g.pools, 0);
    if (!ruled || roll(seed, 4))
        return g;
    g.avoids = roll(seed, 2);
    g.pin_count = g.avoids ? 1 : 3;
    g.pins = malloc((size_t)g.pin_count * sizeof *g.pins);
    for (int i = 0; i < g.pin_count; i++)
        g.pins[i] = (int)roll(seed, (uint32_t)nodes);
    return g;
}

static void add_groups(struct model *m, uint64_t *seed)
{
    for (int i = 0; i < m->guest_count / 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "group%d", i);
        struct model_group g = {.scope = roll(seed, 3) ? SCOPE_NODE : SCOPE_RACK, .hard = roll(seed, 4), .weight = 1};
        int number = model_add_group(m, name, &g, NULL), members = 2 + (int)roll(seed, 2);
        for (int j = 0; j < members; j++)
            assert_int_equal(model_add_member(m, number, (i * 3 + j) % m->guest_count, NULL), 0);
    }
}

/* As full as it gets by rolling, one guest after another; who finds no place is nowhere. */
static struct model *cluster_of(uint64_t number)
{
    uint64_t seed = number * 2654435761 + 88172645463325252;
    struct policy policy = policy_default();
    struct model *m = model_new(MODEL_DROVER);
    int nodes = 3 + (int)(number % (NODES_MOST - 2)), at[GUESTS_MOST];
    roll(&seed, 2);
    add_nodes(m, nodes, &seed);
    bool ruled = roll(&seed, 3), large = roll(&seed, 2);
    int guests = 1 + (int)roll(&seed, (uint32_t)(nodes * (large ? 3 : 5)));
    for (int g = 0; g < guests; g++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", g);
        struct model_guest guest = some_guest(nodes, large, ruled, &seed);
        assert_int_equal(model_add_guest(m, name, &guest, NULL), g);
        at[g] = -1;
    }
    if (ruled)
        add_groups(m, &seed);
    assert_int_equal(model_ready(m, at, NULL, NULL), 0);
    for (int g = 0; g < guests; g++) {
        int first = (int)roll(&seed, (uint32_t)nodes);
        for (int i = 0; i < nodes && m->at[g] < 0; i++)
            if (rules_check(m, &policy, g, (first + i) % nodes, -1) == RULE_NONE)
                model_place(m, g, (first + i) % nodes, -1);
    }
    model_set_offline(m, 0, !roll(&seed, 6));
    m->nodes[1].stale = !roll(&seed, 6);
    return m;
}

/* ---- the truth ---- */

struct truth {
    const struct model *m;
    double vcpu_ratio;
    bool lost[NODES_MOST];
    int at[2 * GUESTS_MOST], waiting[2 * GUESTS_MOST], count;
};

static bool in_one_place(const struct truth *t, enum model_scope scope, int a, int b)
{
    return a == b || (scope == SCOPE_RACK && t->m->nodes[a].rack == t->m->nodes[b].rack);
}

static bool keeps_apart(const struct truth *t, int guest, int node)
{
    for (int i = 0; i < t->m->group_count; i++) {
        const struct model_group *g = &t->m->groups[i];
        bool member = false;
        for (int j = 0; g->hard && j < g->count; j++)
            member |= g->members[j] == guest;
        for (int j = 0; member && j < g->count; j++) {
            int other = g->members[j], there = t->at[other];
            if (other != guest && there >= 0 && !t->m->nodes[there].offline && in_one_place(t, g->scope, there, node))
                return false;
        }
    }
    return true;
}

static bool may_be(const struct truth *t, int guest, int node)
{
    const struct model_guest *g = &t->m->guests[guest];
    const struct model_node *n = &t->m->nodes[node];
    double memory = g->memory, vcpus = g->vcpus, disk = g->local ? g->disk : 0;
    bool pinned = false;
    for (int i = 0; i < g->pin_count; i++)
        pinned |= g->pins[i] == node;
    if (t->lost[node] || n->offline || n->stale || (g->pins && pinned == g->avoids) ||
        (bits_has(&g->pools, 0) && !bits_has(&n->pools, 0)))
        return false;
    for (int o = 0; o < t->m->guest_count; o++) {
        const struct model_guest *other = &t->m->guests[o];
        if (t->at[o] != node)
            continue;
        memory += other->memory; /* also of those that do not run */
        vcpus += other->vcpus;
        disk += other->local ? other->disk : 0;
    }
    return memory <= n->memory && (!g->local || disk <= n->disk) && vcpus <= t->vcpu_ratio * n->vcpus &&
           keeps_apart(t, guest, node);
}

/* Is there a place for everybody from this one on? */
static bool all_find(struct truth *t, int first)
{
    if (first == t->count)
        return true;
    for (int n = 0; n < t->m->node_count; n++) {
        if (!may_be(t, t->waiting[first], n))
            continue;
        t->at[t->waiting[first]] = n;
        if (all_find(t, first + 1))
            return true;
        t->at[t->waiting[first]] = -1;
    }
    return false;
}

/* The nodes are a set of bits. */
static bool is_survived(const struct model *m, const struct policy *policy, unsigned nodes)
{
    struct truth t = {.m = m, .vcpu_ratio = policy->vcpu_ratio};
    for (int n = 0; n < m->node_count; n++)
        t.lost[n] = nodes >> n & 1;
    for (int g = 0; g < m->guest_count; g++) {
        t.at[g] = m->at[g] >= 0 && t.lost[m->at[g]] ? -1 : m->at[g];
        if (t.at[g] < 0 && m->at[g] >= 0 && m->guests[g].state == GUEST_RUNNING)
            t.waiting[t.count++] = g;
    }
    for (int i = 1; i < t.count; i++) /* the largest first: what cannot be is seen sooner */
        for (int j = i; j > 0 && m->guests[t.waiting[j]].memory > m->guests[t.waiting[j - 1]].memory; j--) {
            int other = t.waiting[j];
            t.waiting[j] = t.waiting[j - 1];
            t.waiting[j - 1] = other;
        }
    return all_find(&t, 0);
}

/* Of so many nodes that are up every set, and every smaller one. */
static int truth_of(const struct model *m, const struct policy *policy, int most)
{
    unsigned up = 0;
    for (int n = 0; n < m->node_count; n++)
        up |= m->nodes[n].offline ? 0 : 1u << n;
    for (int size = 1; size <= most; size++)
        for (unsigned set = 0; set < 1u << m->node_count; set++)
            if (__builtin_popcount(set) == size && !(set & ~up) && !is_survived(m, policy, set))
                return size - 1;
    return most;
}

/* ---- claims ---- */

/* Of these nodes' guests, how many the orders that are tried find no place for. */
static int lost_of(struct model *m, const struct policy *policy, const int *nodes, int count)
{
    struct loss loss;
    int guest;
    assert_int_equal(loss_init(&loss, m, policy, NULL, 0), 0);
    int lost = loss_try(&loss, nodes, count, &guest);
    loss_fini(&loss);
    return lost;
}

/* So many are said to be survived without trying any. */
static int proved_of(const struct model *m, const struct policy *policy, int most)
{
    bool doubtful[NODES_MOST];
    struct capacity_proof *proof = capacity_proof_new(m, policy, NULL, 0);
    int proved = 0;
    assert_non_null(proof);
    while (proved < most && !capacity_proof_doubts(proof, proved + 1, doubtful))
        proved++;
    capacity_proof_free(proof);
    return proved;
}

static void check_worst(const struct model *m, const struct capacity_losses *l)
{
    bool named = false;
    assert_true(m->guests[l->guest].state == GUEST_RUNNING);
    for (int i = 0; i < l->worst_count; i++) {
        assert_false(m->nodes[l->worst[i]].offline);
        for (int j = 0; j < i; j++)
            assert_true(l->worst[i] != l->worst[j]);
        named |= m->at[l->guest] == l->worst[i];
    }
    assert_true(named);
}

static void no_more_is_claimed_than_is_true(void **state)
{
    (void)state;
    int claimed[LOSE + 1] = {0}, less = 0, proved = 0;
    for (int number = 1; number <= clusters_wanted; number++) {
        struct policy policy = policy_default();
        policy.vcpu_ratio = 2 + number % 3;
        struct model *m = cluster_of((uint64_t)number);
        struct capacity_losses l, again;
        int up = m->node_count - m->nodes[0].offline, most = up < LOSE ? up : LOSE;
        int truth = truth_of(m, &policy, most), proof = proved_of(m, &policy, most);
        assert_int_equal(capacity_losses(m, &policy, LOSE, CAPACITY_WORK, &l), 0);
        if (l.shown > truth || proof > truth)
            fail_msg("cluster %d: %d nodes are said, %d proved to be bearable, and %d are", number, l.shown, proof,
                     truth);
        assert_true(l.exact && l.likely == l.shown);
        assert_int_equal(l.worst_count > 0, l.shown < most);
        if (l.worst_count) {
            assert_int_equal(l.worst_count, l.shown + 1);
            assert_true(lost_of(m, &policy, l.worst, l.worst_count) > 0);
            check_worst(m, &l);
        }
        assert_int_equal(capacity_losses(m, &policy, LOSE, 0, &again), 0); /* nothing but the first of each size */
        assert_true(again.shown <= l.shown && again.likely >= l.shown);
        assert_true(again.exact == (again.shown == l.shown && (again.worst_count == l.worst_count)));
        claimed[l.shown]++;
        less += l.shown < truth;
        proved += proof > 0;
        model_free(m);
    }
    print_message("%d clusters: 0 to 3 nodes may be lost in %d, %d, %d, %d; in %d more than is said; proved in %d\n",
                  clusters_wanted, claimed[0], claimed[1], claimed[2], claimed[3], less, proved);
    assert_true(claimed[0] && claimed[1] && claimed[2] && claimed[3] && proved); /* otherwise nothing was tried */
    assert_true(less * 20 < clusters_wanted);
}

/* The roomiest node each, as long as there is one. */
static void add_more(struct model *m, const struct policy *policy, int first, int count)
{
    for (int i = 0; i < count; i++) {
        int best = -1;
        for (int n = 0; n < m->node_count; n++)
            if (rules_check(m, policy, first + i, n, -1) == RULE_NONE &&
                (best < 0 || model_memory_free(m, n) > model_memory_free(m, best)))
                best = n;
        assert_true(best >= 0);
        model_place(m, first + i, best, -1);
    }
}

/* Beside so many more guests of a shape the loss is survived, with the rules of all that are there. */
static void what_fits_keeps_the_rules(void **state)
{
    (void)state;
    int some = 0, fewer = 0;
    for (int number = 1; number <= clusters_wanted; number++) {
        struct policy policy = policy_default();
        policy.vcpu_ratio = 2 + number % 3;
        struct model *m = cluster_of((uint64_t)number);
        struct model_guest shape = {.movable = true, .balanced = true, .measured = true, .vcpus = 1, .came_from = -1};
        struct capacity_fit fit;
        int lose = 1 + number % 2;
        shape.memory = 10 + number % 30;
        assert_int_equal(capacity_fits(m, &policy, &shape, lose, &fit, NULL), 0);
        assert_true(fit.exact && fit.with_loss <= fit.count && m->guest_count + fit.count <= 2 * GUESTS_MOST);
        struct model *more = model_copy_and(m, &shape, fit.with_loss);
        add_more(more, &policy, m->guest_count, fit.with_loss);
        if (fit.with_loss && truth_of(more, &policy, lose) < lose)
            fail_msg("cluster %d: beside %d guests the loss of %d nodes is not survived", number, fit.with_loss, lose);
        some += fit.with_loss > 0;
        fewer += fit.with_loss > 0 && fit.with_loss < fit.count;
        model_free(more);
        model_free(m);
    }
    print_message("%d clusters: guests fit beside a loss in %d, fewer than without it in %d\n", clusters_wanted, some,
                  fewer);
    assert_true(some > clusters_wanted / 10 && fewer > clusters_wanted / 20);
}

/* ---- along a plan ---- */

static bool anyone_must(const struct model *m, const struct plan *plan)
{
    for (int i = 0; i < plan->count; i++)
        if (plan->moves[i].from < 0 || m->nodes[plan->moves[i].from].offline)
            return true;
    return false;
}

static bool ends_wave(const struct plan *plan, int i)
{
    return i + 1 == plan->count || plan->moves[i + 1].wave != plan->moves[i].wave;
}

/* A plan that is to keep the room does so after each of its waves, however little was searched. */
static int moves_with_room(const struct model *now, struct policy policy, int tolerated, uint64_t evaluations)
{
    struct plan_options options = {.seed = 1, .budget.evaluations = evaluations};
    struct model *m = model_copy(now);
    struct plan plan;
    policy.lose = 2;
    assert_int_equal(plan_make(m, &policy, &options, &plan, NULL), 0);
    for (int i = 0; i < plan.count; i++) {
        model_place(m, plan.moves[i].guest, plan.moves[i].to, plan.moves[i].to_mirror);
        assert_true(!ends_wave(&plan, i) || truth_of(m, &policy, tolerated) >= tolerated);
    }
    for (int g = 0; g < m->guest_count; g++)
        assert_int_equal(plan.at[g], m->at[g]);
    int moves = plan.count;
    plan_fini(&plan);
    model_free(m);
    return moves;
}

/* Plans that were made without a thought of losses: as far as they are said to keep the room they do, in truth. */
static void the_room_is_there_after_each_wave(void **state)
{
    (void)state;
    int kept = 0, taken = 0, moves[2] = {0};
    for (int number = 1; number <= clusters_wanted; number++) {
        struct policy policy = policy_default();
        struct plan_options options = {.seed = 1, .budget.evaluations = 2000};
        struct plan plan;
        struct plan_room room, nothing;
        policy.vcpu_ratio = 2 + number % 3;
        policy.enter = policy.leave = policy.move_cost = policy.second_cost = 0;
        policy.parallel = 1 + number % 4;
        policy.weight[RESOURCE_CPU] = 0;
        policy.reserved_weight = number % 2 ? 1 : -1; /* also the contrary of spreading */
        struct model *m = cluster_of((uint64_t)number);
        assert_int_equal(plan_make(m, &policy, &options, &plan, NULL), 0);
        int tolerated = capacity_tolerates(m, &policy, 2);
        if (tolerated > 0 && plan.count && !anyone_must(m, &plan)) {
            assert_int_equal(plan_room_check(m, &policy, &plan, tolerated, PLAN_ROOM_WORK, NULL, &room), 0);
            moves[0] += moves_with_room(m, policy, tolerated, 0);
            moves[1] += moves_with_room(m, policy, tolerated, 50 + (uint64_t)number % 100);
            assert_true(room.good == plan.count || (room.culprit >= room.good && room.culprit < plan.count));
            for (int i = 0; i < plan.count && (i < room.good || i <= room.culprit); i++) {
                model_place(m, plan.moves[i].guest, plan.moves[i].to, plan.moves[i].to_mirror);
                if (i < room.good && ends_wave(&plan, i) && truth_of(m, &policy, tolerated) < tolerated)
                    fail_msg("cluster %d: the room is gone after move %d of %d", number, i + 1, plan.count);
            }
            assert_true(room.culprit < 0 || capacity_tolerates(m, &policy, tolerated) < tolerated);
            assert_int_equal(plan_room_check(m, &policy, &plan, tolerated, 0, NULL, &nothing), 0);
            assert_true(nothing.good == 0 && nothing.culprit < 0 && nothing.stopped && !room.stopped);
            kept += room.culprit < 0;
            taken += room.culprit >= 0;
        }
        plan_fini(&plan);
        model_free(m);
    }
    print_message("%d plans keep the room, %d do not; %d moves of those that are to, %d with a small budget\n", kept,
                  taken, moves[0], moves[1]);
    assert_true(kept && taken && moves[0] && moves[1]);
}

/* ---- by hand ---- */

/* Nodes with so much room, and guests of these sizes on them; the first of them in pairs that stay together. */
static struct model *model_with(int nodes, double room, int guests, const double *memory, const int *at, int pairs)
{
    struct model *m = model_new(MODEL_DROVER);
    for (int n = 0; n < nodes; n++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", n);
        struct model_node node = {.rack = -1, .site = -1, .speed = 1, .vcpus = 64, .memory = room, .memory_free = room};
        for (int g = 0; g < guests; g++)
            node.memory_free -= at[g] == n ? memory[g] : 0;
        assert_int_equal(model_add_node(m, name, &node, NULL), n);
    }
    for (int g = 0; g < guests; g++) {
        char name[16];
        snprintf(name, sizeof name, "g%d", g);
        struct model_guest guest = {.movable = true, .balanced = true, .measured = true, .vcpus = 1, .came_from = -1};
        guest.memory = memory[g];
        assert_int_equal(model_add_guest(m, name, &guest, NULL), g);
    }
    for (int i = 0; i < pairs; i++) {
        char name[32];
        snprintf(name, sizeof name, "pair%d", i);
        struct model_group pair = {.scope = SCOPE_NODE, .hard = true, .together = true};
        assert_int_equal(model_add_group(m, name, &pair, NULL), i);
        for (int j = 0; j < 2; j++)
            assert_int_equal(model_add_member(m, i, 2 * i + j, NULL), 0);
    }
    assert_int_equal(model_ready(m, at, NULL, NULL), 0);
    return m;
}

static struct model *model_of(int nodes, double room, int guests, const double *memory, const int *at)
{
    return model_with(nodes, room, guests, memory, at, 0);
}

static void pin(struct model *m, int guest, int count, int first)
{
    struct model_guest *g = &m->guests[guest];
    free(g->pins);
    g->pins = malloc((size_t)count * sizeof *g->pins);
    g->pin_count = count;
    for (int i = 0; i < count; i++)
        g->pins[i] = (first + i) % m->node_count;
}

/* The two nodes with the most memory in use may be lost together, two others not: only they can run one another's. */
static void the_worst_pair_is_not_that_of_the_fullest(void **state)
{
    (void)state;
    static const double memory[] = {60, 50, 40, 30, 10, 10};
    static const int at[] = {0, 1, 2, 3, 4, 5};
    struct policy policy = policy_default();
    struct model *m = model_of(6, 100, 6, memory, at);
    struct capacity_losses l;
    pin(m, 4, 2, 4);
    assert_int_equal(capacity_losses(m, &policy, 2, CAPACITY_WORK, &l), 0);
    assert_int_equal(l.shown, 1);
    assert_true(l.exact);
    assert_int_equal(l.worst_count, 2);
    assert_int_equal(l.worst[0], 4);
    assert_int_equal(l.worst[1], 5);
    assert_int_equal(l.guest, 4);
    assert_int_equal(capacity_losses(m, &policy, 2, 0, &l),
                     0); /* where not all pairs are tried, they are not claimed */
    assert_int_equal(l.shown, 1);
    assert_int_equal(l.likely, 2);
    assert_false(l.exact);
    model_free(m);
}

/* Of two guests the larger one goes to the roomiest node, and the other one may only be there: each has a place if the
 * larger one fills the other node. */
static void a_second_order_finds_room(void **state)
{
    (void)state;
    static const double memory[] = {40, 60, 40, 30};
    static const int at[] = {0, 0, 1, 2};
    struct policy policy = policy_default();
    struct model *m = model_of(3, 100, 4, memory, at);
    assert_int_equal(lost_of(m, &policy, (int[]){0}, 1), 0); /* 60 to n2, 40 to n1 */
    m->nodes[2].free_at_load = 99;
    pin(m, 0, 1, 2);
    assert_int_equal(lost_of(m, &policy, (int[]){0}, 1), 0); /* 60 fills n1 */
    m->nodes[1].free_at_load = 99;
    assert_int_equal(lost_of(m, &policy, (int[]){0}, 1), 1);
    model_free(m);
}

/* A large cluster with room is proved, in which all sets of ten nodes could never be tried. What is said of one guest
 * that two nodes can run is tried; of hundreds of such guests not all can be. */
static void a_large_cluster_is_proved(void **state)
{
    (void)state;
    enum { NODES = 400, GUESTS = 2400, TWO = 200 };
    static double memory[GUESTS];
    static int at[GUESTS];
    static bool doubtful[NODES];
    struct policy policy = policy_default();
    struct capacity_losses l;
    for (int g = 0; g < GUESTS; g++) {
        memory[g] = 1 + g % 16;
        at[g] = g % NODES;
    }
    struct model *m = model_of(NODES, 120, GUESTS, memory, at);
    assert_int_equal(capacity_losses(m, &policy, 10, CAPACITY_WORK, &l), 0);
    assert_int_equal(l.shown, 10);
    assert_true(l.exact);
    pin(m, TWO, 2, at[TWO]);
    struct capacity_proof *proof = capacity_proof_new(m, &policy, NULL, 0);
    assert_int_equal(capacity_proof_doubts(proof, 1, doubtful), 1);
    assert_int_equal(capacity_proof_doubts(proof, 10, doubtful), 1);
    assert_true(doubtful[at[TWO]]);
    capacity_proof_free(proof);
    assert_int_equal(capacity_losses(m, &policy, 2, CAPACITY_WORK, &l), 0);
    assert_int_equal(l.shown, 1);
    assert_true(l.exact && l.worst_count == 2 && l.guest == TWO);
    assert_int_equal(l.worst[0] + l.worst[1], at[TWO] + at[TWO] + 1);
    for (int g = 0; g < NODES; g++)
        if (g != TWO)
            pin(m, g, 3, at[g]);
    assert_int_equal(capacity_losses(m, &policy, 2, CAPACITY_WORK, &l), 0);
    assert_int_equal(l.shown, 1);
    assert_int_equal(l.likely, 2);
    assert_false(l.exact);
    assert_int_equal(capacity_losses(m, &policy, 2, 40 * CAPACITY_WORK, &l), 0);
    assert_true(l.exact && l.shown == 1 && l.guest == TWO);
    model_free(m);
}

enum { PAIRED_MOST = 1500, PAIRED_MORE = 8 };

/* A pair on each node, of which nothing can be proved: whoever comes second looks at every node for the first. After
 * them others of so much memory, on these nodes. */
static struct model *paired_model(int nodes, int more, const double *sizes, const int *places)
{
    static double memory[2 * PAIRED_MOST + PAIRED_MORE];
    static int at[2 * PAIRED_MOST + PAIRED_MORE];
    for (int i = 0; i < 2 * nodes; i++) {
        memory[i] = 1;
        at[i] = i / 2;
    }
    for (int i = 0; i < more; i++) {
        memory[2 * nodes + i] = sizes[i];
        at[2 * nodes + i] = places[i];
    }
    return model_with(nodes, 100, 2 * nodes + more, memory, at, nodes);
}

/* A part of planning is over sooner than what somebody waits for. */
static void planning_looks_less(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    struct model *m = paired_model(PAIRED_MOST, 0, NULL, NULL);
    struct capacity_losses l;
    assert_int_equal(capacity_losses(m, &policy, 1, CAPACITY_WORK_ASKED, &l), 0);
    assert_true(l.looks > CAPACITY_WORK_EACH + 10 * PAIRED_MOST && l.looks < CAPACITY_WORK_MOST);
    assert_true(l.shown == 1 && l.exact);
    assert_int_equal(capacity_losses(m, &policy, 1, CAPACITY_WORK, &l), 0);
    assert_true(l.looks >= CAPACITY_WORK_EACH && l.looks < CAPACITY_WORK_EACH + 10 * PAIRED_MOST);
    assert_true(l.shown == 0 && l.likely == 1 && !l.exact);
    model_free(m);
}

/* *data: so many times it is not yet over. */
static bool is_over(void *data)
{
    int *left = data;
    return (*left)-- <= 0;
}

/* Looking at one state is never interrupted, and begun no more once the time is over: not between waves, and not
 * between the moves of one. */
static void a_check_ends_with_the_time(void **state)
{
    (void)state;
    enum { NODES = 400, STAYS = 2 * NODES, GOES, FIRST, SECOND };
    static const double sizes[] = {60, 50, 1, 1};
    static const int places[] = {0, 2, 5, 6};
    struct policy policy = policy_default();
    struct model *m = paired_model(NODES, 4, sizes, places);
    struct capacity_losses l;
    pin(m, STAYS, 2, 0);
    assert_int_equal(capacity_losses(m, &policy, 1, CAPACITY_WORK, &l), 0);
    assert_true(l.shown == 1 && l.looks > PLAN_ROOM_GRACE);
    static const struct {
        int waves, times, good, culprit; /* times: the time is over after so many questions; -1: never */
    } cases[] = {{1, -1, 0, 2}, {1, 0, 0, -1}, {1, 2, 0, -1}, {3, -1, 2, 2}, {3, 0, 1, -1}, {3, 2, 2, -1}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        int left = cases[i].times, waves = cases[i].waves;
        struct search_budget budget = {.stop = left >= 0 ? is_over : NULL, .data = &left};
        struct plan_move moves[3] = {
            {FIRST, 5, -1, 7, -1, .wave = 0},
            {SECOND, 6, -1, 8, -1, .wave = waves / 2},
            {GOES, 2, -1, 1, -1, .wave = waves - 1}}; /* then nobody can run STAYS for node 0 */
        struct plan plan = {.moves = moves, .count = 3, .waves = waves};
        struct plan_room room;
        assert_int_equal(plan_room_check(m, &policy, &plan, 1, PLAN_ROOM_WORK, &budget, &room), 0);
        assert_int_equal(room.good, cases[i].good);
        assert_int_equal(room.culprit, cases[i].culprit);
        assert_int_equal(room.stopped, cases[i].times >= 0);
        assert_true(cases[i].times != 0 || room.looks < PLAN_ROOM_GRACE + l.looks);
    }
    model_free(m);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        clusters_wanted = atoi(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_is_claimed_than_is_true),
        cmocka_unit_test(what_fits_keeps_the_rules),
        cmocka_unit_test(the_room_is_there_after_each_wave),
        cmocka_unit_test(the_worst_pair_is_not_that_of_the_fullest),
        cmocka_unit_test(a_second_order_finds_room),
        cmocka_unit_test(a_large_cluster_is_proved),
        cmocka_unit_test(planning_looks_less),
        cmocka_unit_test(a_check_ends_with_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
