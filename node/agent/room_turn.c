#include "node/agent/room_turn.h"

#include <stdlib.h>

#include "node/base/clock.h"

enum { WAIT_MS = 30000, CHOOSE_MS = 10000 };

struct room_turns {
    STAILQ_HEAD(, room_turn) waiting;
    bool taken, giving, ended;
};

bool room_turn_may_choose(const struct room_turn *turn)
{
    return !turn->all->ended && turn->began_ms - turn->came_ms < WAIT_MS && clock_ms() - turn->began_ms < CHOOSE_MS;
}

void room_turn_again(struct room_turn *turn)
{
    if (room_turn_may_choose(turn))
        turn->begin(turn);
    else
        turn->crowded(turn);
}

/* One that is done at once is no call within a call. */
static void give(struct room_turns *t)
{
    if (t->giving)
        return;
    t->giving = true;
    while (!t->taken && !STAILQ_EMPTY(&t->waiting)) {
        struct room_turn *turn = STAILQ_FIRST(&t->waiting);
        STAILQ_REMOVE_HEAD(&t->waiting, link);
        t->taken = true;
        turn->began_ms = clock_ms();
        room_turn_again(turn);
    }
    t->giving = false;
}

void room_turns_wait(struct room_turns *t, struct room_turn *turn)
{
    turn->all = t;
    turn->came_ms = clock_ms();
    STAILQ_INSERT_TAIL(&t->waiting, turn, link);
    give(t);
}

void room_turns_done(struct room_turns *t)
{
    t->taken = false;
    give(t);
}

void room_turns_end(struct room_turns *t)
{
    t->ended = true;
}

struct room_turns *room_turns_new(void)
{
    struct room_turns *t = calloc(1, sizeof *t);
    if (t)
        STAILQ_INIT(&t->waiting);
    return t;
}

void room_turns_free(struct room_turns *t)
{
    free(t);
}
