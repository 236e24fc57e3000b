#include "balancer/plan_room.h"

#include <errno.h>
#include <stdlib.h>

#include "balancer/capacity.h"
#include "balancer/model.h"

enum { CHUNK_LESS = 4 };

struct check {
    struct model *m; /* where the plan has got to */
    const struct policy *policy;
    const struct plan *plan;
    struct capacity_moving *moving; /* scratch */
    const struct search_budget *budget;
    int tolerated;
    uint64_t looks, work;
    bool late, over;
};

/* Asked before each further look at what may be lost. */
static bool is_over(struct check *c)
{
    const struct search_budget *b = c->budget;
    if (!c->late && b && b->stop && b->stop(b->data)) {
        c->late = true;
        c->work = c->work < c->looks + PLAN_ROOM_GRACE ? c->work : c->looks + PLAN_ROOM_GRACE;
    }
    c->over |= c->looks >= c->work;
    return c->over;
}

static int end_of_chunk(const struct plan *plan, int first, int waves)
{
    int last = plan->moves[first].wave + waves - 1;
    while (first < plan->count && plan->moves[first].wave <= last)
        first++;
    return first;
}

static void go(struct check *c, const struct plan_move *move)
{
    model_place(c->m, move->guest, move->to, move->to_mirror);
}

static void hold_ends(struct check *c, int first, int end, double sign)
{
    for (int i = first; i < end; i++) {
        const struct plan_move *move = &c->plan->moves[i];
        model_hold_row(c->m, move->from, c->m->use[move->guest], sign);
        model_hold_row(c->m, move->to, c->m->use[move->guest], sign);
    }
}

/* In every state from the one before the first to the one after the last of these moves, in any order: whoever moves is
 * taken to be nowhere and to take room on both nodes. */
static int keeps_through(struct check *c, int first, int end)
{
    const struct plan_move *moves = c->plan->moves;
    struct capacity_losses losses;
    for (int i = first; i < end; i++) {
        c->moving[i - first] = (struct capacity_moving){moves[i].guest, moves[i].from, moves[i].to};
        model_place(c->m, moves[i].guest, -1, -1);
    }
    hold_ends(c, first, end, 1);
    int rc = capacity_losses_in(c->m, c->policy, c->tolerated, c->moving, end - first, CAPACITY_WORK, &losses);
    hold_ends(c, first, end, -1);
    for (int i = end - 1; i >= first; i--)
        model_place(c->m, moves[i].guest, moves[i].from, moves[i].from_mirror);
    c->looks += losses.looks;
    return rc < 0 ? rc : losses.shown >= c->tolerated;
}

/* How many may be lost where the plan has got to; negative: -ENOMEM. */
static int left(struct check *c)
{
    struct capacity_losses losses;
    int rc = capacity_losses_in(c->m, c->policy, c->tolerated, NULL, 0, CAPACITY_WORK, &losses);
    c->looks += losses.looks;
    return rc < 0 ? rc : losses.likely;
}

bool plan_room_must(const struct model *m, const struct plan_move *move)
{
    return move->from < 0 || m->nodes[move->from].offline || model_is_pinned_away(&m->guests[move->guest], move->from);
}

/* Of a wave after which the room is gone: the move with which it went. What goes with one that must move is no later
 * one's doing. If there is none, and time for all of them, the wave is through. */
static int find_culprit(struct check *c, int first, int end, int *culprit)
{
    const struct plan_move *moves = c->plan->moves;
    for (int i = end - 1; i >= first; i--)
        model_place(c->m, moves[i].guest, moves[i].from, moves[i].from_mirror);
    for (int k = 0; k < 2 * (end - first) && c->tolerated > 0 && !is_over(c); k++) { /* first those that must */
        int i = first + k % (end - first);
        bool must = plan_room_must(c->m, &moves[i]);
        if (must == (k >= end - first))
            continue;
        go(c, &moves[i]);
        int now = left(c);
        if (now < 0)
            return now;
        if (!must && now < c->tolerated) {
            *culprit = i;
            return 0;
        }
        c->tolerated = now;
    }
    return 0;
}

/* The next moves of the plan, as many waves as *waves says or fewer. */
static int advance(struct check *c, struct plan_room *room, int *waves)
{
    int first = room->good, end = end_of_chunk(c->plan, first, *waves);
    int keeps = *waves > 1 ? keeps_through(c, first, end) : 0;
    if (keeps < 0)
        return keeps;
    if (!keeps && *waves > 1) {
        *waves /= CHUNK_LESS;
        *waves = *waves > 1 ? *waves : 1;
        return 0;
    }
    for (int i = first; i < end; i++)
        go(c, &c->plan->moves[i]);
    int now = keeps ? c->tolerated : left(c);
    int rc = now < 0 ? now : now < c->tolerated ? find_culprit(c, first, end, &room->culprit) : 0;
    if (rc == 0 && room->culprit < 0 && !c->over)
        room->good = end;
    *waves = *waves < c->plan->waves ? *waves * 2 : *waves;
    return rc;
}

int plan_room_check(const struct model *model, const struct policy *policy, const struct plan *plan, int tolerated,
                    uint64_t work, const struct search_budget *budget, struct plan_room *room)
{
    struct check c = {.m = model_copy(model),
                      .policy = policy,
                      .plan = plan,
                      .moving = malloc(((size_t)plan->count + 1) * sizeof *c.moving),
                      .budget = budget,
                      .tolerated = tolerated,
                      .work = work};
    int rc = c.m && c.moving ? 0 : -ENOMEM, waves = plan->waves;
    *room = (struct plan_room){.culprit = -1};
    if (rc == 0)
        model_hold(c.m, MODE_AUTOMATIC, MODE_OFF + 1); /* a loss asks for no mode */
    while (rc == 0 && room->good < plan->count && room->culprit < 0 && c.tolerated > 0 && !is_over(&c))
        rc = advance(&c, room, &waves);
    if (c.tolerated <= 0 && room->culprit < 0)
        room->good = plan->count; /* nothing is left to keep */
    room->looks = c.looks;
    room->stopped = c.late || c.over;
    free(c.moving);
    model_free(c.m);
    return rc;
}
