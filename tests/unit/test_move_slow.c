/* The driver "move" over places that take their time, or are gone for a while: each is given up for what it did itself,
 * and nobody waits for more than he has to. */
#include "tests/unit/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "nbd/move.h"
#include "node/base/clock.h"
#include "node/base/err.h"

enum { MIB = 1 << 20, BLOCK = 4096, TICKS = 4 };

#define SECOND_NS UINT64_C(1000000000)

/* ---- a layer that keeps requests of one kind until they are let go, or it is abandoned ---- */

enum place { OLD, NEW, PLACES };

static struct slow {
    int op;      /* kept; -1: none */
    bool yields; /* abandoned, it does what it keeps after all */
    unsigned kept, abandoned;
    struct blk_req_list list;
} slows[PLACES];

struct slow_config {
    uint64_t place;
};

static int slow_open(struct blk *blk, const void *config, struct err *err)
{
    (void)err;
    *(struct slow **)blk_state(blk) = &slows[((const struct slow_config *)config)->place];
    return 0;
}

static void slow_close(struct blk *blk)
{
    (void)blk;
}

static void slow_submit(struct blk *blk, struct blk_req *req)
{
    struct slow *s = *(struct slow **)blk_state(blk);
    if ((int)req->op != s->op) {
        blk_forward(blk, req);
        return;
    }
    s->kept++;
    STAILQ_INSERT_TAIL(&s->list, req, link);
}

static void let_go(struct slow *s, bool forward)
{
    struct blk_req *req;
    while ((req = STAILQ_FIRST(&s->list))) {
        STAILQ_REMOVE_HEAD(&s->list, link);
        if (forward)
            blk_forward(req->blk, req);
        else
            blk_complete(req, -ENOTCONN);
    }
}

static void slow_abandon(struct blk *blk)
{
    struct slow *s = *(struct slow **)blk_state(blk);
    s->abandoned++;
    let_go(s, s->yields);
}

static const struct blk_option slow_options[] = {
    {.name = "place", .type = BLK_OPTION_UINT, .field = offsetof(struct slow_config, place), .max = PLACES - 1},
    {.name = NULL},
};

static const struct blk_driver slow_driver = {
    .name = "slow",
    .filter = true,
    .options = slow_options,
    .config_bytes = sizeof(struct slow_config),
    .state_bytes = sizeof(struct slow *),
    .open = slow_open,
    .close = slow_close,
    .submit = slow_submit,
    .abandon = slow_abandon,
};

static int setup(void **state)
{
    for (int i = 0; i < PLACES; i++) {
        slows[i] = (struct slow){.op = -1};
        STAILQ_INIT(&slows[i].list);
    }
    return fixture_setup(state);
}

static int teardown(void **state)
{
    for (int i = 0; i < PLACES; i++) {
        slows[i].op = -1;
        let_go(&slows[i], true);
    }
    return fixture_teardown(state);
}

static struct blk *open_move(struct fixture *f, const char *options, const char *size)
{
    char stack[1024];
    snprintf(stack, sizeof stack,
             "[{\"driver\":\"move\"%s,\"to\":[{\"driver\":\"slow\",\"place\":1},{\"driver\":\"mem\",\"size\":\"%s\"}]},"
             "{\"driver\":\"slow\",\"place\":0},{\"driver\":\"mem\",\"size\":\"%s\"}]",
             options, size, size);
    fixture_open(f, stack, 0);
    return move_in(f->blk);
}

/* ---- requests ---- */

static uint8_t data[2 * BLOCK];

struct asked {
    struct blk_req req;
    struct iovec iov;
    bool busy;
};

static void answered(struct blk_req *req)
{
    ((struct asked *)(void *)req)->busy = false; /* its first member */
}

static void begin(struct fixture *f, struct asked *a, enum blk_op op, uint64_t offset)
{
    a->busy = true;
    a->iov = (struct iovec){data, sizeof data};
    a->req = (struct blk_req){.op = op, .done = answered};
    if (op != BLK_FLUSH) {
        a->req.offset = offset;
        a->req.length_bytes = sizeof data;
        a->req.iov = &a->iov;
        a->req.iov_count = 1;
    }
    blk_submit(f->blk, &a->req);
}

static int end(struct fixture *f, const struct asked *a)
{
    while (a->busy)
        loop_step(f->env.loop);
    return a->req.result;
}

static struct move_status status(const struct blk *move)
{
    struct move_status s;
    move_status(move, &s);
    return s;
}

static void until_kept(struct fixture *f, const struct slow *s)
{
    while (!s->kept)
        loop_step(f->env.loop);
}

static void tick(struct fixture *f)
{
    for (int i = 0; i < TICKS; i++)
        loop_step(f->env.loop); /* nothing else happens */
}

/* ---- copying ---- */

static void a_write_around_the_end_of_what_is_flushed_does_not_wait(void **state)
{
    struct fixture *f = *state;
    struct asked write;
    slows[NEW].op = BLK_FLUSH;
    struct blk *move = open_move(f, "", "80M");
    until_kept(f, &slows[NEW]);
    uint64_t at = status(move).done_bytes;
    assert_in_range(at, 1, 80 * MIB - 1);
    memset(data, 0x5a, sizeof data);
    begin(f, &write, BLK_WRITE, at - BLOCK);
    for (int i = 0; write.busy && i < 2 * TICKS; i++)
        loop_step(f->env.loop);
    assert_false(write.busy);
    assert_int_equal(status(move).done_bytes, at);
    slows[NEW].op = -1;
    let_go(&slows[NEW], true);
    while (status(move).phase == MOVE_COPYING)
        loop_step(f->env.loop);
    struct err err;
    uint8_t got[sizeof data];
    assert_int_equal(move_settle(move, &err), 0);
    assert_int_equal(fixture_io(f, BLK_READ, 0, at - BLOCK, got, sizeof got), 0); /* of the new place */
    assert_memory_equal(got, data, sizeof got);
}

static void it_may_be_closed_while_it_copies(void **state)
{
    struct fixture *f = *state;
    slows[NEW].op = BLK_ZERO;
    slows[NEW].yields = true;
    open_move(f, ",\"rate\":\"1M\"", "8M");
    until_kept(f, &slows[NEW]);
    fixture_close(f); /* the run ends meanwhile, and after one there is a pause */
    fixture_open(f, "mem:1M", 0);
    assert_int_equal(fixture_io(f, BLK_WRITE, 0, 0, data, sizeof data), 0); /* the loop looks at its timers */
}

static void the_new_place_does_not_answer_for_a_slow_read_of_the_old_one(void **state)
{
    struct fixture *f = *state;
    slows[OLD].op = BLK_READ;
    slows[NEW].op = BLK_ZERO;
    open_move(f, "", "1M");
    uint64_t begun_ns = clock_ns();
    while (clock_ns() - begun_ns < 5 * SECOND_NS / 2)
        loop_step(f->env.loop);
    assert_int_equal(slows[OLD].kept, 1);
    slows[OLD].op = -1;
    let_go(&slows[OLD], true);
    until_kept(f, &slows[NEW]);
    begun_ns = clock_ns();
    tick(f);
    assert_true(!slows[NEW].abandoned || clock_ns() - begun_ns > 2 * SECOND_NS);
    slows[NEW].op = -1;
    let_go(&slows[NEW], true);
}

/* ---- places that are gone for a while ---- */

static void the_old_place_may_miss_a_flush(void **state)
{
    struct fixture *f = *state;
    struct asked flush;
    open_move(f, ",\"rate\":\"1M\"", "8M");
    slows[OLD].op = BLK_FLUSH;
    begin(f, &flush, BLK_FLUSH, 0);
    until_kept(f, &slows[OLD]);
    blk_abandon(f->blk);
    assert_int_equal(end(f, &flush), -ENOTCONN);
    slows[OLD].op = -1;
    begin(f, &flush, BLK_FLUSH, 0);
    assert_int_equal(end(f, &flush), 0);
}

static void a_flush_that_the_new_place_missed_is_tried_again(void **state)
{
    struct fixture *f = *state;
    struct asked flush;
    struct err err;
    struct blk *move = open_move(f, ",\"copied\":true", "1M");
    slows[NEW].op = BLK_FLUSH;
    begin(f, &flush, BLK_FLUSH, 0);
    until_kept(f, &slows[NEW]);
    let_go(&slows[NEW], false);
    slows[NEW].op = -1;
    assert_int_equal(end(f, &flush), 0);
    assert_int_equal(move_end(move, true, &err), 0);
    assert_int_equal(fixture_io(f, BLK_FLUSH, 0, 0, NULL, 0), 0);
}

/* Whoever asked has it from elsewhere, and does not wait. */
static void what_waits_for_a_decision_may_be_abandoned(void **state)
{
    struct fixture *f = *state;
    struct asked write, other;
    struct err err;
    struct blk *move = open_move(f, ",\"copied\":true", "1M");
    slows[NEW].op = BLK_WRITE;
    begin(f, &write, BLK_WRITE, 0);
    until_kept(f, &slows[NEW]);
    let_go(&slows[NEW], false);
    loop_step(f->env.loop);
    assert_true(status(move).waits && write.busy);
    begin(f, &other, BLK_WRITE, MIB / 2); /* under way */
    blk_abandon(f->blk);
    assert_int_equal(end(f, &write), -ENOTCONN);
    assert_int_equal(end(f, &other), -ENOTCONN);
    assert_int_equal(slows[NEW].abandoned, 1);
    assert_true(status(move).waits); /* nobody is to decide for that place */
    slows[NEW].op = -1;
    begin(f, &write, BLK_WRITE, 0);
    assert_int_equal(end(f, &write), 0);
    assert_int_equal(move_end(move, false, &err), 0);
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FIXTURE(a_write_around_the_end_of_what_is_flushed_does_not_wait),
        WITH_FIXTURE(it_may_be_closed_while_it_copies),
        WITH_FIXTURE(the_new_place_does_not_answer_for_a_slow_read_of_the_old_one),
        WITH_FIXTURE(the_old_place_may_miss_a_flush),
        WITH_FIXTURE(a_flush_that_the_new_place_missed_is_tried_again),
        WITH_FIXTURE(what_waits_for_a_decision_may_be_abandoned),
    };
    blk_driver_register(&slow_driver);
    return cmocka_run_group_tests_name("move_slow", tests, NULL, NULL);
}
