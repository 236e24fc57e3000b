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

enum { FIT_MAX = 1000000, FIT_CHECKS = 16 };

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

/* With the first `count` of them on their places and no more. */
static bool bears(struct model *m, const struct policy *p, int first, const int *at, int count, int lose)
{
    struct capacity_losses losses;
    for (int g = first; g < m->guest_count; g++) {
        int n = g - first < count ? at[g - first] : -1;
        if (m->at[g] != n)
            model_place(m, g, n, -1);
    }
    return capacity_losses_in(m, p, lose, NULL, 0, CAPACITY_WORK_ASKED / FIT_CHECKS, &losses) == 0 &&
           losses.shown >= lose;
}

/* The most of them beside which the loss is survived; found by halves, so it is one beside which one more was too many.
 */
static int with_loss(struct model *m, const struct policy *p, int first, const int *at, int placed, int lose)
{
    if (bears(m, p, first, at, placed, lose))
        return placed;
    int good = 0, bad = placed;
    while (bad - good > 1) {
        int half = good + (bad - good) / 2;
        if (bears(m, p, first, at, half, lose))
            good = half;
        else
            bad = half;
    }
    return good;
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
        *fit = (struct capacity_fit){.count = placed, .with_loss = placed, .limited_by = RULE_MEMORY};
        if (placed < most)
            fit->limited_by = commonest_rule(m, p, first + placed);
        if (lose > 0 && placed > 0)
            fit->with_loss = with_loss(m, p, first, at, placed, lose);
    }
    free(at);
    model_free(m);
    return placed < 0 ? err_set(err, ENOMEM, "no memory to try %d more guests", most) : 0;
}
