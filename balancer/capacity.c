#include "balancer/capacity.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/model.h"
#include "balancer/policy.h"
#include "balancer/rooms.h"
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

/* ---- losses ---- */

struct loss {
    struct model *m; /* changed, and put back */
    const struct policy *policy;
    struct rooms rooms;
    struct sized *waiting;
    struct undo {
        int guest, at, mirror;
    } * undo;
    int undo_count;
    const struct capacity_moving *moving;
    int moving_count;
};

static void loss_fini(struct loss *l)
{
    rooms_fini(&l->rooms);
    free(l->waiting);
    free(l->undo);
}

static int loss_init(struct loss *l, struct model *m, const struct policy *p, int moving)
{
    size_t guests = (size_t)m->guest_count + (size_t)moving + 1;
    *l = (struct loss){
        .m = m, .policy = p, .waiting = malloc(guests * sizeof *l->waiting), .undo = malloc(guests * sizeof *l->undo)};
    if (l->waiting && l->undo && rooms_init(&l->rooms, m) == 0)
        return 0;
    loss_fini(l);
    return -ENOMEM;
}

static void place(struct loss *l, int guest, int at, int mirror)
{
    struct model *m = l->m;
    int ends[] = {m->at[guest], m->mirror[guest], at, mirror};
    model_place(m, guest, at, mirror);
    for (int i = 0; i < 4; i++)
        if (ends[i] >= 0)
            rooms_changed(&l->rooms, ends[i]);
}

static bool is_one_of(const int *nodes, int count, int a, int b)
{
    for (int i = 0; i < count; i++)
        if (nodes[i] == a || nodes[i] == b)
            return true;
    return false;
}

/* Places what these nodes held; a guest with a mirror goes there. How many find no place. */
static int lose(struct loss *l, const int *nodes, int count)
{
    struct model *m = l->m;
    int waiting = 0, lost = 0;
    l->undo_count = 0;
    for (int i = 0; i < count; i++) {
        m->nodes[nodes[i]].offline = true;
        rooms_changed(&l->rooms, nodes[i]);
    }
    for (int i = 0; i < count; i++)
        for (int g = m->first[nodes[i]]; g >= 0; g = m->first[nodes[i]]) {
            int mirror = m->mirror[g];
            bool follows = mirror >= 0 && is_up(m, mirror);
            l->undo[l->undo_count++] = (struct undo){g, nodes[i], mirror};
            place(l, g, follows ? mirror : -1, -1);
            if (follows)
                lost += model_memory_free(m, mirror) < 0;
            else if (m->guests[g].state == GUEST_RUNNING)
                l->waiting[waiting++] = (struct sized){m->guests[g].memory, g};
        }
    for (int i = 0; i < l->moving_count; i++) {
        const struct capacity_moving *v = &l->moving[i];
        if (m->guests[v->guest].state != GUEST_RUNNING || !is_one_of(nodes, count, v->from, v->to))
            continue;
        l->undo[l->undo_count++] = (struct undo){v->guest, -1, -1};
        l->waiting[waiting++] = (struct sized){m->guests[v->guest].memory, v->guest};
    }
    qsort(l->waiting, (size_t)waiting, sizeof *l->waiting, compare);
    for (int i = 0; i < waiting; i++) {
        int n = rooms_find(&l->rooms, l->policy, l->waiting[i].guest);
        if (n >= 0)
            place(l, l->waiting[i].guest, n, -1);
        else
            lost++;
    }
    return lost;
}

/* The nodes were up before. */
static void find_again(struct loss *l, const int *nodes, int count)
{
    for (int i = 0; i < count; i++)
        l->m->nodes[nodes[i]].offline = false;
    while (l->undo_count) {
        const struct undo *u = &l->undo[--l->undo_count];
        place(l, u->guest, u->at, u->mirror);
    }
    for (int i = 0; i < count; i++) /* one without guests */
        rooms_changed(&l->rooms, nodes[i]);
}

int capacity_lost(const struct model *model, const struct policy *p, const int *nodes, int count)
{
    struct model *m = copy_unheld(model);
    struct loss loss = {0};
    int lost = m && loss_init(&loss, m, p, 0) == 0 ? lose(&loss, nodes, count) : -ENOMEM;
    loss_fini(&loss);
    model_free(m);
    return lost;
}

/* The node whose loss, beside those lost already, strands somebody, or else holds the most memory. */
static int worst_node(struct loss *l, int *nodes, int count, int *lost)
{
    const struct model *m = l->m;
    int worst = -1;
    double most = -1;
    for (int n = 0; n < m->node_count; n++) {
        bool taken = !is_up(m, n);
        for (int i = 0; i < count; i++)
            taken |= nodes[i] == n;
        if (taken)
            continue;
        double memory = m->sum[n][SUM_MEMORY];
        nodes[count] = n;
        *lost = lose(l, nodes, count + 1);
        find_again(l, nodes, count + 1);
        if (*lost)
            return n;
        if (memory > most) {
            most = memory;
            worst = n;
        }
    }
    return worst;
}

int capacity_tolerates_in(struct model *m, const struct policy *p, int max, const struct capacity_moving *moving,
                          int count)
{
    struct loss loss;
    int *nodes = malloc(((size_t)max + 1) * sizeof *nodes), tolerated = 0;
    if (!nodes || loss_init(&loss, m, p, count) < 0) {
        free(nodes);
        return 0;
    }
    loss.moving = moving;
    loss.moving_count = count;
    while (tolerated < max) {
        int lost = 0, worst = worst_node(&loss, nodes, tolerated, &lost);
        if (worst < 0 || lost > 0)
            break;
        nodes[tolerated++] = worst;
    }
    loss_fini(&loss);
    free(nodes);
    return tolerated;
}

int capacity_tolerates(const struct model *model, const struct policy *p, int max)
{
    struct model *m = max > 0 ? copy_unheld(model) : NULL;
    int tolerated = m ? capacity_tolerates_in(m, p, max, NULL, 0) : 0;
    model_free(m);
    return tolerated;
}

/* ---- what fits ---- */

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
    struct rooms rooms;
    if (rooms_init(&rooms, m) < 0) {
        model_free(m);
        return err_set(err, ENOMEM, "no memory to try %d more guests", most);
    }
    *fit = (struct capacity_fit){0};
    int first = model->guest_count, placed = 0;
    for (; placed < most; placed++) {
        int n = rooms_find(&rooms, p, first + placed);
        if (n < 0)
            break;
        model_place(m, first + placed, n, -1);
        rooms_changed(&rooms, n);
    }
    rooms_fini(&rooms);
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
