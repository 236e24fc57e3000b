/* Nodes to sleep and wake: as far as the rules and limits let it and no further, safe on the way, and at rest when it
 * was done. */
#include "tests/unit/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/capacity.h"
#include "balancer/consolidate.h"
#include "balancer/model.h"
#include "balancer/policy.h"
#include "balancer/rules.h"
#include "balancer/waves.h"
#include "node/base/err.h"
#include "tests/unit/random_cluster.h"

static int clusters_wanted = 250;

static struct consolidation advice(const struct model *m, const struct policy *policy)
{
    const struct consolidate_options options = {.seed = 1};
    struct consolidation c;
    struct err err;
    if (consolidate(m, policy, &options, &c, &err) < 0)
        fail_msg("%s", err.text);
    return c;
}

/* Equal nodes of 32 threads and 128 GiB with so many guests each, of which each takes `load` processors. */
static struct model *even(int nodes, int guests_each, double load)
{
    struct model *m = model_new(MODEL_DROVER);
    int at[256], guests = nodes * guests_each;
    assert_non_null(m);
    for (int n = 0; n < nodes; n++) {
        char name[16];
        struct model_node node = {.rack = -1, .site = -1, .speed = 1, .vcpus = 32, .memory = 131072};
        snprintf(name, sizeof name, "n%d", n);
        node.memory_free = 131072 - guests_each * 4096;
        node.load_capacity[RESOURCE_CPU] = 32;
        assert_int_equal(model_add_node(m, name, &node, NULL), n);
    }
    for (int g = 0; g < guests; g++) {
        char name[16];
        struct model_guest guest = {.movable = true,
                                    .balanced = true,
                                    .measured = true,
                                    .vcpus = 2,
                                    .memory = 4096,
                                    .moved_ago_s = -1,
                                    .came_from = -1,
                                    .load[RESOURCE_CPU] = load};
        snprintf(name, sizeof name, "g%d", g);
        assert_int_equal(model_add_guest(m, name, &guest, NULL), g);
        at[g] = g / guests_each;
    }
    assert_int_equal(model_ready(m, at, NULL, NULL), 0);
    return m;
}

/* Done as advised: guests are where the plan has them, the nodes are drained and away. */
static void carry_out(struct model *m, const struct consolidation *c)
{
    for (int i = 0; i < c->plan.count; i++)
        model_place(m, c->plan.moves[i].guest, c->plan.moves[i].to, -1);
    for (int n = 0; n < m->node_count; n++)
        if (c->nodes[n].verdict == CONSOLIDATE_SLEEPS) {
            m->nodes[n].drained = true;
            model_set_offline(m, n, true);
        }
}

static void an_idle_cluster_shrinks(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    /* 40 guests of 0.1 processors and 4 GiB: 160 GiB. Two nodes hold it, but not at 85 % memory with one of them lost.
     */
    struct model *m = even(10, 4, 0.1);
    struct consolidation c = advice(m, &policy);
    assert_int_equal(c.sleeps, 7);
    assert_int_equal(c.wakes, 0);
    assert_int_equal(waves_check(m, &policy, &c.plan), 0);
    carry_out(m, &c);
    assert_true(capacity_tolerates(m, &policy, 1) >= 1);
    for (int g = 0; g < m->guest_count; g++) /* two would do for the memory, but not bear a loss */
        model_place(m, g, 1 + g % 2, -1);
    model_set_offline(m, 0, true);
    assert_true(model_memory_free(m, 1) >= 0 && capacity_tolerates(m, &policy, 1) < 1);
    consolidate_fini(&c);
    model_free(m);

    m = even(10, 4, 0.1); /* the least that stay on */
    policy.consolidate.keep = 6;
    c = advice(m, &policy);
    assert_int_equal(c.sleeps, 4);
    consolidate_fini(&c);

    policy.consolidate.keep = 1; /* without room for a loss */
    policy.consolidate.lose = policy.lose = 0;
    c = advice(m, &policy);
    assert_int_equal(c.sleeps, 8);
    consolidate_fini(&c);

    policy.lose = 3; /* the policy's own room is kept in any case */
    c = advice(m, &policy);
    assert_int_equal(c.sleeps, 5);
    consolidate_fini(&c);
    model_free(m);

    policy = policy_default(); /* at most 0.7 x 32 = 22.4 a node: 8 guests */
    m = even(10, 4, 2.75);
    c = advice(m, &policy);
    assert_int_equal(c.sleeps, 5);
    assert_true(c.load_after[RESOURCE_CPU] <= 0.7 + 1e-9 && c.load_after[RESOURCE_CPU] > 0.6);
    for (int n = 0; n < 10; n++)
        assert_true(c.nodes[n].verdict == CONSOLIDATE_SLEEPS || c.nodes[n].reason == CONSOLIDATE_LIMIT);
    consolidate_fini(&c);
    model_free(m);
}

/* One of ten that could all sleep but for something of its own. */
static void stays_for(void (*make)(struct model *m), enum consolidate_reason reason)
{
    struct policy policy = policy_default();
    struct model *m = even(10, 2, 0.1);
    policy.consolidate.keep = 1;
    make(m);
    struct consolidation c = advice(m, &policy);
    assert_int_equal(c.nodes[9].verdict, CONSOLIDATE_STAYS);
    assert_int_equal(c.nodes[9].reason, reason);
    assert_true(c.sleeps > 0);
    for (int i = 0; i < c.plan.count; i++)
        assert_int_not_equal(c.plan.moves[i].from, 9);
    consolidate_fini(&c);
    model_free(m);
}

static void with_members(struct model *m)
{
    m->nodes[9].members = 1;
}
static void kept_on(struct model *m)
{
    m->nodes[9].stays_on = true;
}
static void unmeasured_node(struct model *m)
{
    m->nodes[9].stale = true;
}
static void unmeasured_guest(struct model *m)
{
    m->guests[19].measured = false;
}
static void fixed_guest(struct model *m)
{
    m->guests[19].movable = false;
}
static void stopped_guest(struct model *m)
{
    m->guests[19].state = GUEST_DOWN;
}
static void resting_guest(struct model *m)
{
    m->guests[19].moved_ago_s = 5;
}
static void pinned_guest(struct model *m)
{
    int *pins = malloc(sizeof *pins);
    assert_non_null(pins);
    *pins = 9;
    m->guests[19].pins = pins;
    m->guests[19].pin_count = 1;
}

static void who_must_stay_stays(void **state)
{
    (void)state;
    stays_for(with_members, CONSOLIDATE_MEMBERS);
    stays_for(kept_on, CONSOLIDATE_STAYS_ON);
    stays_for(unmeasured_node, CONSOLIDATE_STALE);
    stays_for(unmeasured_guest, CONSOLIDATE_UNMEASURED);
    stays_for(fixed_guest, CONSOLIDATE_FIXED);
    stays_for(stopped_guest, CONSOLIDATE_FIXED);
    stays_for(resting_guest, CONSOLIDATE_RESTING);
    stays_for(pinned_guest, CONSOLIDATE_RULES);
}

static void nothing_goes_where_nothing_is_known(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    struct model *m = even(10, 2, 0.1);
    m->guests[0].measured = false; /* of the first node */
    m->nodes[1].stale = true;
    struct consolidation c = advice(m, &policy);
    assert_true(c.sleeps > 0);
    for (int i = 0; i < c.plan.count; i++)
        assert_true(c.plan.moves[i].to > 1);
    consolidate_fini(&c);
    for (int n = 0; n < 10; n++)
        m->nodes[n].stale = true;
    c = advice(m, &policy);
    assert_int_equal(c.sleeps + c.wakes, 0);
    consolidate_fini(&c);
    model_free(m);
}

static void who_waits_comes_first(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    struct model *m = even(10, 2, 0.1);
    model_set_offline(m, 3, true);
    struct consolidation c = advice(m, &policy);
    assert_int_equal(c.sleeps, 0);
    assert_int_equal(c.nodes[0].reason, CONSOLIDATE_WAITING);
    assert_int_equal(c.nodes[3].verdict, CONSOLIDATE_CLOSED);
    consolidate_fini(&c);
    model_free(m);
}

/* ---- waking ---- */

/* Six nodes of which the last four sleep; what was on them is on the first two. */
static struct model *two_of_six(double load)
{
    struct model *m = even(6, 4, load);
    for (int g = 8; g < 24; g++)
        model_place(m, g, g % 2, -1);
    for (int n = 2; n < 6; n++) {
        m->nodes[n].drained = true;
        model_set_offline(m, n, true);
    }
    return m;
}

static void a_hot_cluster_wakes_nodes(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    struct model *m = two_of_six(1.8); /* 12 x 1.8 = 21.6 of 32: 68 % */
    struct consolidation c = advice(m, &policy);
    assert_int_equal(c.asleep, 4);
    assert_int_equal(c.wakes, 0);
    consolidate_fini(&c);
    model_free(m);

    m = two_of_six(2.1); /* 79 %: above the one limit, below the other */
    c = advice(m, &policy);
    assert_int_equal(c.wakes + c.sleeps, 0);
    consolidate_fini(&c);
    model_free(m);

    m = two_of_six(2.5); /* 94 %: three nodes have 63 % */
    c = advice(m, &policy);
    assert_true(c.is_full);
    assert_int_equal(c.full.reason, CONSOLIDATE_LIMIT);
    assert_int_equal(c.wakes, 1);
    assert_int_equal(c.sleeps, 0);
    consolidate_fini(&c);

    for (int g = 0; g < 24;
         g++) { /* three are needed, which the sums say at once: 24 x 4 of 4 x 32 are 75 %, of 5 60 % */
        m->guests[g].load[RESOURCE_CPU] = 4;
        model_guest_changed(m, g);
    }
    model_recount(m);
    c = advice(m, &policy);
    assert_int_equal(c.wakes, 3);
    consolidate_fini(&c);

    m->nodes[0].stale = m->nodes[1].stale = true; /* nobody has measured it */
    c = advice(m, &policy);
    assert_int_equal(c.wakes, 0);
    consolidate_fini(&c);
    model_free(m);

    m = two_of_six(2.5); /* what is known of those that sleep is nothing but their names */
    for (int n = 2; n < 6; n++)
        m->nodes[n].vcpus = m->nodes[n].memory = 0;
    c = advice(m, &policy);
    assert_int_equal(c.wakes, 1);
    consolidate_fini(&c);
    model_free(m);
}

static void waking_has_a_reason_that_it_removes(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    struct model *m = even(6, 4, 0.5); /* one is hot by a single guest: no other node helps */
    for (int g = 20; g < 24; g++)
        model_place(m, g, 4, -1);
    m->nodes[5].drained = true;
    model_set_offline(m, 5, true);
    m->guests[0].load[RESOURCE_CPU] = 31;
    model_guest_changed(m, 0);
    model_recount(m);
    struct consolidation c = advice(m, &policy);
    assert_true(c.is_full);
    assert_int_equal(c.wakes, 0);
    assert_int_equal(c.nodes[1].reason, CONSOLIDATE_FULL);
    consolidate_fini(&c);

    m->guests[0].load[RESOURCE_CPU] = 0.5; /* all at one node is work for a plan */
    model_guest_changed(m, 0);
    for (int g = 0; g < 24; g++) {
        m->guests[g].load[RESOURCE_CPU] = 1.5;
        model_guest_changed(m, g);
        model_place(m, g, 0, -1);
    }
    model_recount(m);
    c = advice(m, &policy);
    assert_false(c.is_full);
    assert_int_equal(c.wakes, 0);
    consolidate_fini(&c);

    for (int n = 1; n < 5; n++) /* no room for a loss */
        model_set_offline(m, n, true);
    c = advice(m, &policy);
    assert_int_equal(c.wakes, 1);
    consolidate_fini(&c);
    model_free(m);
}

static int room_of(const struct model *m, const struct policy *policy, int lose)
{
    struct consolidate_losses losses;
    struct err err;
    assert_int_equal(consolidate_losses_init(&losses, m, policy, &err), 0);
    int room = consolidate_room(&losses, m, policy, lose);
    consolidate_losses_fini(&losses);
    return room;
}

/* What is promised of three nodes while a guest of 40 goes from A to B, another of 60 is on one of them, and one of 70
 * on C, which has so much room; and what is so before and after. */
static void promise(int other_at, double c_room, int before, int during, int after)
{
    static const double sizes[] = {40, 60, 70};
    const int at[] = {0, other_at, 2};
    struct policy policy = policy_default();
    struct model *m = model_new(MODEL_DROVER);
    struct plan_move move = {.guest = 0, .from = 0, .from_mirror = -1, .to = 1, .to_mirror = -1};
    const struct plan plan = {.moves = &move, .count = 1, .waves = 1};
    struct consolidate_losses losses;
    struct err err;
    for (int n = 0; n < 3; n++) {
        double room = n == 2 ? c_room : 100;
        struct model_node node = {.rack = -1, .site = -1, .speed = 1, .vcpus = 32, .memory = room, .memory_free = room};
        for (int g = 0; g < 3; g++)
            node.memory_free -= at[g] == n ? sizes[g] : 0;
        assert_int_equal(model_add_node(m, (const char *[]){"A", "B", "C"}[n], &node, &err), n);
    }
    for (int g = 0; g < 3; g++) {
        struct model_guest guest = {.movable = true, .balanced = true, .measured = true, .vcpus = 1, .came_from = -1};
        guest.memory = sizes[g];
        guest.moved_ago_s = -1;
        assert_int_equal(model_add_guest(m, (const char *[]){"a", "b", "c"}[g], &guest, &err), g);
    }
    assert_int_equal(model_ready(m, at, NULL, &err), 0);
    assert_int_equal(consolidate_losses_init(&losses, m, &policy, &err), 0);
    assert_int_equal(consolidate_room(&losses, m, &policy, 1), before);
    assert_int_equal(consolidate_room_during(&losses, m, &policy, &plan, 0, 1, 1), during);
    model_place(m, 0, 1, -1);
    assert_int_equal(consolidate_room(&losses, m, &policy, 1), after);
    consolidate_losses_fini(&losses);
    model_free(m);
}

static void who_moves_takes_room_on_both_nodes(void **state)
{
    (void)state;
    promise(1, 100, 0, 0, 1); /* with its room on neither, c would find a place at A, and each other one, too */
    promise(1, 110, 0, 0, 1); /* so it would without that on A: C takes the one that moves */
    promise(0, 110, 1, 0, 0); /* and at B without that on B */
}

/* ---- random clusters ---- */

/* What is said of many waves at once is never more than what each state between them has. */
static bool chunks_promise_too_little(const struct model *m, const struct policy *policy, const struct plan *plan)
{
    struct consolidate_losses losses;
    struct err err;
    assert_int_equal(consolidate_losses_init(&losses, m, policy, &err), 0);
    int promised = consolidate_room_during(&losses, m, policy, plan, 0, plan->count, 2);
    struct model *now = model_copy(m);
    assert_true(consolidate_room(&losses, now, policy, 2) >= promised);
    for (int i = 0; i < plan->count; i++) { /* after each move, which is more than the planner asks for */
        model_place(now, plan->moves[i].guest, plan->moves[i].to, -1);
        assert_true(consolidate_room(&losses, now, policy, 2) >= promised);
    }
    model_free(now);
    consolidate_losses_fini(&losses);
    return promised > 0;
}

static void judge(uint64_t seed, struct model *m, const struct policy *policy, const struct consolidation *c)
{
    int wrong = waves_check(m, policy, &c->plan), lose = consolidate_lose(policy), kept = 0;
    if (wrong)
        fail_msg("seed %lu: move %d of %d breaks a hard rule", (unsigned long)seed, wrong, c->plan.count);
    int broken = rules_broken(m, policy), room = room_of(m, policy, lose);
    struct model *now = model_copy(m);
    assert_non_null(now);
    for (int i = 0; i < c->plan.count; i++) {
        const struct plan_move *v = &c->plan.moves[i];
        const struct model_guest *g = &m->guests[v->guest];
        assert_int_equal(c->nodes[v->from].verdict == CONSOLIDATE_SLEEPS || v->wave > 0, 1);
        assert_true(g->movable && g->measured && !m->nodes[v->to].stale && !m->nodes[v->to].offline);
        model_place(now, v->guest, v->to, -1);
        assert_true(rules_broken(now, policy) <= broken);
        if (i + 1 == c->plan.count || c->plan.moves[i + 1].wave != v->wave)
            assert_true(room_of(now, policy, lose) >= room);
    }
    model_free(now);
    carry_out(m, c);
    for (int n = 0; n < m->node_count; n++) {
        bool sleeps = c->nodes[n].verdict == CONSOLIDATE_SLEEPS;
        assert_true(!sleeps || m->first[n] < 0);
        assert_true(!sleeps || (!m->nodes[n].stale && !m->nodes[n].members));
        kept += consolidate_counts(c->closed, n);
        for (int r = 0; c->sleeps && r < RESOURCE_COUNT && consolidate_counts(c->closed, n); r++)
            assert_true(consolidate_load(m, n, (enum model_resource)r) <= policy->consolidate.limit[r] + 1e-9);
    }
    assert_true(!c->sleeps || kept >= policy->consolidate.keep);
    assert_true(!c->sleeps || room_of(m, policy, lose) >= lose);
}

static void every_state_is_safe_and_the_end_at_rest(void **state)
{
    (void)state;
    int slept = 0, moves = 0, promised = 0;
    for (uint64_t seed = 1; seed <= (uint64_t)clusters_wanted; seed++) {
        struct policy policy = policy_default();
        policy.parallel = 1 + (int)(seed % 6);
        policy.cool_down_s = 0;
        policy.lose = seed % 5 == 0 ? 2 : 0;
        policy.consolidate.lose = seed % 3 != 0;
        int nodes = 3 + (int)(seed % 10);
        struct model *m = random_cluster_of(seed, nodes, nodes * (1 + (int)(seed % 4)), seed % 4 != 0);
        model_set_offline(m, 0, false);
        m->nodes[nodes - 1].members = seed % 2;
        for (int g = 0; g < m->guest_count; g++) { /* idle enough; who found no place is not there */
            for (int r = 0; r < RESOURCE_COUNT; r++)
                m->guests[g].load[r] /= (double)(2 + seed % 3);
            if (m->at[g] < 0)
                m->guests[g].state = GUEST_DOWN;
            model_guest_changed(m, g);
        }
        model_recount(m);
        struct consolidation c = advice(m, &policy);
        promised += chunks_promise_too_little(m, &policy, &c.plan);
        judge(seed, m, &policy, &c);
        bool some = c.sleeps > 0;
        slept += c.sleeps;
        moves += c.plan.count;
        consolidate_fini(&c);
        c = advice(m, &policy); /* it was done, and is looked at again */
        if (some && (c.sleeps || c.wakes))
            fail_msg("seed %lu: done, it wants %d more to sleep and %d to wake", (unsigned long)seed, c.sleeps,
                     c.wakes);
        consolidate_fini(&c);
        model_free(m);
    }
    assert_true(promised > clusters_wanted / 20);
    assert_true(slept > clusters_wanted / 2 && moves > clusters_wanted); /* otherwise nothing was tried */
    print_message("%d clusters, %d nodes asleep after %d moves\n", clusters_wanted, slept, moves);
}

static bool after_some(void *data)
{
    return --*(int *)data < 0;
}

/* Whenever the time is over there is an answer, it can be carried out, and it says that there may be more. */
static void a_budget_ends_it_anywhere(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    int some = 0, all = 0;
    for (int looks = 0, rests = 0; !rests; looks = looks * 5 / 4 + 1)
        for (int late = 0; late < 2; late++) {
            int left = looks;
            struct model *m = even(24, 3, 0.05);
            struct consolidation c;
            struct err err;
            const struct consolidate_options options = {
                .seed = 1, .stop = late ? NULL : after_some, .late = late ? after_some : NULL, .stop_data = &left};
            assert_int_equal(consolidate(m, &policy, &options, &c, &err), 0);
            assert_true(c.rests || !late || c.sleeps < 22);
            rests = c.rests;
            some += c.sleeps > 0 && !c.rests;
            all = c.sleeps;
            judge((uint64_t)looks, m, &policy, &c);
            consolidate_fini(&c);
            model_free(m);
        }
    assert_true(some > 2 && all > 10);
}

static bool at_once(void *data)
{
    (void)data;
    return true;
}

static void limits_of_the_question(void **state)
{
    (void)state;
    struct policy policy = policy_default();
    struct consolidation c;
    struct err err;
    struct model *m = even(10, 4, 0.1);
    const struct consolidate_options none = {.seed = 1, .stop = at_once}, whole = {.seed = 1};
    assert_int_equal(consolidate(m, &policy, &none, &c, &err), 0);
    assert_int_equal(c.sleeps, 0);
    assert_false(c.rests);
    assert_int_equal(c.nodes[0].reason, CONSOLIDATE_BUDGET);
    consolidate_fini(&c);
    model_free(m);
    m = two_of_six(2.5);
    assert_int_equal(consolidate(m, &policy, &none, &c, &err), 0);
    assert_int_equal(c.sleeps + c.wakes, 0);
    assert_int_equal(c.nodes[0].reason, CONSOLIDATE_BUDGET);
    consolidate_fini(&c);
    m->family = MODEL_GANETI;
    assert_true(consolidate(m, &policy, &whole, &c, &err) < 0);
    assert_non_null(strstr(err.text, "Ganeti"));
    model_free(m);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        clusters_wanted = atoi(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_cluster_shrinks),
        cmocka_unit_test(who_must_stay_stays),
        cmocka_unit_test(nothing_goes_where_nothing_is_known),
        cmocka_unit_test(who_waits_comes_first),
        cmocka_unit_test(a_hot_cluster_wakes_nodes),
        cmocka_unit_test(waking_has_a_reason_that_it_removes),
        cmocka_unit_test(who_moves_takes_room_on_both_nodes),
        cmocka_unit_test(a_budget_ends_it_anywhere),
        cmocka_unit_test(every_state_is_safe_and_the_end_at_rest),
        cmocka_unit_test(limits_of_the_question),
    };
    return cmocka_run_group_tests_name("balancer_consolidate", tests, NULL, NULL);
}
