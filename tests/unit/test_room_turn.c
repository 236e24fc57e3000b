/* One after the other, in the order in which they came: also those who are done at once, and those who come meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "node/agent/room_turn.h"
#include "node/base/container.h"

struct caller {
    struct room_turn turn;
    struct caller *brings; /* comes while this one has the turn */
    bool at_once;          /* is done as soon as it begins */
};

static struct room_turns *turns;
static struct caller *begun[8];
static int count, depth;

static void begin(struct room_turn *turn)
{
    struct caller *c = CONTAINER_OF(turn, struct caller, turn);
    assert_int_equal(depth++, 0); /* never within another one */
    begun[count++] = c;
    if (c->brings)
        room_turns_wait(turns, &c->brings->turn);
    if (c->at_once)
        room_turns_done(turns);
    depth--;
}

static int setup(void **state)
{
    (void)state;
    turns = room_turns_new();
    count = depth = 0;
    return !turns;
}

static int teardown(void **state)
{
    (void)state;
    room_turns_free(turns);
    return 0;
}

static void the_next_begins_when_one_is_done(void **state)
{
    struct caller a = {.turn.begin = begin}, b = a, c = a;
    (void)state;
    room_turns_wait(turns, &a.turn);
    room_turns_wait(turns, &b.turn);
    room_turns_wait(turns, &c.turn);
    assert_int_equal(count, 1);
    room_turns_done(turns);
    assert_int_equal(count, 2);
    room_turns_done(turns);
    assert_int_equal(count, 3);
    assert_ptr_equal(begun[0], &a);
    assert_ptr_equal(begun[1], &b);
    assert_ptr_equal(begun[2], &c);
    assert_true(room_turn_may_choose(&c.turn));
    room_turns_done(turns);
    room_turns_wait(turns, &a.turn); /* nobody is before it */
    assert_int_equal(count, 4);
    assert_true(room_turn_may_choose(&a.turn));
    room_turns_end(turns);
    assert_false(room_turn_may_choose(&a.turn));
}

static void who_is_done_at_once_holds_up_nobody(void **state)
{
    struct caller last = {.turn.begin = begin}, a = {.turn.begin = begin},
                  b = {.turn.begin = begin, .at_once = true, .brings = &last},
                  c = {.turn.begin = begin, .at_once = true};
    (void)state;
    room_turns_wait(turns, &a.turn);
    room_turns_wait(turns, &b.turn);
    room_turns_wait(turns, &c.turn);
    room_turns_done(turns);
    assert_int_equal(count, 4);
    assert_ptr_equal(begun[1], &b);
    assert_ptr_equal(begun[2], &c);
    assert_ptr_equal(begun[3], &last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_next_begins_when_one_is_done, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_done_at_once_holds_up_nobody, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
