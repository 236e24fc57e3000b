/* How many nodes may be lost, asked again and again of states that differ by a few moves: one scratch model follows
 * them, and who could run nowhere else is found once. */
#include <errno.h>
#include <stdlib.h>

#include "balancer/bound.h"
#include "balancer/capacity.h"
#include "balancer/consolidate.h"
#include "node/base/err.h"

int consolidate_losses_init(struct consolidate_losses *l, const struct model *model, const struct policy *p,
                            struct err *err)
{
    struct model *empty = model_copy(model);
    *l = (struct consolidate_losses){.m = model_copy(model),
                                     .only = malloc(((size_t)model->guest_count + 1) * sizeof *l->only)};
    if (!empty || !l->m || !l->only) {
        model_free(empty);
        consolidate_losses_fini(l);
        return err_set(err, ENOMEM, "no memory for a plan");
    }
    for (int n = 0; n < empty->node_count; n++) {
        if (empty->nodes[n].drained)
            consolidate_open(empty, n);
        empty->nodes[n].stale = false;
        model_set_offline(empty, n, false);
    }
    bound_find(empty, p, l->only);
    model_free(empty);
    return 0;
}

void consolidate_losses_fini(struct consolidate_losses *l)
{
    model_free(l->m);
    free(l->only);
    *l = (struct consolidate_losses){0};
}

/* The scratch model as `model` stands. */
static void follow(struct consolidate_losses *l, const struct model *model)
{
    struct model *m = l->m;
    for (int n = 0; n < m->node_count; n++) {
        m->nodes[n] = model->nodes[n];
        m->nodes[n].held = false;
        model_node_changed(m, n);
    }
    for (int g = 0; g < m->guest_count; g++) {
        int at = model->at[g], only = l->only[g];
        if (m->at[g] != at)
            model_place(m, g, at, -1);
        m->guests[g].state = at >= 0 && (only == BOUND_NOWHERE || only == at) ? GUEST_DOWN : model->guests[g].state;
    }
}

int consolidate_room(struct consolidate_losses *l, const struct model *model, const struct policy *p, int wanted)
{
    if (wanted <= 0)
        return 0;
    follow(l, model);
    return capacity_tolerates_in(l->m, p, wanted, NULL, 0);
}

/* Whoever moves is taken to be nowhere and to take room on both nodes: no state in between has less room anywhere, and
 * who would have to be placed in one is among those that are placed here. */
int consolidate_room_during(struct consolidate_losses *l, const struct model *model, const struct policy *p,
                            const struct plan *plan, int first, int end, int wanted)
{
    struct model *m = l->m;
    const struct plan_move *moves = &plan->moves[first];
    int count = end - first, tolerated = 0;
    follow(l, model);
    struct capacity_moving *moving = calloc((size_t)count + 1, sizeof *moving);
    for (int i = 0; moving && i < count; i++) {
        int guest = moves[i].guest;
        moving[i] = (struct capacity_moving){.guest = guest, .from = moves[i].from, .to = moves[i].to};
        model_place(m, guest, -1, -1);
        if (l->only[guest] == BOUND_NOWHERE) /* who moves to the only node for it does count until it is there */
            m->guests[guest].state = GUEST_DOWN;
        model_hold_row(m, moves[i].from, m->use[guest], 1);
        model_hold_row(m, moves[i].to, m->use[guest], 1);
    }
    if (moving)
        tolerated = capacity_tolerates_in(m, p, wanted, moving, count);
    for (int i = 0; moving && i < count; i++) {
        model_hold_row(m, moves[i].from, m->use[moves[i].guest], -1);
        model_hold_row(m, moves[i].to, m->use[moves[i].guest], -1);
    }
    free(moving);
    return tolerated;
}
