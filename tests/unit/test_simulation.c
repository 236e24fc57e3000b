/* Moves that share links, and clusters through loads of every resource: what it takes, who has it meanwhile, and what
 * fails on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/flows.h"
#include "balancer/plan_time.h"
#include "balancer/rules.h"
#include "balancer/simulation.h"
#include "balancer/simulation_loads.h"
#include "node/base/err.h"

enum { NODES = 4, STEP_S = 300 };

static const double GIB = 1073741824, SWITCH_S = 0.02;

static void is_near(double a, double b)
{
    if (fabs(a - b) > 1e-6 * fmax(1, fabs(b)))
        fail_msg("%.9f is not %.9f", a, b);
}

/* Four nodes of 8 processors and 64 GiB, with links of 1 GiB a second; guests of so many GiB on node `at`, which write
 * nothing. */
struct cluster {
    struct model *m;
    struct policy policy;
    int at[16], count;
};

static struct cluster begin_cluster(void)
{
    struct cluster c = {.m = model_new(MODEL_DROVER), .policy = policy_default()};
    c.policy.link_bytes_per_s = GIB;
    for (int n = 0; n < NODES; n++) {
        struct model_node node = {.rack = -1, .site = -1, .speed = 1, .vcpus = 8, .memory = 65536};
        char name[16];
        snprintf(name, sizeof name, "n%d", n);
        node.memory_free = 65536; /* what ready() leaves */
        node.load_capacity[RESOURCE_CPU] = 8;
        node.load_capacity[RESOURCE_MEMORY] = 64 * GIB;
        assert_int_equal(model_add_node(c.m, name, &node, NULL), n);
    }
    return c;
}

static struct model_guest *add(struct cluster *c, int at, double gib)
{
    struct model_guest g = {.balanced = true,
                            .movable = true,
                            .measured = true,
                            .vcpus = 4,
                            .memory = gib * 1024,
                            .moved_ago_s = -1,
                            .came_from = -1};
    char name[16];
    snprintf(name, sizeof name, "g%d", c->count);
    c->at[c->count] = at;
    assert_int_equal(model_add_guest(c->m, name, &g, NULL), c->count);
    return &c->m->guests[c->count++];
}

static void ready(struct cluster *c)
{
    for (int g = 0; g < c->count; g++)
        c->m->nodes[c->at[g]].memory_free -= c->m->guests[g].memory;
    assert_int_equal(model_ready(c->m, c->at, NULL, NULL), 0);
}

/* ---- flows ---- */

struct lab {
    struct cluster c;
    struct flows flows;
    double load[NODES][RESOURCE_COUNT];
};

static void begin_lab(struct lab *lab, struct cluster c)
{
    memset(lab, 0, sizeof *lab);
    lab->c = c;
    ready(&lab->c);
    assert_int_equal(flows_init(&lab->flows, lab->c.m, &lab->c.policy), 0);
}

static void end_lab(struct lab *lab)
{
    flows_fini(&lab->flows);
    model_free(lab->c.m);
}

/* The next one that ends is this, after so many seconds. */
static struct flow ends(struct lab *lab, int guest, double seconds)
{
    struct flow ended;
    double passed = flows_run(&lab->flows, 1e9, lab->load, &ended);
    assert_int_equal(ended.guest, guest);
    is_near(passed, seconds);
    return ended;
}

/* Whatever it writes: alone on its links it takes what cost_migration() says. */
static void test_alone(void **state)
{
    (void)state;
    static const double writes[] = {0, 1e6, 5e8, 1e9, 2e9};
    for (unsigned i = 0; i < sizeof writes / sizeof *writes; i++) {
        struct cluster c = begin_cluster();
        struct lab lab;
        add(&c, 0, 8)->dirty_bytes_per_s = writes[i];
        c.m->nodes[1].link_bytes_per_s = 0.7 * GIB;
        begin_lab(&lab, c);
        struct cost cost = cost_migration(lab.c.m, &lab.c.policy, 0, 0, 1);
        assert_int_equal(flows_begin(&lab.flows, 0, 1, -1), 0);
        struct flow ended = ends(&lab, 0, cost.seconds);
        is_near(ended.all.bytes, cost.bytes);
        is_near(ended.all.seconds, cost.seconds);
        is_near(ended.all.downtime_s, cost.downtime_s);
        for (int n = 0; n < 2; n++) {
            is_near(lab.load[n][RESOURCE_CPU], FLOW_CORES * cost.seconds);
            is_near(lab.load[n][RESOURCE_NETWORK], cost.bytes);
        }
        assert_true(lab.load[2][RESOURCE_NETWORK] == 0);
        end_lab(&lab);
    }
}

/* 2 GiB and 6 GiB out of one node: 4 s for the first at half the link each, then 4 GiB are left and the link is free.
 */
static void test_share_a_source(void **state)
{
    struct cluster c = begin_cluster();
    struct lab lab;
    (void)state;
    add(&c, 0, 6);
    add(&c, 0, 2);
    begin_lab(&lab, c);
    assert_int_equal(flows_begin(&lab.flows, 0, 1, -1), 0);
    assert_int_equal(flows_begin(&lab.flows, 1, 2, -1), 0);
    ends(&lab, 1, 4 + SWITCH_S);
    struct flow last = ends(&lab, 0, 4); /* it had the whole link while the first one switched */
    is_near(last.all.seconds, 8 + SWITCH_S);
    is_near(last.all.bytes, 6 * GIB);
    is_near(lab.load[0][RESOURCE_NETWORK], 8 * GIB);
    end_lab(&lab);
}

/* Into one node from two, and beside them a pair that shares nothing. */
static void test_share_a_target(void **state)
{
    struct cluster c = begin_cluster();
    struct lab lab;
    (void)state;
    add(&c, 0, 3);
    add(&c, 1, 3);
    begin_lab(&lab, c);
    assert_int_equal(flows_begin(&lab.flows, 0, 2, -1), 0);
    assert_int_equal(flows_begin(&lab.flows, 1, 2, -1), 0);
    ends(&lab, 0, 6 + SWITCH_S);
    ends(&lab, 1, 0);
    end_lab(&lab);

    c = begin_cluster();
    add(&c, 0, 3);
    add(&c, 1, 3);
    begin_lab(&lab, c);
    assert_int_equal(flows_begin(&lab.flows, 0, 2, -1), 0);
    assert_int_equal(flows_begin(&lab.flows, 1, 3, -1), 0);
    ends(&lab, 0, 3 + SWITCH_S);
    ends(&lab, 1, 0);
    end_lab(&lab);
}

/* A node's link can be wider than what one migration may have: two have it whole then. Or narrower, and is halved. */
static void test_links_of_their_own(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        struct cluster c = begin_cluster();
        struct lab lab;
        add(&c, 0, 3);
        add(&c, 0, 3);
        c.m->nodes[0].link_bytes_per_s = (wide ? 2 : 0.5) * GIB;
        begin_lab(&lab, c);
        assert_int_equal(flows_begin(&lab.flows, 0, 1, -1), 0);
        assert_int_equal(flows_begin(&lab.flows, 1, 2, -1), 0);
        ends(&lab, 0, (wide ? 3 : 12) + SWITCH_S);
        ends(&lab, 1, 0);
        end_lab(&lab);
    }
}

/* A guest whose writes half a link carries, but not a quarter: what it writes is sent again and again. */
static void test_less_link_is_more_to_send(void **state)
{
    double bytes[2];
    (void)state;
    for (int others = 0; others < 2; others++) {
        struct cluster c = begin_cluster();
        struct lab lab;
        add(&c, 0, 4)->dirty_bytes_per_s = 0.45 * GIB;
        for (int i = 0; i < 3; i++)
            add(&c, 0, 60);
        begin_lab(&lab, c);
        for (int g = 0; g < (others ? 4 : 1); g++)
            assert_int_equal(flows_begin(&lab.flows, g, 1 + g % 3, -1), 0);
        struct flow ended;
        flows_run(&lab.flows, 1e9, lab.load, &ended);
        assert_int_equal(ended.guest, 0);
        bytes[others] = ended.all.bytes;
        end_lab(&lab);
    }
    assert_true(bytes[1] > 1.5 * bytes[0]);
}

/* Its place is taken on both nodes until it ends or is given up; time that passes in pieces is the same time. */
static void test_holds_both_places(void **state)
{
    struct cluster c = begin_cluster();
    struct lab lab;
    (void)state;
    add(&c, 0, 40);
    add(&c, 2, 40);
    begin_lab(&lab, c);
    assert_int_equal(rules_check(lab.c.m, &lab.c.policy, 1, 1, -1), RULE_NONE);
    assert_int_equal(flows_begin(&lab.flows, 0, 1, -1), 0);
    assert_true(flows_has(&lab.flows, 0) && !flows_has(&lab.flows, 1));
    assert_int_equal(rules_check(lab.c.m, &lab.c.policy, 1, 1, -1), RULE_MEMORY);
    assert_int_equal(rules_check(lab.c.m, &lab.c.policy, 1, 0, -1), RULE_MEMORY);
    for (int i = 0; i < 10; i++) {
        struct flow ended;
        is_near(flows_run(&lab.flows, 2, lab.load, &ended), 2);
        assert_int_equal(ended.guest, -1);
    }
    is_near(lab.load[1][RESOURCE_NETWORK], 20 * GIB);
    flows_drop(&lab.flows, 0);
    assert_int_equal(rules_check(lab.c.m, &lab.c.policy, 1, 1, -1), RULE_NONE);
    assert_int_equal(lab.c.m->at[0], 0);
    assert_int_equal(flows_begin(&lab.flows, 0, 1, -1), 0);
    for (int i = 0; i < 20; i++) {
        struct flow ended;
        flows_run(&lab.flows, 2, lab.load, &ended);
        assert_int_equal(ended.guest, -1);
    }
    ends(&lab, 0, SWITCH_S);
    assert_int_equal(rules_check(lab.c.m, &lab.c.policy, 1, 1, -1), RULE_NONE);
    end_lab(&lab);
}

/* ---- what a plan says that it takes ---- */

static struct plan_move move_of(const struct cluster *c, int guest, int to, int wave)
{
    int from = c->at[guest];
    return (struct plan_move){.guest = guest,
                              .from = from,
                              .from_mirror = -1,
                              .to = to,
                              .to_mirror = -1,
                              .wave = wave,
                              .cost = cost_migration(c->m, &c->policy, guest, from, to)};
}

/* Two over one link take twice as long as each of them alone would, and so does the wave; one after the other they take
 * no more; and two that share nothing take as long as one. */
static void test_a_plan_shares_links(void **state)
{
    static const struct {
        int from, waves;
        double each, all;
    } cases[] = {{0, 1, 8, 8}, {0, 2, 4, 8}, {1, 1, 4, 4}};
    (void)state;
    for (int k = 0; k < 3; k++) {
        struct cluster c = begin_cluster();
        add(&c, 0, 4);
        add(&c, cases[k].from, 4);
        add(&c, 0, 4)->state = GUEST_DOWN; /* has nothing to send */
        ready(&c);
        struct plan_move moves[] = {move_of(&c, 2, 3, 0), move_of(&c, 0, 2, 0), move_of(&c, 1, 3, cases[k].waves - 1)};
        struct plan plan = {.moves = moves, .count = 3, .waves = cases[k].waves};
        is_near(moves[1].cost.seconds, 4 + SWITCH_S);
        assert_int_equal(plan_time_waves(&plan, c.m, &c.policy), 0);
        is_near(moves[1].cost.seconds, cases[k].each + SWITCH_S);
        is_near(moves[2].cost.seconds, cases[k].each + SWITCH_S);
        assert_true(moves[0].cost.seconds == 0);
        is_near(plan.seconds, cases[k].all + cases[k].waves * SWITCH_S);
        is_near(plan.bytes, 8 * GIB);
        plan.count = 2;
        plan_time_sum(&plan);
        is_near(plan.seconds, cases[k].each + SWITCH_S);
        is_near(plan.bytes, 4 * GIB);
        model_free(c.m);
    }
}

/* The whole balancer, asked to empty a node whose guests go over its link two at a time. */
static void test_a_drain_shares_its_link(void **state)
{
    struct cluster c = begin_cluster();
    struct plan_options options = {.seed = 1};
    struct plan plan;
    (void)state;
    for (int i = 0; i < 2; i++)
        add(&c, 0, 4);
    ready(&c);
    assert_int_equal(plan_drain(c.m, &c.policy, &options, 0, &plan, NULL), 0);
    assert_int_equal(plan.count, 2);
    assert_int_equal(plan.waves, 1);
    is_near(plan.seconds, 8 + SWITCH_S);
    plan_fini(&plan);
    model_free(c.m);
}

/* ---- simulations ---- */

static struct simulation_result simulate(struct cluster *c, struct simulation_config config)
{
    struct simulation_result result;
    struct err err = {0};
    config.policy = &c->policy;
    config.margin = c->policy.error_factor;
    config.step_s = STEP_S;
    config.seed = config.seed ? config.seed : 1;
    if (simulation_run(c->m, &config, &result, &err) < 0)
        fail_msg("%s", err.text);
    return result;
}

static struct trace flat(float *values, enum trace_unit unit, int rows, int steps)
{
    return (struct trace){.unit = unit, .rows = rows, .steps = steps, .values = values};
}

/* What has no trace keeps the load that it has, without what was put on top for the forecast's error. */
static void test_loads_are_kept(void **state)
{
    struct cluster c = begin_cluster();
    (void)state;
    for (int n = 0; n < NODES; n++) {
        c.m->nodes[n].load_capacity[RESOURCE_DISK] = 100e6;
        c.m->nodes[n].load_capacity[RESOURCE_NETWORK] = n == 3 ? 0 : 100e6;
    }
    struct model_guest *g = add(&c, 0, 60);
    g->load[RESOURCE_CPU] = 7;
    g->load[RESOURCE_MEMORY] = 60 * GIB;
    g->load[RESOURCE_DISK] = 80e6 + 10e6 * c.policy.error_factor; /* 80 % */
    g->load_std[RESOURCE_DISK] = 10e6;
    add(&c, 3, 60)->load[RESOURCE_NETWORK] = 99e6; /* there nobody knows what the network carries */
    g = add(&c, 1, 60);
    g->load[RESOURCE_DISK] = 90e6;
    g->state = GUEST_DOWN; /* and this one asks for nothing */
    ready(&c);
    struct simulation_result r = simulate(&c, (struct simulation_config){.mind = SIMULATION_NONE, .steps = 6});
    static const double minutes[RESOURCE_COUNT] = {30, 30, 0, 0}, shares[RESOURCE_COUNT] = {7.0 / 8, 60.0 / 64, 0.8, 0};
    for (int k = 0; k < RESOURCE_COUNT; k++) {
        double nodes = k == RESOURCE_NETWORK ? 3 : NODES, mean = shares[k] / nodes;
        assert_true(r.known[k]);
        is_near(r.overload_minutes[k], minutes[k]);
        is_near(r.imbalance[k], sqrt(shares[k] * shares[k] / nodes - mean * mean));
    }
    simulation_fini(&r);
    for (int n = 0; n < NODES; n++)
        c.m->nodes[n].load_capacity[RESOURCE_DISK] = 0;
    r = simulate(&c, (struct simulation_config){.mind = SIMULATION_NONE, .steps = 6});
    assert_false(r.known[RESOURCE_DISK]);
    simulation_fini(&r);
    model_free(c.m);
}

/* Steps in which two disks together are too much for their node, of memory likewise, and of networks. */
static void test_traces_of_all(void **state)
{
    float cpu[2] = {10, 10}, memory[8] = {50, 99, 99, 10, 50, 99, 60, 10},
          disk[8] = {0, 50e6, 50e6, 50e6, 0, 50e6, 50e6, 20e6}, network[2] = {90e6, 0};
    struct trace traces[RESOURCE_COUNT] = {flat(cpu, TRACE_PERCENT, 2, 1), flat(memory, TRACE_PERCENT, 2, 4),
                                           flat(disk, TRACE_BYTES, 2, 4), flat(network, TRACE_BYTES, 2, 1)};
    struct simulation_config config = {.steps = 8};
    struct cluster c = begin_cluster();
    (void)state;
    for (int n = 0; n < NODES; n++)
        c.m->nodes[n].load_capacity[RESOURCE_DISK] = c.m->nodes[n].load_capacity[RESOURCE_NETWORK] = 100e6;
    for (int i = 0; i < 2; i++) {
        add(&c, 0, 30);
        config.traces[i] = &traces[i];
        config.traces[2 + i] = &traces[2 + i];
    }
    ready(&c);
    struct simulation_result r = simulate(&c, config);
    static const double over[4][4] = {{0, 0, 0, 1}, {0, 1, 1, 1}, {0, 0, 1, 1}, {0, 0, 0, 1}}; /* a step, of each */
    for (int s = 0; s < 8; s++)
        for (int k = 0; k < RESOURCE_COUNT; k++)
            assert_true((double)r.timeline[s].over[k] == over[s % 4][k]);
    is_near(r.overload_minutes[RESOURCE_DISK], 20);
    is_near(r.overload_minutes[RESOURCE_MEMORY], 10);
    is_near(r.overload_minutes[RESOURCE_NETWORK], 40);
    simulation_fini(&r);
    model_free(c.m);
}

/* Disks alone are overloaded: the balancer sees it, and the simulation that it helped. */
static void test_the_balancer_sees_disks(void **state)
{
    double minutes[2];
    int moves[2];
    (void)state;
    for (int k = 0; k < 2; k++) {
        float cpu[1] = {10}, disk[4] = {30e6, 30e6, 30e6, 30e6};
        struct trace a = flat(cpu, TRACE_PERCENT, 1, 1), b = flat(disk, TRACE_BYTES, 4, 1);
        struct cluster c = begin_cluster();
        for (int n = 0; n < NODES; n++)
            c.m->nodes[n].load_capacity[RESOURCE_DISK] = 100e6;
        for (int i = 0; i < 4; i++)
            add(&c, 0, 4);
        ready(&c);
        struct simulation_result r =
            simulate(&c, (struct simulation_config){.mind = k ? SIMULATION_DROVER : SIMULATION_NONE,
                                                    .traces = {[RESOURCE_CPU] = &a, [RESOURCE_DISK] = &b},
                                                    .steps = 24});
        minutes[k] = r.overload_minutes[RESOURCE_DISK];
        moves[k] = r.moves;
        simulation_fini(&r);
        model_free(c.m);
    }
    is_near(minutes[0], 120);
    assert_true(minutes[1] <= 15 && moves[1] >= 1 && moves[0] == 0);
}

/* ---- volumes' members ---- */

static void store(struct model_guest *g, int first, double first_rate, int second, double second_rate)
{
    g->storage = malloc(2 * sizeof *g->storage);
    g->storage[0] = (struct model_storage){first, first_rate};
    g->storage[1] = (struct model_storage){second, second_rate};
    g->storage_count = second >= 0 ? 2 : 1;
}

/* Node 1 has pressure, 0.5 of all. */
static struct cluster member_cluster(void)
{
    struct cluster c = begin_cluster();
    for (int n = 0; n < NODES; n++)
        c.m->nodes[n].load_capacity[RESOURCE_DISK] = c.m->nodes[n].load_capacity[RESOURCE_NETWORK] = 100e6;
    c.m->nodes[1].pressure[RESOURCE_DISK] = 0.3;
    c.m->nodes[1].stalled[RESOURCE_DISK] = 0.2;
    return c;
}

static double spread_of(const double *shares)
{
    double sum = 0, squares = 0;
    for (int n = 0; n < NODES; n++) {
        sum += shares[n] / NODES;
        squares += shares[n] * shares[n] / NODES;
    }
    return sqrt(squares - sum * sum);
}

/* A guest on node 0 with members there and on node 1: disks of both, and the link between them for the second. A trace
 * of its disks says how much that is together; who has no members works on its own node. */
static void test_members_are_counted(void **state)
{
    float disk[2] = {80e6, 10e6};
    struct trace trace = flat(disk, TRACE_BYTES, 2, 1);
    static const double work[2][NODES] = {{0.2, 0.9}, {0.2, 0.9, 0.1}}, links[NODES] = {0.6, 0.6};
    (void)state;
    for (int traced = 0; traced < 2; traced++) {
        struct cluster c = member_cluster();
        double part = traced ? 4 : 1;
        store(add(&c, 0, 8), 0, 20e6 / part, 1, 60e6 / part);
        add(&c, 2, 8);
        struct model_guest *g = add(&c, 2, 8);
        store(g, 3, 90e6, -1, 0);
        g->state = GUEST_DOWN;
        ready(&c);
        struct simulation_result r = simulate(
            &c, (struct simulation_config){
                    .mind = SIMULATION_NONE, .traces = {[RESOURCE_DISK] = traced ? &trace : NULL}, .steps = 6});
        assert_true(r.known[RESOURCE_DISK] && r.known[RESOURCE_NETWORK]);
        is_near(r.overload_minutes[RESOURCE_DISK], 30);
        is_near(r.imbalance[RESOURCE_DISK], spread_of(work[traced]));
        is_near(r.imbalance[RESOURCE_NETWORK], spread_of(links));
        simulation_fini(&r);
        model_free(c.m);
    }
}

/* Its member's link is too much for both ends. It goes to its member in the second step, and until it is there, in the
 * middle of the step, both pay; then nobody does. */
static void test_a_guest_goes_to_its_member(void **state)
{
    struct cluster c = member_cluster();
    (void)state;
    c.policy.link_bytes_per_s = 8 * GIB / 150;
    c.policy.move_cost = 1;
    c.policy.second_cost = 0;
    store(add(&c, 0, 8), 3, 90e6, -1, 0);
    ready(&c);
    struct simulation_result r = simulate(&c, (struct simulation_config){.mind = SIMULATION_FORESIGHT, .steps = 4});
    assert_int_equal(r.moves, 1);
    double while_moving = (8 * GIB + (150 + SWITCH_S) * 90e6) / STEP_S / 100e6;
    assert_true((double)r.timeline[0].over[RESOURCE_NETWORK] == 2 && (double)r.timeline[2].over[RESOURCE_NETWORK] == 0);
    is_near(r.imbalance[RESOURCE_NETWORK], (0.9 + while_moving) / 2 / 4); /* the same on two of four nodes */
    is_near(r.imbalance[RESOURCE_DISK], spread_of((double[NODES]){0, 0, 0, 0.9}));
    is_near(r.overload_minutes[RESOURCE_DISK], 20);
    simulation_fini(&r);
    model_free(c.m);
}

/* Who is told each step's loads plans with the sums that are measured in it, wherever everybody is. */
static void test_world_and_plan_agree(void **state)
{
    (void)state;
    for (int traced = 0; traced < 2; traced++) {
        float disk[8] = {8e6, 9e6, 3e6, 0, 20e6, 60e6, 5e6, 7e6};
        struct trace trace = flat(disk, TRACE_BYTES, 4, 2);
        struct cluster c = member_cluster();
        struct simulation_config config = {.mind = SIMULATION_FORESIGHT,
                                           .policy = &c.policy,
                                           .step_s = STEP_S,
                                           .traces = {[RESOURCE_DISK] = traced ? &trace : NULL}};
        struct simulation_loads loads;
        store(add(&c, 0, 4), 0, 5e6, 1, 15e6);
        store(add(&c, 1, 4), 1, 40e6, 2, 2e6);
        store(add(&c, 2, 4), 3, 7e6, -1, 0);
        add(&c, 3, 4)->load[RESOURCE_DISK] = 11e6;
        ready(&c);
        struct model *m = model_copy(c.m);
        assert_int_equal(simulation_loads_init(&loads, c.m, &config), 0);
        for (int step = 0; step < 8; step++) {
            double load[NODES][RESOURCE_COUNT] = {0}, sum = 0;
            int moved = step % 4;
            model_place(m, moved, (m->at[moved] + 1 + step / 4) % NODES, -1);
            simulation_loads_show(&loads, m, step);
            model_recount(m);
            for (int g = 0; g < m->guest_count; g++)
                simulation_loads_add(&loads, m, g, m->at[g], step, STEP_S, load);
            for (int n = 0; n < NODES; n++)
                for (int r = 0; r < RESOURCE_COUNT; r++) {
                    is_near(load[n][r], m->sum[n][SUM_LOAD_CPU + r] * STEP_S);
                    sum += load[n][r];
                }
            assert_true(sum > 0);
        }
        simulation_loads_fini(&loads);
        model_free(m);
        model_free(c.m);
    }
}

/* ---- moves on the way ---- */

/* Two guests of 4 processors on a node of 8, one of which goes over a link that takes 16 minutes for it. */
static struct cluster slow_cluster(void)
{
    struct cluster c = begin_cluster();
    c.policy.link_bytes_per_s = 32 * GIB / 1000;
    c.policy.move_cost = 1;
    c.policy.second_cost = 0;
    for (int i = 0; i < 2; i++)
        add(&c, 0, 32);
    for (int n = 0; n < NODES; n++)
        c.m->nodes[n].load_capacity[RESOURCE_NETWORK] = 1.1 * 32 * GIB / 1000;
    ready(&c);
    return c;
}

/* It is on its old node until it is through, four steps later, and nothing new is planned meanwhile. */
static void test_a_move_takes_its_time(void **state)
{
    float cpu[2] = {90, 90};
    struct trace trace = flat(cpu, TRACE_PERCENT, 2, 1);
    struct cluster c = slow_cluster();
    (void)state;
    struct simulation_result r = simulate(
        &c, (struct simulation_config){.mind = SIMULATION_DROVER, .traces = {[RESOURCE_CPU] = &trace}, .steps = 12});
    assert_int_equal(r.moves, 1);
    for (int s = 0; s < 12; s++) {
        assert_true((double)r.timeline[s].moves == (s == 5)); /* begun with the third */
        assert_true((double)r.timeline[s].begun == (s == 2));
        assert_true((double)r.timeline[s].over[RESOURCE_CPU] == (s < 5)); /* then a third of the step is left */
        assert_true((double)r.timeline[s].over[RESOURCE_NETWORK] == (s >= 2 && s < 5 ? 2 : 0));
    }
    is_near(r.migration_s, 1000 + SWITCH_S);
    is_near(r.migration_core_s, 2 * FLOW_CORES * (1000 + SWITCH_S));
    is_near(r.moved_bytes, 32 * GIB);
    simulation_fini(&r);

    r = simulate(&c, (struct simulation_config){.mind = SIMULATION_DROVER,
                                                .traces = {[RESOURCE_CPU] = &trace},
                                                .steps = 4}); /* it ends before */
    assert_int_equal(r.moves, 0);
    is_near(r.migration_s, 600);
    simulation_fini(&r);
    model_free(c.m);
}

/* Two guests of a node jump together: who is told before has them apart by then, who is not has not. */
static void test_foresight(void **state)
{
    float cpu[24];
    double minutes[2];
    (void)state;
    for (int i = 0; i < 24; i++)
        cpu[i] = i % 12 < 6 ? 10 : 95;
    for (int k = 0; k < 2; k++) {
        struct trace trace = flat(cpu, TRACE_PERCENT, 2, 12);
        struct cluster c = begin_cluster();
        for (int i = 0; i < 2; i++)
            add(&c, 0, 8);
        ready(&c);
        struct simulation_result r =
            simulate(&c, (struct simulation_config){.mind = k ? SIMULATION_DROVER : SIMULATION_FORESIGHT,
                                                    .traces = {[RESOURCE_CPU] = &trace},
                                                    .steps = 12});
        minutes[k] = r.overload_minutes[RESOURCE_CPU];
        simulation_fini(&r);
        model_free(c.m);
    }
    assert_true(minutes[0] == 0 && minutes[1] >= 5 && minutes[1] <= 15);
}

/* The next begins when the one before is through, 1,000 s later; with one an hour, an hour after it began. */
static void test_one_plan_at_a_time(void **state)
{
    (void)state;
    for (int per_hour = 0; per_hour < 2; per_hour++) {
        float cpu[4] = {50, 50, 50, 50};
        struct trace trace = flat(cpu, TRACE_PERCENT, 4, 1);
        struct cluster c = begin_cluster();
        c.policy.link_bytes_per_s = 16 * GIB / 1000;
        c.policy.move_cost = 1;
        c.policy.second_cost = 0;
        c.policy.per_node = 1;
        c.policy.per_hour = per_hour;
        for (int i = 0; i < 4; i++)
            add(&c, 0, 16);
        ready(&c);
        struct simulation_result r = simulate(
            &c,
            (struct simulation_config){.mind = SIMULATION_DROVER, .traces = {[RESOURCE_CPU] = &trace}, .steps = 30});
        for (int s = 0; s < 30; s++) {
            int wanted = per_hour ? s == 2 || s == 14 || s == 26 : s == 2 || s == 5 || s == 8;
            if ((int)r.timeline[s].begun != wanted)
                fail_msg("%d an hour: %d begun in step %d", per_hour, (int)r.timeline[s].begun, s);
        }
        simulation_fini(&r);
        model_free(c.m);
    }
}

/* Who may not move is not moved by others' rules either. */
static void test_rules_respect_who_stays(void **state)
{
    (void)state;
    for (int k = 0; k < 6; k++) {
        float cpu[2] = {95, 95};
        struct trace trace = flat(cpu, TRACE_PERCENT, 2, 1);
        struct cluster c = begin_cluster();
        for (int i = 0; i < 2; i++) {
            struct model_guest *g = add(&c, 0, 8);
            g->movable = k / 2 != 1;
            g->held = k / 2 == 2;
        }
        ready(&c);
        struct simulation_result r =
            simulate(&c, (struct simulation_config){.mind = k % 2 ? SIMULATION_CONTENTION : SIMULATION_IMBALANCE,
                                                    .traces = {[RESOURCE_CPU] = &trace},
                                                    .steps = 12});
        assert_int_equal(r.moves > 0, k < 2);
        simulation_fini(&r);
        model_free(c.m);
    }
}

/* A node that fails takes what is on its way along: to it, the guest stays; from it, it is started again. */
static void test_moves_fail(void **state)
{
    float cpu[2] = {90, 90};
    struct trace trace = flat(cpu, TRACE_PERCENT, 2, 1);
    struct cluster c = slow_cluster();
    int failed = 0, whole = 0;
    (void)state;
    for (uint64_t seed = 1; seed < 200; seed++) {
        struct simulation_result r = simulate(&c, (struct simulation_config){.mind = SIMULATION_DROVER,
                                                                             .traces = {[RESOURCE_CPU] = &trace},
                                                                             .steps = 12,
                                                                             .failures_per_day = 60,
                                                                             .seed = seed});
        failed += r.failed_moves;
        whole += r.moves;
        assert_true(r.stranded_steps == 0 || r.failures >= NODES);
        assert_true(r.failed_moves <= r.failures);
        assert_true(r.moved_bytes <= (r.moves + r.failed_moves + 1) * 32 * GIB * 1.001);
        assert_true(r.failed_moves + r.moves == 0 || r.moved_bytes > 0);
        simulation_fini(&r);
    }
    if (failed <= 10 || whole <= 10)
        fail_msg("%d failed, %d did not", failed, whole);
    model_free(c.m);
}

/* A failure a day of four nodes is about one node in a day, whatever the seed; not the first one at once. */
static void test_failures_are_thrown(void **state)
{
    struct cluster c = begin_cluster();
    int failures = 0, at_once = 0;
    (void)state;
    add(&c, 0, 1);
    ready(&c);
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct simulation_config config = {.steps = 288, .failures_per_day = 1, .seed = seed};
        struct simulation_result r = simulate(&c, config);
        failures += r.failures;
        simulation_fini(&r);
        config.steps = 1;
        r = simulate(&c, config);
        at_once += r.failures;
        simulation_fini(&r);
    }
    assert_in_range(failures, 70, 130);
    assert_in_range(at_once, 0, 5);
    model_free(c.m);
}

/* Two moves at the same time out of one node over half a link each: nobody is there before twice the time. */
static void test_waves_share_links(void **state)
{
    float cpu[4] = {60, 60, 60, 60};
    struct trace trace = flat(cpu, TRACE_PERCENT, 4, 1);
    struct cluster c = begin_cluster();
    (void)state;
    c.policy.link_bytes_per_s = 10 * GIB / 200;
    c.policy.move_cost = 1;
    c.policy.second_cost = 0;
    c.policy.per_node = 2;
    for (int i = 0; i < 4; i++)
        add(&c, 0, 10);
    ready(&c);
    struct simulation_result r = simulate(
        &c, (struct simulation_config){.mind = SIMULATION_DROVER, .traces = {[RESOURCE_CPU] = &trace}, .steps = 12});
    assert_true((double)r.timeline[2].begun == 2);
    assert_true((double)r.timeline[2].moves == 0); /* 200 s alone */
    assert_true((double)r.timeline[3].moves == 2);
    simulation_fini(&r);
    model_free(c.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_share_a_source),
        cmocka_unit_test(test_share_a_target),
        cmocka_unit_test(test_links_of_their_own),
        cmocka_unit_test(test_less_link_is_more_to_send),
        cmocka_unit_test(test_holds_both_places),
        cmocka_unit_test(test_a_plan_shares_links),
        cmocka_unit_test(test_a_drain_shares_its_link),
        cmocka_unit_test(test_loads_are_kept),
        cmocka_unit_test(test_traces_of_all),
        cmocka_unit_test(test_the_balancer_sees_disks),
        cmocka_unit_test(test_members_are_counted),
        cmocka_unit_test(test_a_guest_goes_to_its_member),
        cmocka_unit_test(test_world_and_plan_agree),
        cmocka_unit_test(test_a_move_takes_its_time),
        cmocka_unit_test(test_foresight),
        cmocka_unit_test(test_one_plan_at_a_time),
        cmocka_unit_test(test_rules_respect_who_stays),
        cmocka_unit_test(test_moves_fail),
        cmocka_unit_test(test_failures_are_thrown),
        cmocka_unit_test(test_waves_share_links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
