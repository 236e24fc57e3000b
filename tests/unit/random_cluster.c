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
    int networks[] = {names_intern(&m->networks, "lan", 3), names_intern(&m->networks, "dmz", 3)};
    int models[] = {names_intern(&m->cpu_models, "v2", 2), names_intern(&m->cpu_models, "v3", 2)};
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
        bits_add(&node.networks, networks[0]);
        bits_add(&node.cpu_models, models[0]);
        if (hard && roll(seed, 3))
            bits_add(&node.networks, networks[1]);
        if (hard && roll(seed, 3))
            bits_add(&node.cpu_models, models[1]);
        if (hard && !roll(seed, 4))
            node.pressure[RESOURCE_DISK] = roll(seed, 100) / 100.0;
        need(model_add_node(m, name, &node, NULL) == n, "a node");
    }
}

/* Two or three nodes with members of its volumes; nodes that it may run on, or may not. */
static void add_lists(const struct model *m, struct model_guest *g, uint64_t *seed)
{
    uint32_t nodes = (uint32_t)m->node_count;
    if (!roll(seed, 3)) {
        int count = 1 + (int)roll(seed, nodes < 3 ? nodes : 3), first = (int)roll(seed, nodes);
        g->storage = calloc((size_t)count, sizeof *g->storage);
        need(g->storage != NULL, "memory");
        for (int i = 0; i < count; i++)
            g->storage[g->storage_count++] =
                (struct model_storage){(first + i) % (int)nodes, g->vcpus * roll(seed, 1000) / 3000.0};
    }
    if (!roll(seed, 12)) {
        int count = 1 + (int)roll(seed, nodes), first = (int)roll(seed, nodes);
        g->avoids = roll(seed, 2);
        g->pins = calloc((size_t)count, sizeof *g->pins);
        need(g->pins != NULL, "memory");
        for (int i = 0; i < count; i++)
            g->pins[g->pin_count++] = (first + i) % (int)nodes;
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
    if (hard && !roll(seed, 6))
        bits_add(&g.networks, (int)roll(seed, 2));
    if (hard && !roll(seed, 6))
        bits_add(&g.cpu_models, (int)roll(seed, 2));
    if (hard)
        add_lists(m, &g, seed);
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
        model_set_offline(m, 0, !roll(&dice, 4));
        m->nodes[1].stale = !roll(&dice, 5);
    }
    return m;
}

struct model *random_cluster(uint64_t seed, bool hard)
{
    int nodes = 2 + (int)(seed % 11);
    return random_cluster_of(seed, nodes, nodes * (2 + (int)(seed / 11 % 9)), hard);
}
