#include "balancer/capacity.h"

#include <errno.h>
#include <stdlib.h>

#include "balancer/capacity_proof.h"
#include "balancer/loss.h"
#include "balancer/model.h"
#include "balancer/policy.h"

/* A loss asks for no mode of the balancer's. NULL: no memory. */
static struct model *copy_unheld(const struct model *model)
{
    struct model *m = model_copy(model);
    if (m)
        model_hold(m, MODE_AUTOMATIC, MODE_OFF + 1);
    return m;
}

/* ---- sets of nodes ---- */

struct node_use {
    double memory;
    int node;
    bool doubtful;
};

struct sets {
    struct loss loss;
    struct capacity_proof *proof; /* NULL: every node is doubtful */
    bool *doubtful;               /* [nodes] scratch */
    struct node_use *up;          /* the nodes, those that are doubtful first, the most memory in use first */
    int up_count, doubts;
    double guests; /* of a node, on average */
    uint64_t work;
};

enum outcome { SURVIVED, LIKELY, FAILED, UNKNOWN };

static int compare(const void *a, const void *b)
{
    const struct node_use *x = a, *y = b;
    if (x->doubtful != y->doubtful)
        return y->doubtful - x->doubtful;
    if (x->memory != y->memory)
        return x->memory < y->memory ? 1 : -1;
    return (x->node > y->node) - (x->node < y->node);
}

static int sets_init(struct sets *s, const struct model *m)
{
    s->up = malloc(((size_t)m->node_count + 1) * sizeof *s->up);
    s->doubtful = malloc(((size_t)m->node_count + 1) * sizeof *s->doubtful);
    if (!s->up || !s->doubtful)
        return -ENOMEM;
    for (int n = 0; n < m->node_count; n++) {
        if (m->nodes[n].offline || m->nodes[n].outside)
            continue;
        s->up[s->up_count++] = (struct node_use){m->sum[n][SUM_MEMORY], n, true};
        s->guests += m->count[n];
    }
    s->guests = s->up_count ? s->guests / s->up_count : 0;
    return 0;
}

static void sets_fini(struct sets *s)
{
    free(s->up);
    free(s->doubtful);
    loss_fini(&s->loss);
    capacity_proof_free(s->proof);
}

/* Sets of so many nodes are survived if none of theirs is doubtful. How many are. */
static int find_doubts(struct sets *s, int size)
{
    s->doubts = s->proof ? capacity_proof_doubts(s->proof, size, s->doubtful) : s->up_count;
    for (int i = 0; i < s->up_count; i++)
        s->up[i].doubtful = !s->proof || s->doubtful[s->up[i].node];
    if (s->doubts)
        qsort(s->up, (size_t)s->up_count, sizeof *s->up, compare);
    return s->doubts;
}

static double sets_of(int nodes, int size)
{
    double sets = 1;
    for (int i = 0; i < size; i++)
        sets = sets * (nodes - i) / (i + 1);
    return sets > 0 ? sets : 0;
}

/* Can every set of so many with a doubtful node be tried, at a look and a half for each guest? */
static bool are_few(const struct sets *s, int size)
{
    double sets = sets_of(s->up_count, size) - sets_of(s->up_count - s->doubts, size);
    return sets * (size * s->guests * 1.5 + 1) <= (double)s->work;
}

/* The next set, by the places of its nodes in order; false: there is none with a doubtful node, or, unless all are
 * wanted, with the same nodes but for the last. */
static bool next_set(const struct sets *s, int *place, int size, bool all)
{
    int i = size - 1;
    while (i >= 0 && place[i] == s->up_count - size + i)
        i--;
    if (i < 0 || (i < size - 1 && !all))
        return false;
    for (place[i]++; i + 1 < size; i++)
        place[i + 1] = place[i] + 1;
    return place[0] < s->doubts;
}

/* Looks that sets of so many nodes may take. */
static uint64_t work_of(const struct sets *s, int size, bool all)
{
    if (size == 1)
        return s->work > CAPACITY_WORK_EACH ? CAPACITY_WORK_MOST : CAPACITY_WORK_EACH;
    return all ? 2 * s->work : s->work;
}

static enum outcome try_sets(struct sets *s, int size, struct capacity_losses *losses)
{
    bool all = size == 1 || are_few(s, size);
    if (!all && s->loss.moving_count)
        return UNKNOWN;
    uint64_t end = s->loss.rooms.looks + work_of(s, size, all);
    int place[CAPACITY_LOSE_MAX], nodes[CAPACITY_LOSE_MAX];
    for (int i = 0; i < size; i++)
        place[i] = i;
    do {
        int guest;
        for (int i = 0; i < size; i++)
            nodes[i] = s->up[place[i]].node;
        if (loss_try(&s->loss, nodes, size, &guest) > 0) {
            for (int i = 0; i < size; i++)
                losses->worst[i] = nodes[i];
            losses->worst_count = size;
            losses->guest = guest;
            return FAILED;
        }
        if (s->loss.rooms.looks > end)
            return LIKELY;
    } while (next_set(s, place, size, all));
    return all ? SURVIVED : LIKELY;
}

/* Its places on both nodes bind the others of its group, which a model in which it is nowhere does not have. */
static bool any_of_hard_group(const struct model *m, const struct capacity_moving *moving, int count)
{
    for (int i = 0; i < count; i++)
        for (int j = m->group_start[moving[i].guest]; j < m->group_start[moving[i].guest + 1]; j++)
            if (m->groups[m->group_of[j]].hard)
                return true;
    return false;
}

/* Sets of one node more than are likely so far. Is there a point in more? -ENOMEM. */
static int try_more(struct sets *s, struct model *m, const struct policy *p, const struct capacity_moving *moving,
                    int count, struct capacity_losses *losses)
{
    enum outcome outcome = SURVIVED;
    if (find_doubts(s, losses->likely + 1)) {
        if (!s->loss.m && loss_init(&s->loss, m, p, moving, count) < 0)
            return -ENOMEM;
        outcome = try_sets(s, losses->likely + 1, losses);
    }
    losses->shown += outcome == SURVIVED && losses->shown == losses->likely;
    losses->likely += outcome == SURVIVED || outcome == LIKELY;
    return outcome == SURVIVED || outcome == LIKELY;
}

int capacity_losses_in(struct model *m, const struct policy *p, int max, const struct capacity_moving *moving,
                       int count, uint64_t work, struct capacity_losses *losses)
{
    struct sets s = {.work = work, .proof = capacity_proof_new(m, p, moving, count)};
    int rc = sets_init(&s, m), most = max < CAPACITY_LOSE_MAX ? max : CAPACITY_LOSE_MAX;
    bool only_proof = any_of_hard_group(m, moving, count);
    most = most < s.up_count ? most : s.up_count;
    *losses = (struct capacity_losses){.guest = -1};
    bool more = rc == 0;
    while (more && losses->likely < most) {
        if (only_proof && find_doubts(&s, losses->likely + 1))
            break;
        rc = try_more(&s, m, p, moving, count, losses);
        more = rc > 0;
    }
    losses->exact = losses->shown == most || losses->worst_count == losses->shown + 1;
    losses->looks = s.loss.rooms.looks + (uint64_t)(m->guest_count + m->node_count) / PROOF_PER_LOOK;
    sets_fini(&s);
    return rc < 0 ? rc : 0;
}

int capacity_losses(const struct model *model, const struct policy *p, int max, uint64_t work,
                    struct capacity_losses *losses)
{
    struct model *m = copy_unheld(model);
    int rc = m ? capacity_losses_in(m, p, max, NULL, 0, work, losses) : -ENOMEM;
    model_free(m);
    return rc;
}

int capacity_tolerates_in(struct model *m, const struct policy *p, int max, const struct capacity_moving *moving,
                          int count)
{
    struct capacity_losses losses;
    return capacity_losses_in(m, p, max, moving, count, CAPACITY_WORK, &losses) < 0 ? 0 : losses.likely;
}

int capacity_tolerates(const struct model *model, const struct policy *p, int max)
{
    struct capacity_losses losses;
    return max <= 0 || capacity_losses(model, p, max, CAPACITY_WORK, &losses) < 0 ? 0 : losses.likely;
}
