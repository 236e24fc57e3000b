#include "balancer/group_counts.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/model.h"

struct group_place {
    int place, count; /* 0: nothing is here */
};

/* ---- a group's table ---- */

static unsigned slot_of(const struct group_sum *sum, int place)
{
    return (uint32_t)place * UINT32_C(0x9e3779b9) >> (32 - sum->bits);
}

/* Where it is, or where it would be. */
static struct group_place *find(const struct group_counts *c, const struct group_sum *sum, int place)
{
    struct group_place *table = c->table + sum->first;
    unsigned i = slot_of(sum, place), mask = (1u << sum->bits) - 1;
    while (table[i].count && table[i].place != place)
        i = (i + 1) & mask;
    return &table[i];
}

/* Those behind it move up, so that none is ever behind a gap. */
static void take_out(const struct group_counts *c, const struct group_sum *sum, const struct group_place *gone)
{
    struct group_place *table = c->table + sum->first;
    unsigned mask = (1u << sum->bits) - 1, gap = (unsigned)(gone - table);
    for (unsigned i = (gap + 1) & mask; table[i].count; i = (i + 1) & mask) {
        unsigned home = slot_of(sum, table[i].place);
        if (((i - home) & mask) < ((i - gap) & mask))
            continue;
        table[gap] = table[i];
        gap = i;
    }
    table[gap].count = 0;
}

static void count(struct group_counts *c, int group, int place, int sign)
{
    struct group_sum *sum = &c->sums[group];
    struct group_place *p = find(c, sum, place);
    p->place = place;
    p->count += sign;
    sum->entries += sign;
    if (sign > 0) {
        sum->places += p->count == 1;
    } else if (!p->count) {
        sum->places--;
        take_out(c, sum, p);
    }
}

int group_counts_at(const struct group_counts *c, int group, int place)
{
    return find(c, &c->sums[group], place)->count;
}

bool group_counts_meets(const struct group_counts *c, const struct model *m, int group, int node)
{
    enum model_scope scope = m->groups[group].scope;
    bool meets = scope != SCOPE_LOCATION && group_counts_at(c, group, model_place_of(m, scope, node));
    for (int tag = -1; scope == SCOPE_LOCATION && (tag = bits_next(&m->nodes[node].locations, tag + 1)) >= 0;)
        meets |= group_counts_at(c, group, tag) > 0;
    return meets;
}

/* ---- members ---- */

void group_counts_add(struct group_counts *c, const struct model *m, int guest, int node, int sign)
{
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++) {
        int group = m->group_of[i];
        enum model_scope scope = m->groups[group].scope;
        c->sums[group].members += sign;
        if (scope != SCOPE_LOCATION)
            count(c, group, model_place_of(m, scope, node), sign);
        for (int tag = -1; scope == SCOPE_LOCATION && (tag = bits_next(&m->nodes[node].locations, tag + 1)) >= 0;)
            count(c, group, tag, sign);
    }
}

void group_counts_clear(struct group_counts *c)
{
    if (!c->table)
        return;
    memset(c->table, 0, c->slots * sizeof *c->table);
    for (int i = 0; i < c->groups; i++)
        c->sums[i].members = c->sums[i].entries = c->sums[i].places = 0;
}

/* Tags of a node, at the most. */
static int tags_of(const struct model *m)
{
    int most = 0;
    for (int n = 0; n < m->node_count && m->tags.count; n++) {
        int tags = bits_count(&m->nodes[n].locations);
        most = tags > most ? tags : most;
    }
    return most;
}

/* At most half of a table is ever taken. */
static void lay_out(struct group_counts *c, const struct model *m)
{
    int tags = tags_of(m);
    for (int i = 0; i < c->groups; i++) {
        struct group_sum *sum = &c->sums[i];
        size_t places = (size_t)m->groups[i].count;
        if (m->groups[i].scope == SCOPE_LOCATION)
            places = places * (size_t)tags < BITS_MAX ? places * (size_t)tags : BITS_MAX;
        sum->first = c->slots;
        for (sum->bits = 1; (size_t)1 << sum->bits < 2 * places; sum->bits++)
            ;
        c->slots += (size_t)1 << sum->bits;
    }
}

int group_counts_init(struct group_counts *c, const struct model *m)
{
    *c = (struct group_counts){.groups = m->group_count};
    if (!m->group_start[m->guest_count])
        return 0;
    c->sums = calloc((size_t)c->groups, sizeof *c->sums);
    if (c->sums)
        lay_out(c, m);
    c->table = c->sums ? calloc(c->slots, sizeof *c->table) : NULL;
    if (c->table)
        return 0;
    group_counts_fini(c);
    return -ENOMEM;
}

void group_counts_fini(struct group_counts *c)
{
    free(c->table);
    free(c->sums);
    *c = (struct group_counts){0};
}
