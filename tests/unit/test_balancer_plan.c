/* Plans of random clusters: safe at every step, honest about the score, at rest when planned again, near the optimum.
 */
#include "tests/unit/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/capacity.h"
#include "balancer/loss.h"
#include "balancer/plan.h"
#include "balancer/plan_file.h"
#include "balancer/plan_last.h"
#include "balancer/policy.h"
#include "balancer/waves.h"
#include "node/base/err.h"
#include "tests/unit/random_cluster.h"

/* Plans per property; the sanitizers are slow, and the nightly run asks for more with an argument. */
static int plans_wanted = 60;
/* Of each plan's search, 0: until it rests. Many plans are made with less. */
static uint64_t evaluations;

static struct plan plan_of(const struct model *m, const struct policy *policy, uint64_t seed)
{
    struct plan plan;
    struct plan_options options = {.seed = seed, .budget.evaluations = evaluations};
    struct err err;
    if (plan_make(m, policy, &options, &plan, &err) < 0)
        fail_msg("%s", err.text);
    return plan;
}

static void apply(struct model *m, const struct plan *plan)
{
    for (int i = 0; i < plan->count; i++)
        model_place(m, plan->moves[i].guest, plan->moves[i].to, plan->moves[i].to_mirror);
}

/* The same; who keeps the room for losses keeps it after each wave. */
static void apply_with_room(struct model *m, const struct policy *policy, const struct plan *plan, int before)
{
    for (int i = 0; i < plan->count; i++) {
        model_place(m, plan->moves[i].guest, plan->moves[i].to, plan->moves[i].to_mirror);
        if (i + 1 == plan->count || plan->moves[i + 1].wave != plan->moves[i].wave)
            assert_true(capacity_tolerates(m, policy, before) >= before);
    }
}

static double exact_score(struct model *m, const struct policy *policy)
{
    struct score score;
    assert_int_equal(score_init(&score, m, policy, NULL), 0);
    double value = score_exact(&score);
    score_fini(&score);
    return value;
}

static void every_state_is_safe(void **state)
{
    (void)state;
    int moves = 0, parked = 0, kept = 0;
    for (uint64_t seed = 1; seed <= (uint64_t)plans_wanted; seed++) {
        struct policy policy = policy_default();
        policy.enter = policy.leave = 0;
        policy.parallel = 1 + (int)(seed % 6);
        policy.lose = seed % 5 == 0 ? 1 + seed % 10 / 5 : 0;
        struct model *m = random_cluster(seed, true);
        struct plan plan = plan_of(m, &policy, seed);
        int wrong = waves_check(m, &policy, &plan);
        if (wrong)
            fail_msg("seed %lu: move %d of %d breaks a hard rule", (unsigned long)seed, wrong, plan.count);
        int before = policy.lose ? capacity_tolerates(m, &policy, policy.lose) : 0, musts = 0;
        for (int i = 0; i < plan.count; i++)
            musts += plan.moves[i].from < 0 || m->nodes[plan.moves[i].from].offline;
        if (policy.lose && !musts) /* who must move may take the room for a lost node, nobody else */
            apply_with_room(m, &policy, &plan, before);
        else
            apply(m, &plan);
        assert_true(fabs(plan.after - exact_score(m, &policy)) < 1e-6);
        if (plan.after > plan.before + 1e-9)
            fail_msg("seed %lu: %d moves make it worse, %.9f to %.9f", (unsigned long)seed, plan.count, plan.before,
                     plan.after);
        kept += policy.lose && before && !musts && plan.count;
        for (int i = 0; i < plan.count; i++)
            parked += plan.moves[i].parking;
        moves += plan.count;
        plan_fini(&plan);
        model_free(m);
    }
    assert_true(moves > plans_wanted); /* otherwise nothing was tried */
    print_message("%d plans, %d moves, %d of them to wait; %d plans with room for a loss to keep\n", plans_wanted,
                  moves, parked, kept);
}

/* No more moves of a wave out of or into a rack, or a site, than its link is to carry; and everybody still gets there.
 */
static void links_are_shared(void **state)
{
    (void)state;
    int crossings = 0, more_waves = 0;
    for (uint64_t seed = 1; seed <= (uint64_t)plans_wanted; seed++) {
        struct policy policy = policy_default();
        policy.enter = policy.leave = 0;
        struct model *m = random_cluster_of(seed, 12, 60, false);
        bool sites = seed % 2;
        for (int n = 0; n < m->node_count; n++) {
            m->nodes[n].rack = n < 9 ? n / 3 : -1;
            if (sites) {
                m->nodes[n].site = m->nodes[n].rack;
                m->nodes[n].rack = -1;
            }
        }
        struct plan plain = plan_of(m, &policy, seed);
        policy.per_link = 1;
        struct plan plan = plan_of(m, &policy, seed);
        assert_int_equal(waves_check(m, &policy, &plan), 0);
        assert_true(plain.dropped || plan.dropped || fabs(plan.after - plain.after) < 1e-9);
        int used[5] = {0}; /* three nodes are a rack, or a site; the last are in none */
        for (int i = 0; i < plan.count; i++) {
            const struct model_node *from_node = &m->nodes[plan.moves[i].from], *to_node = &m->nodes[plan.moves[i].to];
            int from = 1 + (sites ? from_node->site : from_node->rack),
                to = 1 + (sites ? to_node->site : to_node->rack);
            if (!i || plan.moves[i].wave != plan.moves[i - 1].wave)
                memset(used, 0, sizeof used);
            if (from == to)
                continue;
            crossings++;
            assert_true((!from || ++used[from] == 1) && (!to || ++used[to] == 1));
        }
        more_waves += plan.waves > plain.waves;
        plan_fini(&plain);
        plan_fini(&plan);
        model_free(m);
    }
    assert_true(crossings > plans_wanted && more_waves > plans_wanted / 2);
}

static void its_own_result_is_at_rest(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= (uint64_t)plans_wanted; seed++) {
        struct policy policy = policy_default();
        policy.enter = policy.leave = 0;
        struct model *m = random_cluster(seed, seed % 2);
        struct plan plan = plan_of(m, &policy, seed);
        apply(m, &plan);
        bool whole = plan.dropped == 0 && plan.rests;
        plan_fini(&plan);
        plan = plan_of(m, &policy, seed + 1);
        if (whole && plan.count)
            fail_msg("seed %lu: planned again it wants %d moves, %.9f to %.9f", (unsigned long)seed, plan.count,
                     plan.before, plan.after);
        plan_fini(&plan);
        model_free(m);
    }
}

static struct plan plan_after(const struct model *m, const struct policy *policy, const struct plan_last *last)
{
    struct plan plan;
    struct plan_options options = {.seed = 1, .last = last};
    struct err err;
    if (plan_make(m, policy, &options, &plan, &err) < 0)
        fail_msg("%s", err.text);
    return plan;
}

/* The search begins where the last plan ended: it finds that again, with less looking. Whatever a last plan says, what
 * comes of it is safe and no worse than to stay. */
static void the_last_plan_is_a_start(void **state)
{
    (void)state;
    double cold = 0, warm = 0;
    uint64_t cold_looks = 0, warm_looks = 0;
    for (uint64_t seed = 1; seed <= (uint64_t)plans_wanted; seed++) {
        struct policy policy = policy_default();
        policy.enter = policy.leave = 0;
        struct model *m = random_cluster(seed, true);
        struct plan first = plan_after(m, &policy, NULL);
        struct plan_last last;
        json_t *waves = plan_waves_json(&first, m);
        assert_int_equal(plan_last_take(&last, waves, m), 0);
        json_decref(waves);
        struct plan again = plan_after(m, &policy, &last);
        assert_int_equal(waves_check(m, &policy, &again), 0);
        cold += first.after;
        warm += again.after;
        cold_looks += first.evaluations;
        warm_looks += again.evaluations;
        for (int g = 0; g < m->guest_count; g++)
            last.at[g] = (int)((seed * 7919 + (uint64_t)g * 104729) % (uint64_t)m->node_count);
        last.count = m->guest_count;
        struct plan nonsense = plan_after(m, &policy, &last);
        assert_int_equal(waves_check(m, &policy, &nonsense), 0);
        assert_true(nonsense.after <= nonsense.before + 1e-9);
        plan_fini(&first);
        plan_fini(&again);
        plan_fini(&nonsense);
        plan_last_fini(&last);
        model_free(m);
    }
    print_message("%d clusters: score %.6f, begun at the last plan %.6f; looks %lu and %lu\n", plans_wanted, cold, warm,
                  (unsigned long)cold_looks, (unsigned long)warm_looks);
    assert_true(warm <= cold * 1.001);
    assert_true(warm_looks < cold_looks);
}

static void a_seed_reproduces(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct model *m = random_cluster(seed, true);
        struct plan a = plan_of(m, &policy, 7), b = plan_of(m, &policy, 7);
        assert_int_equal(a.count, b.count);
        for (int i = 0; i < a.count; i++) {
            assert_int_equal(a.moves[i].guest, b.moves[i].guest);
            assert_int_equal(a.moves[i].to, b.moves[i].to);
        }
        plan_fini(&a);
        plan_fini(&b);
        model_free(m);
    }
}

/* ---- the optimum of tiny clusters, by looking at all of them ---- */

static void try_all(struct score *score, const struct policy *policy, int guest, double *best)
{
    struct model *m = score->model;
    if (guest == m->guest_count) {
        double value = score_value(score);
        if (value < *best && !rules_broken(m, policy))
            *best = value;
        return;
    }
    int home = m->at[guest];
    for (int n = 0; n < m->node_count; n++) {
        if (n != m->at[guest])
            score_commit(score, guest, n, -1);
        try_all(score, policy, guest + 1, best);
    }
    if (m->at[guest] != home)
        score_commit(score, guest, home, -1);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void near_the_optimum(void **state)
{
    (void)state;
    enum { CASES = 24 };
    double gaps[CASES];
    for (int i = 0; i < CASES; i++) {
        struct policy policy = policy_default();
        policy.enter = policy.leave = 0;
        policy.move_cost = policy.second_cost = policy.downtime_cost = policy.gib_cost = 0;
        policy.parallel = policy.per_node = 20;
        struct model *m = random_cluster_of((uint64_t)i + 1, 3, 7 + i % 2, false);
        struct plan plan = plan_of(m, &policy, 1);
        struct score score;
        assert_int_equal(score_init(&score, m, &policy, NULL), 0);
        double best = INFINITY;
        try_all(&score, &policy, 0, &best);
        gaps[i] = best > 1e-6 ? plan.after / best - 1 : plan.after;
        assert_true(gaps[i] > -1e-6); /* better than the best there is: then one of the two is wrong */
        score_fini(&score);
        plan_fini(&plan);
        model_free(m);
    }
    qsort(gaps, CASES, sizeof *gaps, by_size);
    print_message("gap to the optimum: median %.2f %%, worst %.2f %%\n", gaps[CASES / 2] * 100, gaps[CASES - 1] * 100);
    assert_true(gaps[CASES / 2] <= 0.02);
    assert_true(gaps[CASES - 1] <= 0.10);
}

/* ---- patience ---- */

static void patience_holds(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    policy.enter = policy.leave = 0;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct model *m = random_cluster(seed, true);
        struct plan plan = plan_of(m, &policy, seed);
        for (int i = 0; i < plan.count; i++) {
            const struct plan_move *v = &plan.moves[i];
            const struct model_guest *g = &m->guests[v->guest];
            bool must = v->from < 0 || m->nodes[v->from].offline;
            assert_true(must || (g->movable && g->measured));
            assert_true(must || g->moved_ago_s < 0 || g->moved_ago_s >= policy.cool_down_s);
            assert_true(must || v->parking || v->to != g->came_from || g->moved_ago_s >= policy.return_s);
            assert_true(!m->nodes[v->to].offline && !m->nodes[v->to].stale);
            assert_true(must || !m->nodes[v->from].stale);
        }
        plan_fini(&plan);
        model_free(m);
    }
}

static void balanced_is_left_alone(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    policy.enter = policy.leave = 1;
    policy.overload_limit = 1;
    policy.overload_weight = 0;
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct model *m = random_cluster(seed, false);
        struct plan plan = plan_of(m, &policy, seed);
        if (plan.spread < 1)
            assert_true(plan.count == 0 || plan.moves[0].from < 0);
        plan_fini(&plan);
        model_free(m);
    }
}

static void drains_and_loses(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    int drained = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct model *m = random_cluster(seed, false);
        struct plan plan;
        struct plan_options options = {.seed = 1};
        assert_int_equal(plan_drain(m, &policy, &options, 0, &plan, NULL), 0);
        assert_int_equal(waves_check(m, &policy, &plan), 0);
        int left = 0;
        for (int g = 0; g < m->guest_count; g++)
            left += plan.at[g] == 0;
        assert_true(left <= plan.stranded);
        drained += left == 0;
        plan_fini(&plan);
        struct loss loss;
        int homeless = 0, guest;
        assert_int_equal(loss_init(&loss, m, &policy, NULL, 0), 0);
        int lost = loss_try(&loss, (int[]){0}, 1, &guest);
        loss_fini(&loss);
        for (int g = 0; g < m->guest_count; g++)
            homeless += m->at[g] < 0;
        assert_int_equal(plan_lose(m, &policy, &options, (int[]){0}, 1, &plan, NULL), 0);
        if (lost == 0 && !homeless)
            assert_int_equal(plan.stranded, 0);
        plan_fini(&plan);
        model_free(m);
    }
    assert_true(drained > 20);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        plans_wanted = atoi(argv[1]);
    if (argc > 2) { /* only whether every state is safe, of that many plans with so small a search */
        evaluations = strtoull(argv[2], NULL, 10);
        cmocka_set_test_filter("every_state_is_safe");
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_state_is_safe), cmocka_unit_test(its_own_result_is_at_rest),
        cmocka_unit_test(a_seed_reproduces),   cmocka_unit_test(near_the_optimum),
        cmocka_unit_test(patience_holds),      cmocka_unit_test(balanced_is_left_alone),
        cmocka_unit_test(drains_and_loses),    cmocka_unit_test(the_last_plan_is_a_start),
        cmocka_unit_test(links_are_shared),
    };
    return cmocka_run_group_tests_name("balancer_plan", tests, NULL, NULL);
}
