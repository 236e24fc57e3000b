#include "tests/unit/random_cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/model.h"
#include "balancer/policy.h"
#include "balancer/rules.h"

static uint32_t roll(uint64_t *seed, uint32_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)((*seed >> 32) * below >> 32);
}

static void need(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "random cluster: %s\n", what);
        abort();
    }
}

static void add_nodes(struct model *m, int count, bool hard, uint64_t *seed)
{
    int pools[] = {names_intern(&m->pools, "ssd", 3), names_intern(&m->pools, "hdd", 3)};
    for (int n = 0; n < count; n++) {
        char name[32];
        snprintf(name, sizeof name, "n%d", n);
        struct model_node node = {.rack = n / 3, .site = 0, .speed = 1, .vcpus = 8 << roll(seed, 2)};
        node.memory = 32768;
        node.memory_own = 1024;
        node.disk = node.disk_free = 500000;
        for (int r = 0; r < RESOURCE_COUNT; r++)
            node.load_capacity[r] = node.vcpus;
        bits_add(&node.pools, pools[0]);
        if (!hard || roll(seed, 3))
            bits_add(&node.pools, pools[1]);
        need(model_add_node(m, name, &node, NULL) == n, "a node");
    }
}

static void add_guest(struct model *m, int i, bool hard, uint64_t *seed)
{
    char name[32];
    snprintf(name, sizeof name, "g%d", i);
    struct model_guest g = {.movable = !hard || roll(seed, 10),
                            .balanced = true,
                            .measured = !hard || roll(seed, 15),
                            .moved_ago_s = hard && !roll(seed, 8) ? roll(seed, 20000) : -1.0,
                            .came_from = -1};
    g.memory = 512 << roll(seed, 5);
    g.vcpus = 1 << roll(seed, 3);
    g.dirty_bytes_per_s = roll(seed, 50000000);
    for (int r = 0; r < RESOURCE_COUNT; r++)
        g.load[r] = g.vcpus * roll(seed, 1000) / 1500.0;
    if (hard && !roll(seed, 3)) {
        g.disk = 1000 * (1 + roll(seed, 20));
        g.local = true;
    }
    if (hard && !roll(seed, 4))
        bits_add(&g.pools, 1);
    if (g.moved_ago_s >= 0)
        g.came_from = (int)roll(seed, (uint32_t)m->node_count);
    need(model_add_guest(m, name, &g, NULL) == i, "a guest");
}

static void add_groups(struct model *m, uint64_t *seed)
{
    int count = m->guest_count / 6;
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "group%d", i);
        struct model_group g = {
            .scope = roll(seed, 4) ? SCOPE_NODE : SCOPE_RACK, .hard = roll(seed, 3) != 0, .weight = 1};
        g.together = !g.hard && roll(seed, 2);
        int number = model_add_group(m, name, &g, NULL), members = 2 + (int)roll(seed, 2);
        for (int j = 0; j < members; j++) {
            int guest = (i * 6 + j) % m->guest_count;
            need(model_add_member(m, number, guest, NULL) == 0, "a member");
        }
    }
}

struct model *random_cluster_of(uint64_t seed, int nodes, int guests, bool hard)
{
    struct model *m = model_new(MODEL_DROVER);
    struct policy policy = policy_default();
    uint64_t dice = seed * 2654435761 + 88172645463325252;
    roll(&dice, 2);
    need(m != NULL, "memory");
    add_nodes(m, nodes, hard, &dice);
    for (int n = 0; n < nodes; n++) /* all of it is free: nobody is there yet */
        m->nodes[n].memory_free = m->nodes[n].memory - m->nodes[n].memory_own;
    for (int g = 0; g < guests; g++)
        add_guest(m, g, hard, &dice);
    if (hard)
        add_groups(m, &dice);
    int *at = malloc(((size_t)guests + 1) * sizeof *at);
    need(at != NULL, "memory");
    for (int g = 0; g < guests; g++)
        at[g] = -1;
    need(model_ready(m, at, NULL, NULL) == 0, "ready");
    free(at);
    for (int g = 0; g < guests; g++) { /* fuller at the front, always within the rules; some find no place */
        int first = (int)(roll(&dice, (uint32_t)nodes) * roll(&dice, (uint32_t)nodes) / (uint32_t)nodes);
        for (int i = 0; i < nodes && m->at[g] < 0; i++)
            if (rules_check(m, &policy, g, (first + i) % nodes, -1) == RULE_NONE)
                model_place(m, g, (first + i) % nodes, -1);
    }
    if (hard && nodes > 3) {
        m->nodes[0].offline = !roll(&dice, 4);
        m->nodes[1].stale = !roll(&dice, 5);
    }
    return m;
}

struct model *random_cluster(uint64_t seed, bool hard)
{
    int nodes = 2 + (int)(seed % 11);
    return random_cluster_of(seed, nodes, nodes * (2 + (int)(seed / 11 % 9)), hard);
}
