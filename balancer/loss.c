#include "balancer/loss.h"

#include <errno.h>
#include <stdlib.h>

#include "balancer/capacity.h"
#include "balancer/model.h"
#include "balancer/policy.h"

struct loss_waiting {
    double memory;
    int guest;
};

struct loss_undo {
    int guest, at, mirror;
};

/* How a place is chosen. */
typedef int (*loss_order)(struct rooms *rooms, const struct policy *policy, int guest);

static int compare(const void *a, const void *b)
{
    const struct loss_waiting *x = a, *y = b;
    if (x->memory != y->memory)
        return x->memory < y->memory ? 1 : -1;
    return (x->guest > y->guest) - (x->guest < y->guest);
}

void loss_fini(struct loss *l)
{
    rooms_fini(&l->rooms);
    free(l->waiting);
    free(l->undo);
}

int loss_init(struct loss *l, struct model *m, const struct policy *p, const struct capacity_moving *moving, int count)
{
    size_t guests = (size_t)m->guest_count + (size_t)count + 1;
    *l = (struct loss){.m = m,
                       .policy = p,
                       .moving = moving,
                       .moving_count = count,
                       .waiting = malloc(guests * sizeof *l->waiting),
                       .undo = malloc(guests * sizeof *l->undo)};
    if (l->waiting && l->undo && rooms_init(&l->rooms, m) == 0)
        return 0;
    loss_fini(l);
    *l = (struct loss){0};
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

static void strand(int guest, int *stranded, int *lost)
{
    if (!(*lost)++)
        *stranded = guest;
}

static void wait_for_place(struct loss *l, int guest, int *waiting)
{
    if (l->m->guests[guest].state == GUEST_RUNNING)
        l->waiting[(*waiting)++] = (struct loss_waiting){l->m->guests[guest].memory, guest};
}

/* Takes everybody off these nodes. How many wait for a place then. */
static int empty(struct loss *l, const int *nodes, int count, int *stranded, int *lost)
{
    struct model *m = l->m;
    int waiting = 0;
    for (int i = 0; i < count; i++) {
        model_set_offline(m, nodes[i], true);
        rooms_changed(&l->rooms, nodes[i]);
    }
    for (int i = 0; i < count; i++)
        for (int g = m->first[nodes[i]]; g >= 0; g = m->first[nodes[i]]) {
            int mirror = m->mirror[g];
            bool follows = mirror >= 0 && !m->nodes[mirror].offline && !m->nodes[mirror].outside;
            l->undo[l->undo_count++] = (struct loss_undo){g, nodes[i], mirror};
            place(l, g, follows ? mirror : -1, -1);
            l->rooms.looks++;
            if (!follows)
                wait_for_place(l, g, &waiting);
            else if (model_memory_free(m, mirror) < 0)
                strand(g, stranded, lost);
        }
    for (int i = 0; i < l->moving_count; i++) {
        const struct capacity_moving *v = &l->moving[i];
        if (!is_one_of(nodes, count, v->from, v->to))
            continue;
        l->undo[l->undo_count++] = (struct loss_undo){v->guest, -1, -1};
        wait_for_place(l, v->guest, &waiting);
    }
    return waiting;
}

/* The nodes were up before. */
static void find_again(struct loss *l, const int *nodes, int count)
{
    for (int i = 0; i < count; i++)
        model_set_offline(l->m, nodes[i], false);
    while (l->undo_count) {
        const struct loss_undo *u = &l->undo[--l->undo_count];
        place(l, u->guest, u->at, u->mirror);
    }
    for (int i = 0; i < count; i++) /* one without guests */
        rooms_changed(&l->rooms, nodes[i]);
}

static int try_order(struct loss *l, const int *nodes, int count, loss_order choose, int *stranded)
{
    int lost = 0;
    *stranded = -1;
    l->undo_count = 0;
    int waiting = empty(l, nodes, count, stranded, &lost);
    qsort(l->waiting, (size_t)waiting, sizeof *l->waiting, compare);
    for (int i = 0; i < waiting; i++) {
        int guest = l->waiting[i].guest, n = choose(&l->rooms, l->policy, guest);
        if (n >= 0)
            place(l, guest, n, -1);
        else
            strand(guest, stranded, &lost);
    }
    find_again(l, nodes, count);
    return lost;
}

int loss_try(struct loss *l, const int *nodes, int count, int *guest)
{
    int second, lost = try_order(l, nodes, count, rooms_find, guest);
    int fewer = lost ? try_order(l, nodes, count, rooms_find_tight, &second) : 0;
    if (fewer < lost) {
        lost = fewer;
        *guest = second;
    }
    return lost;
}
