/* What groups cost and forbid, against counting all members one by one: on random models, of all scopes, while guests
 * move, change places and nodes close and open; and in copies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "balancer/groups.h"
#include "balancer/model.h"

enum { MODELS = 300, CHANGES = 60, TAGS = 5, LARGE_NODES = 300, LARGE_GROUPS = 700, LARGE_MEMBERS = 40 };

static uint32_t roll(uint64_t *dice, uint32_t below)
{
    *dice = *dice * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*dice >> 33) % below);
}

static enum model_scope some_scope(uint64_t *dice)
{
    return (enum model_scope)roll(dice, SCOPE_LOCATION + 1);
}

/* Nodes of the model, some of them without rack or site, or of another part. */
static void add_nodes(struct model *m, int nodes, uint64_t *dice)
{
    for (int n = 0; n < nodes; n++) {
        char name[24];
        snprintf(name, sizeof name, "n%d", n);
        struct model_node node = {.rack = (int)roll(dice, 4) - 1,
                                  .site = (int)roll(dice, 3) - 1,
                                  .offline = !roll(dice, 5),
                                  .outside = !roll(dice, 8),
                                  .memory = 1000};
        for (int tag = 0; tag < TAGS; tag++)
            if (!roll(dice, 3))
                bits_add(&node.locations, tag * 60);
        assert_int_equal(model_add_node(m, name, &node, NULL), n);
    }
}

static void add_guests(struct model *m, int guests)
{
    for (int g = 0; g < guests; g++) {
        char name[24];
        snprintf(name, sizeof name, "g%d", g);
        struct model_guest guest = {.memory = 1, .planned = g % 9 == 0};
        assert_int_equal(model_add_guest(m, name, &guest, NULL), g);
    }
}

static void add_groups(struct model *m, int groups, int members, uint64_t *dice)
{
    for (int i = 0; i < groups; i++) {
        char name[24];
        snprintf(name, sizeof name, "group%d", i);
        struct model_group group = {.scope = some_scope(dice), .hard = roll(dice, 2), .weight = roll(dice, 3) * 0.25};
        group.together = group.scope != SCOPE_LOCATION && roll(dice, 2);
        assert_int_equal(model_add_group(m, name, &group, NULL), i);
        for (int j = (int)roll(dice, (uint32_t)members + 1); j > 0; j--)
            assert_int_equal(model_add_member(m, i, (int)roll(dice, (uint32_t)m->guest_count), NULL), 0);
    }
}

static struct model *some_model(int nodes, int guests, int groups, int members, uint64_t *dice)
{
    struct model *m = model_new(MODEL_DROVER);
    int *at = malloc((size_t)guests * sizeof *at);
    assert_true(m && at);
    for (int tag = 0; tag < BITS_MAX; tag++) {
        char name[24];
        int len = snprintf(name, sizeof name, "tag%d", tag);
        assert_int_equal(names_intern(&m->tags, name, (size_t)len), tag);
    }
    add_nodes(m, nodes, dice);
    add_guests(m, guests);
    add_groups(m, groups, members, dice);
    for (int g = 0; g < guests; g++)
        at[g] = (int)roll(dice, (uint32_t)nodes + 1) - 1;
    assert_int_equal(model_ready(m, at, NULL, NULL), 0);
    free(at);
    return m;
}

/* ---- the truth: every member is looked at ---- */

static bool counts(const struct model *m, int node)
{
    return node >= 0 && !m->nodes[node].offline && !m->nodes[node].outside;
}

static bool in_one_place(const struct model *m, enum model_scope scope, int a, int b)
{
    const struct model_node *x = &m->nodes[a], *y = &m->nodes[b];
    switch (scope) {
    case SCOPE_NODE:
        return a == b;
    case SCOPE_RACK:
        return a == b || (x->rack >= 0 && x->rack == y->rack);
    case SCOPE_SITE:
        return a == b || (x->site >= 0 && x->site == y->site);
    case SCOPE_LOCATION:
        return bits_shared(&x->locations, &y->locations) > 0;
    }
    return false;
}

/* What the guest adds on this node, if of its group only the members before `end` were there. */
static int truth(const struct model *m, const struct model_group *group, int end, int guest, int node, int other,
                 int other_at)
{
    struct bits shared = {0};
    bool company = false, anyone = false;
    if (!counts(m, node))
        return 0;
    for (int i = 0; i < end; i++) {
        int member = group->members[i], at = member == other ? other_at : m->at[member];
        if (member == guest || !counts(m, at))
            continue;
        anyone = true;
        company |= in_one_place(m, group->scope, at, node);
        for (int tag = 0; tag < BITS_MAX; tag++)
            if (bits_has(&m->nodes[at].locations, tag) && bits_has(&m->nodes[node].locations, tag))
                bits_add(&shared, tag);
    }
    if (group->together)
        return anyone && !company;
    return group->scope == SCOPE_LOCATION ? bits_count(&shared) : company;
}

static bool is_member(const struct model_group *group, int guest)
{
    for (int i = 0; i < group->count; i++)
        if (group->members[i] == guest)
            return true;
    return false;
}

/* ---- the comparisons ---- */

static int asked, costly, forbidden;

static void compare_guest(const struct model *m, int guest, int node, int other, int other_at)
{
    double sum = 0;
    int forbids = -1;
    for (int i = 0; i < m->group_count; i++) {
        const struct model_group *group = &m->groups[i];
        if (!is_member(group, guest))
            continue;
        int cost = truth(m, group, group->count, guest, node, other, other_at);
        sum += group->weight * cost;
        if (group->hard && cost && forbids < 0)
            forbids = i;
    }
    assert_true(groups_enter(m, guest, node, other, other_at) == sum);
    assert_true(groups_leave(m, guest, node, other, other_at) == sum);
    assert_int_equal(groups_forbid(m, guest, node, other, other_at), forbids);
    asked++;
    costly += sum > 0;
    forbidden += forbids >= 0;
}

static void compare_all(const struct model *m)
{
    double total = 0;
    int broken = 0;
    for (int i = 0; i < m->group_count; i++) {
        const struct model_group *group = &m->groups[i];
        int cost = 0;
        for (int j = 0; j < group->count; j++)
            cost += truth(m, group, j, group->members[j], m->at[group->members[j]], -1, -1);
        total += group->weight * cost;
        broken += group->hard ? cost : 0;
    }
    assert_true(groups_total(m) == total);
    assert_int_equal(groups_broken(m), broken);
}

static void compare(const struct model *m, uint64_t *dice)
{
    uint32_t nodes = (uint32_t)m->node_count, guests = (uint32_t)m->guest_count;
    compare_all(m);
    for (int i = 0; i < 6; i++)
        compare_guest(m, (int)roll(dice, guests), (int)roll(dice, nodes), -1, -1);
    for (int i = 0; i < 6; i++) { /* beside one who is thought to be elsewhere, or nowhere */
        int a = (int)roll(dice, guests), b = (int)roll(dice, guests);
        compare_guest(m, a, (int)roll(dice, nodes), b, (int)roll(dice, nodes + 1) - 1);
        if (a != b && m->at[a] >= 0 && m->at[b] >= 0)
            compare_guest(m, a, m->at[b], b, m->at[a]);
    }
}

static void change(struct model *m, uint64_t *dice)
{
    uint32_t nodes = (uint32_t)m->node_count, guests = (uint32_t)m->guest_count;
    int a = (int)roll(dice, guests), b = (int)roll(dice, guests), p = m->at[a], n = (int)roll(dice, nodes);
    switch (roll(dice, 8)) {
    case 0:
        model_set_offline(m, n, !m->nodes[n].offline);
        break;
    case 1:
        m->nodes[n].outside = !m->nodes[n].outside;
        model_node_changed(m, n);
        break;
    case 2:
        model_recount(m);
        break;
    case 3:
    case 4:
        model_place(m, a, m->at[b], -1);
        model_place(m, b, p, -1);
        break;
    default:
        model_place(m, a, (int)roll(dice, nodes + 1) - 1, -1);
    }
}

static void counted_is_looked_at(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= MODELS; seed++) {
        uint64_t dice = seed * 88172645463325252u;
        int nodes = 2 + (int)(seed % 9), guests = 2 + (int)(seed % 37);
        struct model *m = some_model(nodes, guests, (int)(seed % 12), 1 + (int)(seed % 14), &dice);
        compare(m, &dice);
        for (int i = 0; i < CHANGES; i++) {
            change(m, &dice);
            compare(m, &dice);
            if (i % 20 != 19)
                continue;
            struct model *copy = model_copy(m);
            assert_non_null(copy);
            compare(copy, &dice);
            change(copy, &dice); /* each has its own */
            compare(copy, &dice);
            compare(m, &dice);
            model_free(m);
            m = copy;
        }
        model_free(m);
    }
    assert_true(asked > 100000 && costly > asked / 20 && costly < asked / 2 && forbidden > asked / 20);
}

/* Full tables, in which many places lie behind one another; everybody goes and comes again. */
static void many_groups(void **state)
{
    (void)state;
    uint64_t dice = 5;
    struct model *m = some_model(LARGE_NODES, LARGE_NODES * 10, LARGE_GROUPS, LARGE_MEMBERS, &dice);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < m->guest_count; i++)
            model_place(m, (int)roll(&dice, (uint32_t)m->guest_count), (int)roll(&dice, LARGE_NODES + 1) - 1, -1);
        for (int n = 0; n < m->node_count; n += 3)
            model_set_offline(m, n, !m->nodes[n].offline);
        compare_all(m);
        for (int g = 0; g < m->guest_count; g += 7)
            compare_guest(m, g, (int)roll(&dice, LARGE_NODES), -1, -1);
    }
    for (int g = 0; g < m->guest_count; g++)
        model_place(m, g, -1, -1);
    for (int i = 0; i < m->group_count; i++) {
        const struct group_sum *sum = &m->members.sums[i];
        assert_true(!sum->members && !sum->entries && !sum->places);
    }
    assert_true(groups_total(m) == 0 && groups_broken(m) == 0);
    model_free(m);
}

/* It is one member: neither beside itself nor twice as heavy. */
static void named_twice_is_once(void **state)
{
    (void)state;
    uint64_t dice = 1;
    struct model *m = model_new(MODEL_DROVER);
    const struct model_group apart = {.weight = 1, .hard = true};
    const int members[] = {0, 1, 0, 0}, at[] = {0, 1};
    assert_non_null(m);
    add_nodes(m, 2, &dice);
    m->nodes[0].offline = m->nodes[1].offline = m->nodes[0].outside = m->nodes[1].outside = false;
    add_guests(m, 2);
    assert_int_equal(model_add_group(m, "apart", &apart, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(model_add_member(m, 0, members[i], NULL), 0);
    assert_int_equal(model_ready(m, at, NULL, NULL), 0);
    assert_int_equal(m->groups[0].count, 2);
    assert_true(groups_total(m) == 0 && groups_enter(m, 0, 1, -1, -1) == 1 && groups_enter(m, 1, 0, -1, -1) == 1);
    assert_int_equal(groups_forbid(m, 0, 0, -1, -1), -1);
    assert_int_equal(groups_forbid(m, 0, 1, -1, -1), 0);
    assert_int_equal(groups_forbid(m, 0, 1, 1, 0), -1);
    model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counted_is_looked_at),
        cmocka_unit_test(many_groups),
        cmocka_unit_test(named_twice_is_once),
    };
    return cmocka_run_group_tests_name("balancer_groups", tests, NULL, NULL);
}
