#include "balancer/capacity_proof.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/capacity.h"
#include "balancer/model.h"
#include "balancer/policy.h"
#include "balancer/rules.h"

/* Sizes of guests: so many to an octave of MiB. */
enum { OCTAVES = 64, PER_OCTAVE = 4, SIZES = OCTAVES * PER_OCTAVE };
enum { MEMORY, VCPUS, DISK, PARTS };
enum { PLACES_MAX = 2 * MODEL_NODES_MAX }; /* as model.places has it */

static const double rounding = 1e-6;

static const int sum_of[PARTS] = {SUM_MEMORY, SUM_VCPUS, SUM_DISK};

/* Who has the same needs may be on the same nodes, but for as many as its groups take from it. */
struct kind {
    const struct model_guest *example;
    int taken; /* nodes, at most, rounded up */
};

/* Guests of one kind and about one size. */
struct cell {
    bool any, doubtful;
    double most[PARTS];
};

/* A guest that may have to be placed, with what else may be lost with it. */
struct entry {
    int guest, node, size, kind; /* kind: -1: nothing is said of it */
};

struct capacity_proof {
    const struct model *m;
    const struct policy *policy;
    int lose; /* so many nodes */
    int largest_place[SCOPE_LOCATION];
    struct kind kinds[PROOF_KINDS_MAX];
    int kind_count;
    struct entry *entries, *sorted;
    int entry_count;
    bool unsaid;                 /* there are entries without a kind */
    struct cell (*cells)[SIZES]; /* [kinds] */
    double (*room)[PARTS];       /* [nodes] what the rules leave there; memory below 0: takes nobody */
    double (*held)[PARTS];       /* [nodes] of guests of the sizes so far */
    double least[PARTS];         /* any guest so far has of it, if it has */
};

/* fmin() and fmax() are calls, because of what is no number. */
static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static bool takes(const struct model_node *n)
{
    return !n->offline && !n->outside && !n->stale && !n->held;
}

/* ---- who there is ---- */

static int size_of(double memory)
{
    int octave;
    double part = frexp(memory, &octave); /* 0.5 to 1 */
    int size = octave * PER_OCTAVE + (int)((part - 0.5) * 2 * PER_OCTAVE);
    return memory <= 0 || size < 0 ? 0 : size < SIZES ? size : SIZES - 1;
}

static int place_of(const struct model_node *n, bool site)
{
    int place = site ? n->site : n->rack;
    return place < 0 || place >= PLACES_MAX ? -1 : place;
}

/* The nodes of the largest rack, and of the largest site: so many are taken at most by a member of a group. */
static int measure_places(struct capacity_proof *proof)
{
    const struct model *m = proof->m;
    int *count = malloc(PLACES_MAX * sizeof *count);
    if (!count)
        return -1;
    proof->largest_place[SCOPE_NODE] = proof->largest_place[SCOPE_RACK] = proof->largest_place[SCOPE_SITE] = 1;
    for (int site = 0; site < 2; site++) {
        int *largest = &proof->largest_place[site ? SCOPE_SITE : SCOPE_RACK];
        memset(count, 0, PLACES_MAX * sizeof *count);
        for (int n = 0; n < m->node_count; n++) {
            int place = place_of(&m->nodes[n], site);
            if (place >= 0 && ++count[place] > *largest)
                *largest = count[place];
        }
    }
    free(count);
    return 0;
}

/* Nodes that members of its hard groups may take from a guest; negative: that cannot be said. */
static int taken_by_groups(const struct capacity_proof *proof, int guest)
{
    const struct model *m = proof->m;
    long taken = 0;
    for (int i = m->group_start[guest]; i < m->group_start[guest + 1]; i++) {
        const struct model_group *group = &m->groups[m->group_of[i]];
        if (group->hard && (group->together || group->scope == SCOPE_LOCATION))
            return -1;
        if (group->hard)
            taken += (long)(group->count - 1) * proof->largest_place[group->scope];
    }
    int rounded = taken > 0;
    while (rounded < taken && rounded < m->node_count)
        rounded *= 2;
    return rounded;
}

static bool same_needs(const struct model_guest *a, const struct model_guest *b)
{
    return memcmp(&a->networks, &b->networks, sizeof a->networks) == 0 &&
           memcmp(&a->pools, &b->pools, sizeof a->pools) == 0 &&
           memcmp(&a->cpu_models, &b->cpu_models, sizeof a->cpu_models) == 0 && !a->pins == !b->pins &&
           a->avoids == b->avoids && a->pin_count == b->pin_count &&
           (!a->pin_count || memcmp(a->pins, b->pins, (size_t)a->pin_count * sizeof *a->pins) == 0);
}

/* The number of its kind; negative: there are too many, or it is of none. */
static int kind_of(struct capacity_proof *proof, int guest)
{
    const struct model_guest *g = &proof->m->guests[guest];
    int taken = taken_by_groups(proof, guest), k = 0;
    if (taken < 0)
        return -1;
    while (k < proof->kind_count && (proof->kinds[k].taken != taken || !same_needs(proof->kinds[k].example, g)))
        k++;
    if (k == PROOF_KINDS_MAX)
        return -1;
    if (k == proof->kind_count)
        proof->kinds[proof->kind_count++] = (struct kind){g, taken};
    return k;
}

static void add(struct capacity_proof *proof, int guest, int node)
{
    const struct model *m = proof->m;
    const double *use = m->use[guest];
    if (node < 0 || m->guests[guest].state != GUEST_RUNNING || m->nodes[node].offline || m->nodes[node].outside)
        return;
    int kind = m->guests[guest].planned ? -1 : kind_of(proof, guest), size = size_of(use[SUM_MEMORY]);
    proof->entries[proof->entry_count++] = (struct entry){guest, node, size, kind};
    if (kind < 0)
        return;
    struct cell *cell = &proof->cells[kind][size];
    cell->any = true;
    for (int r = 0; r < PARTS; r++)
        cell->most[r] = larger(cell->most[r], use[sum_of[r]]);
}

static void sort_entries(struct capacity_proof *proof)
{
    int start[SIZES + 1] = {0};
    for (int i = 0; i < proof->entry_count; i++)
        start[SIZES - 1 - proof->entries[i].size + 1]++;
    for (int s = 0; s < SIZES; s++)
        start[s + 1] += start[s];
    for (int i = 0; i < proof->entry_count; i++)
        proof->sorted[start[SIZES - 1 - proof->entries[i].size]++] = proof->entries[i];
}

static void measure_rooms(struct capacity_proof *proof)
{
    const struct model *m = proof->m;
    for (int n = 0; n < m->node_count; n++) {
        proof->room[n][MEMORY] = -1;
        if (takes(&m->nodes[n]))
            rules_room(m, proof->policy, n, &proof->room[n][MEMORY], &proof->room[n][VCPUS], &proof->room[n][DISK]);
    }
}

/* ---- the proof ---- */

/* What so many nodes have of it at most. */
static double fullest(const struct capacity_proof *proof, int part)
{
    double most[CAPACITY_LOSE_MAX] = {0}, sum = 0;
    for (int n = 0; n < proof->m->node_count; n++) {
        double held = proof->held[n][part];
        for (int i = 0; i < proof->lose; i++)
            if (held > most[i]) {
                double smaller = most[i];
                most[i] = held;
                held = smaller;
            }
    }
    for (int i = 0; i < proof->lose; i++)
        sum += most[i];
    return sum;
}

/* Which part of `all` it takes to block this room for a guest of this size. */
static double price(double room, double size, double least, double all, double most)
{
    if (room < size + (size > 0 ? rounding : 0))
        return 0;
    double blocks = larger(room - size, least);
    return all <= 0 || blocks >= all * most ? most : blocks / all;
}

static bool finds_place(const struct capacity_proof *proof, const struct kind *kind, const struct cell *cell,
                        const double *all)
{
    const struct model *m = proof->m;
    const int parts = cell->most[DISK] > 0 ? PARTS : DISK;
    double sum = 0, largest = 0;
    for (int n = 0; n < m->node_count; n++) {
        if (proof->room[n][MEMORY] < 0 || !rules_reach(m, kind->example, n))
            continue;
        double cheapest = parts + 1;
        for (int r = 0; r < parts && cheapest > 0; r++)
            cheapest =
                smaller(cheapest, price(proof->room[n][r], cell->most[r], proof->least[r], all[r], (double)parts + 1));
        sum += cheapest;
        largest = larger(largest, cheapest);
    }
    return sum - (proof->lose + kind->taken) * largest > parts + rounding;
}

static void count_in(struct capacity_proof *proof, const struct entry *e)
{
    for (int r = 0; r < PARTS; r++) {
        double need = proof->m->use[e->guest][sum_of[r]];
        proof->held[e->node][r] += need;
        proof->least[r] = need > 0 ? smaller(proof->least[r], need) : proof->least[r];
    }
}

/* Sizes from the largest; of each, everybody finds a place beside those of the sizes so far, or it is doubtful. */
static void judge(struct capacity_proof *proof)
{
    memset(proof->held, 0, (size_t)proof->m->node_count * sizeof *proof->held);
    for (int r = 0; r < PARTS; r++)
        proof->least[r] = INFINITY;
    for (int i = 0; i < proof->entry_count;) {
        int size = proof->sorted[i].size;
        double all[PARTS];
        for (; i < proof->entry_count && proof->sorted[i].size == size; i++)
            count_in(proof, &proof->sorted[i]);
        for (int r = 0; r < PARTS; r++)
            all[r] = fullest(proof, r);
        for (int k = 0; k < proof->kind_count; k++) {
            struct cell *cell = &proof->cells[k][size];
            cell->doubtful = cell->any && !finds_place(proof, &proof->kinds[k], cell, all);
        }
    }
}

void capacity_proof_free(struct capacity_proof *proof)
{
    if (!proof)
        return;
    free(proof->entries);
    free(proof->sorted);
    free(proof->cells);
    free(proof->room);
    free(proof->held);
    free(proof);
}

static int allocate(struct capacity_proof *proof, int moving)
{
    const struct model *m = proof->m;
    size_t nodes = (size_t)m->node_count + 1, entries = (size_t)m->guest_count + 2 * (size_t)moving + 1;
    proof->entries = malloc(entries * sizeof *proof->entries);
    proof->sorted = malloc(entries * sizeof *proof->sorted);
    proof->cells = calloc(PROOF_KINDS_MAX, sizeof *proof->cells);
    proof->room = malloc(nodes * sizeof *proof->room);
    proof->held = malloc(nodes * sizeof *proof->held);
    return proof->entries && proof->sorted && proof->cells && proof->room && proof->held ? 0 : -1;
}

struct capacity_proof *capacity_proof_new(const struct model *m, const struct policy *p,
                                          const struct capacity_moving *moving, int count)
{
    if (m->family != MODEL_DROVER || m->has_mirrors)
        return NULL;
    struct capacity_proof *proof = calloc(1, sizeof *proof);
    if (!proof)
        return NULL;
    proof->m = m;
    proof->policy = p;
    if (allocate(proof, count) < 0 || measure_places(proof) < 0) {
        capacity_proof_free(proof);
        return NULL;
    }
    for (int g = 0; g < m->guest_count; g++)
        add(proof, g, m->at[g]);
    for (int i = 0; i < count; i++) {
        add(proof, moving[i].guest, moving[i].from);
        add(proof, moving[i].guest, moving[i].to);
    }
    sort_entries(proof);
    measure_rooms(proof);
    return proof;
}

int capacity_proof_doubts(struct capacity_proof *proof, int lose, bool *doubtful)
{
    int doubts = 0, nodes = proof->m->node_count;
    proof->lose = lose < CAPACITY_LOSE_MAX ? lose : CAPACITY_LOSE_MAX;
    judge(proof);
    memset(doubtful, 0, (size_t)nodes * sizeof *doubtful);
    for (int i = 0; i < proof->entry_count; i++) {
        const struct entry *e = &proof->entries[i];
        doubtful[e->node] |= e->kind < 0 || proof->cells[e->kind][e->size].doubtful;
    }
    for (int n = 0; n < nodes; n++)
        doubts += doubtful[n];
    return doubts;
}
