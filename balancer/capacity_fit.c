/* How many more guests of a shape fit, beside guests that keep all their rules. */
#include <errno.h>
#include <stdlib.h>

#include "balancer/capacity.h"
#include "balancer/model.h"
#include "balancer/model_copy.h"
#include "balancer/policy.h"
#include "balancer/rooms.h"
#include "balancer/rules.h"
#include "node/base/err.h"

enum { FIT_MAX = 1000000, FIT_TIMES = 4 };

/* No more than this by memory alone, and one that does not fit. */
static int most_of(const struct model *m, const struct model_guest *shape)
{
    double most = 1;
    for (int n = 0; n < m->node_count; n++) {
        bool up = !m->nodes[n].offline && !m->nodes[n].outside;
        double free = up ? model_memory_free(m, n) : 0;
        most += free > 0 && shape->memory > 0 ? (double)(long)(free / shape->memory) : 0;
    }
    most = most < FIT_MAX ? most : FIT_MAX;
    int left = MODEL_GUESTS_MAX - m->guest_count;
    return most < left ? (int)most : left;
}

/* Each on the roomiest node that takes it. How many fit. */
static int place_all(struct model *m, const struct policy *p, int first, int *at)
{
    struct rooms rooms;
    int placed = 0;
    if (rooms_init(&rooms, m) < 0)
        return -ENOMEM;
    for (int n; first + placed < m->guest_count && (n = rooms_find(&rooms, p, first + placed)) >= 0; placed++) {
        model_place(m, first + placed, n, -1);
        rooms_changed(&rooms, n);
        at[placed] = n;
    }
    rooms_fini(&rooms);
    return placed;
}

static int commonest_rule(const struct model *m, const struct policy *p, int guest)
{
    int reasons[RULE_COUNT] = {0}, most = 0;
    for (int n = 0; n < m->node_count; n++)
        reasons[rules_check(m, p, guest, n, -1)]++;
    for (int r = 1; r < RULE_COUNT; r++)
        most = reasons[r] > reasons[most] || !most ? r : most;
    return most;
}

struct beside {
    struct model *m;
    const struct policy *policy;
    const int *at; /* places of those from `first` on */
    int first, lose;
    uint64_t looks;
};

/* With the first `count` of them on their places and no more. */
static struct capacity_losses losses_beside(struct beside *b, int count)
{
    struct capacity_losses losses = {0};
    for (int g = b->first; g < b->m->guest_count; g++) {
        int n = g - b->first < count ? b->at[g - b->first] : -1;
        if (b->m->at[g] != n)
            model_place(b->m, g, n, -1);
    }
    if (capacity_losses_in(b->m, b->policy, b->lose, NULL, 0, CAPACITY_WORK_ASKED, &losses) < 0)
        losses = (struct capacity_losses){0};
    b->looks += losses.looks;
    return losses;
}

/* The most of them beside which the loss is survived, as far as is likely; found by halves, so it is one beside which
 * one more was too many, unless it takes too long. */
static void fit_with_loss(struct beside *b, int placed, struct capacity_fit *fit)
{
    struct capacity_losses losses = losses_beside(b, placed);
    int good = losses.likely >= b->lose ? placed : 0, bad = placed;
    bool shown = losses.shown >= b->lose;
    if (!good) {
        losses = losses_beside(b, 0);
        shown = losses.shown >= b->lose || losses.likely < b->lose;
    }
    while (losses.likely >= b->lose && bad - good > 1 && b->looks < FIT_TIMES * CAPACITY_WORK_ASKED) {
        int half = good + (bad - good) / 2;
        struct capacity_losses now = losses_beside(b, half);
        if (now.likely < b->lose) {
            bad = half;
            continue;
        }
        good = half;
        shown = now.shown >= b->lose;
    }
    fit->with_loss = good;
    fit->exact = shown;
}

int capacity_fits(const struct model *model, const struct policy *p, const struct model_guest *shape, int lose,
                  struct capacity_fit *fit, struct err *err)
{
    int most = most_of(model, shape), first = model->guest_count, placed = -ENOMEM;
    struct model *m = model_copy_and(model, shape, most);
    int *at = malloc(((size_t)most + 1) * sizeof *at);
    if (m && at) {
        model_hold(m, MODE_AUTOMATIC, MODE_OFF + 1);
        placed = place_all(m, p, first, at);
    }
    if (placed >= 0) {
        *fit = (struct capacity_fit){.count = placed, .with_loss = placed, .exact = true, .limited_by = RULE_MEMORY};
        if (placed < most)
            fit->limited_by = commonest_rule(m, p, first + placed);
        struct beside beside = {.m = m, .policy = p, .at = at, .first = first, .lose = lose};
        if (lose > 0 && placed > 0)
            fit_with_loss(&beside, placed, fit);
    }
    free(at);
    model_free(m);
    return placed < 0 ? err_set(err, ENOMEM, "no memory to try %d more guests", most) : 0;
}
