#include "balancer/capacity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/model.h"
#include "balancer/policy.h"
#include "balancer/rules.h"
#include "node/base/err.h"

enum { FIT_MAX = 1000000 };

struct sized {
    double memory;
    int guest;
};

static int compare(const void *a, const void *b)
{
    const struct sized *x = a, *y = b;
    if (x->memory != y->memory)
        return x->memory < y->memory ? 1 : -1;
    return (x->guest > y->guest) - (x->guest < y->guest);
}

static bool is_up(const struct model *m, int n)
{
    return !m->nodes[n].offline && !m->nodes[n].outside;
}

/* A loss asks for no mode of the balancer's. NULL: no memory. */
static struct model *copy_unheld(const struct model *model)
{
    struct model *m = model_copy(model);
    if (m)
        model_hold(m, MODE_AUTOMATIC, MODE_OFF + 1);
    return m;
}

static int roomiest(const struct model *m, const struct policy *p, int guest)
{
    int best = -1;
    double most = -1;
    for (int n = 0; n < m->node_count; n++) {
        double room = model_memory_free(m, n);
        if (room > most && is_up(m, n) && rules_check(m, p, guest, n, -1) == RULE_NONE) {
            most = room;
            best = n;
        }
    }
    return best;
}

/* Places what these nodes held in `m`, which is changed; a guest with a mirror goes there. */
static int replace(struct model *m, const struct policy *p, const int *nodes, int count, struct sized *scratch)
{
    int waiting = 0, lost = 0;
    for (int i = 0; i < count; i++)
        m->nodes[nodes[i]].offline = true;
    for (int i = 0; i < count; i++)
        for (int g = m->first[nodes[i]]; g >= 0; g = m->first[nodes[i]]) {
            int mirror = m->mirror[g];
            bool follows = mirror >= 0 && is_up(m, mirror);
            model_place(m, g, follows ? mirror : -1, -1);
            if (follows)
                lost += model_memory_free(m, mirror) < 0;
            else if (m->guests[g].state == GUEST_RUNNING)
                scratch[waiting++] = (struct sized){m->guests[g].memory, g};
        }
    qsort(scratch, (size_t)waiting, sizeof *scratch, compare);
    for (int i = 0; i < waiting; i++) {
        int n = roomiest(m, p, scratch[i].guest);
        if (n >= 0)
            model_place(m, scratch[i].guest, n, -1);
        else
            lost++;
    }
    return lost;
}

int capacity_lost(const struct model *model, const struct policy *p, const int *nodes, int count)
{
    struct model *m = copy_unheld(model);
    struct sized *scratch = malloc(((size_t)model->guest_count + 1) * sizeof *scratch);
    int lost = m && scratch ? replace(m, p, nodes, count, scratch) : -ENOMEM;
    free(scratch);
    model_free(m);
    return lost;
}

/* Back to how the original stands. */
static void restore(struct model *m, const struct model *original)
{
    for (int g = 0; g < m->guest_count; g++)
        if (m->at[g] != original->at[g] || m->mirror[g] != original->mirror[g])
            model_place(m, g, original->at[g], original->mirror[g]);
    for (int n = 0; n < m->node_count; n++)
        m->nodes[n].offline = original->nodes[n].offline;
}

/* The node whose loss, beside those lost already, strands the most, or else holds the most memory. */
static int worst_node(struct model *m, const struct model *original, const struct policy *p, int *nodes, int count,
                      struct sized *scratch, int *lost)
{
    int worst = -1;
    double most = -1;
    for (int n = 0; n < m->node_count; n++) {
        bool taken = !is_up(original, n);
        for (int i = 0; i < count; i++)
            taken |= nodes[i] == n;
        if (taken)
            continue;
        nodes[count] = n;
        int stranded = replace(m, p, nodes, count + 1, scratch);
        restore(m, original);
        double weight = stranded * 1e12 + original->sum[n][SUM_MEMORY];
        if (weight > most) {
            most = weight;
            worst = n;
            *lost = stranded;
        }
    }
    return worst;
}

int capacity_tolerates(const struct model *model, const struct policy *p, int max)
{
    struct model *m = copy_unheld(model);
    struct sized *scratch = malloc(((size_t)model->guest_count + 1) * sizeof *scratch);
    int *nodes = malloc(((size_t)max + 1) * sizeof *nodes), tolerated = 0;
    while (m && scratch && nodes && tolerated < max) {
        int lost = 0, worst = worst_node(m, model, p, nodes, tolerated, scratch, &lost);
        if (worst < 0 || lost > 0)
            break;
        nodes[tolerated++] = worst;
    }
    free(nodes);
    free(scratch);
    model_free(m);
    return tolerated;
}

/* Another model with so many more guests of this shape, all of them nowhere yet. */
static struct model *with_more(const struct model *model, const struct model_guest *shape, int count, struct err *err)
{
    struct model *from = copy_unheld(model);
    struct model *m = from ? model_new(model->family) : NULL;
    int *at = malloc(((size_t)model->guest_count + (size_t)count + 1) * sizeof *at), rc = m && at ? 0 : -ENOMEM;
    for (int n = 0; rc == 0 && n < model->node_count; n++)
        rc = model_add_node(m, model_node_name(model, n), &model->nodes[n], err) < 0 ? -ENOMEM : 0;
    for (int g = 0; rc == 0 && g < model->guest_count + count; g++) {
        char name[64];
        snprintf(name, sizeof name, "new guest %d", g);
        bool old = g < model->guest_count;
        struct model_guest guest = old ? model->guests[g] : *shape;
        guest.pins = NULL; /* who is placed already is not asked again */
        guest.pin_count = 0;
        rc = model_add_guest(m, name, &guest, err) < 0 ? -ENOMEM : 0;
        at[g] = old ? model->at[g] : -1;
    }
    if (rc == 0)
        rc = model_ready(m, at, NULL, err);
    for (int n = 0; rc == 0 && n < model->node_count; n++) /* mirrors were left out: their disks stay counted */
        m->nodes[n] = model->nodes[n];
    for (int n = 0; rc == 0 && n < model->node_count; n++)
        m->nodes[n].disk_at_load -= model->sum[n][SUM_DISK] - m->sum[n][SUM_DISK];
    if (rc == 0)
        model_hold(m, MODE_AUTOMATIC, MODE_OFF + 1);
    free(at);
    model_free(from);
    if (rc == 0)
        return m;
    model_free(m);
    err_set(err, ENOMEM, "no memory to try %d more guests", count);
    return NULL;
}

int capacity_fits(const struct model *model, const struct policy *p, const struct model_guest *shape, int lose,
                  struct capacity_fit *fit, struct err *err)
{
    double memory = 0;
    for (int n = 0; n < model->node_count; n++)
        memory += is_up(model, n) && model_memory_free(model, n) > 0 ? model_memory_free(model, n) : 0;
    int most = shape->memory > 0 ? (int)(memory / shape->memory < FIT_MAX ? memory / shape->memory : FIT_MAX) + 1 : 1;
    if (model->guest_count + most > MODEL_GUESTS_MAX)
        most = MODEL_GUESTS_MAX - model->guest_count;
    struct model *m = with_more(model, shape, most, err);
    if (!m)
        return -ENOMEM;
    *fit = (struct capacity_fit){0};
    int first = model->guest_count, placed = 0;
    for (; placed < most; placed++) {
        int n = roomiest(m, p, first + placed);
        if (n < 0)
            break;
        model_place(m, first + placed, n, -1);
    }
    fit->count = placed;
    int reasons[RULE_COUNT] = {0};
    for (int n = 0; placed < most && n < m->node_count; n++)
        reasons[rules_check(m, p, first + placed, n, -1)]++;
    for (int r = 1; r < RULE_COUNT; r++)
        fit->limited_by = reasons[r] > reasons[fit->limited_by] || !fit->limited_by ? r : fit->limited_by;
    while (lose > 0 && placed > 0 && capacity_tolerates(m, p, lose) < lose) { /* halves first, then one by one */
        int fewer = placed > 16 ? placed / 8 : 1;
        for (int i = 0; i < fewer; i++)
            model_place(m, first + --placed, -1, -1);
    }
    fit->with_loss = placed;
    model_free(m);
    return 0;
}
