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

int capacity_lost(const struct model *model, const struct policy *p, const int *nodes, int count)
{
    struct model *m = copy_unheld(model);
    struct loss loss = {0};
    int guest, lost = m && loss_init(&loss, m, p, NULL, 0) == 0 ? loss_try(&loss, nodes, count, &guest) : -ENOMEM;
    loss_fini(&loss);
    model_free(m);
    return lost;
}

/* ---- sets of nodes ---- */

struct node_use {
    double memory;
    int node;
};

struct sets {
    struct loss loss;
    struct node_use *up; /* the nodes, the most memory in use first */
    int up_count;
    double guests; /* of a node, on average */
    uint64_t work;
};

enum outcome { SURVIVED, LIKELY, FAILED };

static int compare(const void *a, const void *b)
{
    const struct node_use *x = a, *y = b;
    if (x->memory != y->memory)
        return x->memory < y->memory ? 1 : -1;
    return (x->node > y->node) - (x->node < y->node);
}

static int count_up(const struct model *m)
{
    int up = 0;
    for (int n = 0; n < m->node_count; n++)
        up += !m->nodes[n].offline && !m->nodes[n].outside;
    return up;
}

static int sets_init(struct sets *s, struct model *m, const struct policy *p, const struct capacity_moving *moving,
                     int count)
{
    s->up = malloc(((size_t)m->node_count + 1) * sizeof *s->up);
    if (!s->up || loss_init(&s->loss, m, p, moving, count) < 0)
        return -ENOMEM;
    for (int n = 0; n < m->node_count; n++) {
        if (m->nodes[n].offline || m->nodes[n].outside)
            continue;
        s->up[s->up_count++] = (struct node_use){m->sum[n][SUM_MEMORY], n};
        s->guests += m->count[n];
    }
    s->guests = s->up_count ? s->guests / s->up_count : 0;
    qsort(s->up, (size_t)s->up_count, sizeof *s->up, compare);
    return 0;
}

static void sets_fini(struct sets *s)
{
    free(s->up);
    loss_fini(&s->loss);
}

/* Can every set of so many be tried, at a look and a half for each guest? */
static bool are_few(const struct sets *s, int size)
{
    double sets = 1;
    for (int i = 0; i < size; i++)
        sets = sets * (s->up_count - i) / (i + 1);
    return sets * (size * s->guests * 1.5 + 1) <= (double)s->work;
}

/* The next set, by the places of its nodes in order; false: there is none, or its first ones would be others. */
static bool next_set(const struct sets *s, int *place, int size, bool all)
{
    int i = size - 1;
    while (i >= 0 && place[i] == s->up_count - size + i)
        i--;
    if (i < 0 || (i < size - 1 && !all))
        return false;
    for (place[i]++; i + 1 < size; i++)
        place[i + 1] = place[i] + 1;
    return true;
}

static enum outcome try_sets(struct sets *s, int size, struct capacity_losses *losses)
{
    bool all = size == 1 || are_few(s, size);
    uint64_t end = s->loss.rooms.looks + (size > 1 && all ? 2 * s->work : CAPACITY_WORK_MOST);
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

int capacity_losses_in(struct model *m, const struct policy *p, int max, const struct capacity_moving *moving,
                       int count, uint64_t work, struct capacity_losses *losses)
{
    int up = count_up(m), most = max < CAPACITY_LOSE_MAX ? max : CAPACITY_LOSE_MAX;
    most = most < up ? most : up;
    *losses = (struct capacity_losses){.guest = -1};
    losses->shown = losses->likely = capacity_proof(m, p, most, moving, count);
    losses->looks = (uint64_t)(m->guest_count + m->node_count) / PROOF_PER_LOOK;
    if (losses->likely < most) {
        struct sets s = {.work = work};
        enum outcome outcome = SURVIVED;
        if (sets_init(&s, m, p, moving, count) < 0) {
            sets_fini(&s);
            return -ENOMEM;
        }
        while (losses->likely < most && (outcome = try_sets(&s, losses->likely + 1, losses)) != FAILED) {
            losses->shown += outcome == SURVIVED && losses->shown == losses->likely;
            losses->likely++;
        }
        losses->looks += s.loss.rooms.looks;
        sets_fini(&s);
    }
    losses->exact = losses->shown == most || losses->worst_count == losses->shown + 1;
    return 0;
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
