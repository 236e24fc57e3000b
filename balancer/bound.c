#include "balancer/bound.h"

#include <stdlib.h>

#include "balancer/model.h"
#include "balancer/rules.h"

static int only_node(const struct model *empty, const struct policy *p, int guest)
{
    int only = BOUND_NOWHERE;
    for (int n = 0; n < empty->node_count; n++)
        if (rules_check(empty, p, guest, n, -1) == RULE_NONE) {
            if (only != BOUND_NOWHERE)
                return BOUND_NOT;
            only = n;
        }
    return only;
}

void bound_find(struct model *open, const struct policy *p, int *only)
{
    for (int g = 0; g < open->guest_count; g++)
        model_place(open, g, -1, -1);
    model_hold(open, MODE_AUTOMATIC, MODE_OFF + 1);
    for (int g = 0; g < open->guest_count; g++)
        only[g] = only_node(open, p, g);
}

struct model *bound_copy(const struct model *model, const struct policy *p)
{
    struct model *open = model_copy(model), *m = NULL;
    int *only = malloc(((size_t)model->guest_count + 1) * sizeof *only);
    if (open && only) {
        for (int n = 0; n < open->node_count; n++) {
            open->nodes[n].stale = open->nodes[n].unseen = false;
            model_set_offline(open, n, false);
        }
        bound_find(open, p, only);
        model_free(open);
        open = NULL;
        m = model_copy(model);
    }
    if (m)
        model_hold(m, MODE_AUTOMATIC, MODE_OFF + 1); /* a loss asks for no mode */
    for (int g = 0; m && g < m->guest_count; g++)
        if (only[g] != BOUND_NOT && m->guests[g].state == GUEST_RUNNING && m->mirror[g] < 0)
            m->guests[g].state = GUEST_DOWN;
    free(only);
    model_free(open);
    return m;
}
