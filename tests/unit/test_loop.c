/* The event loop: order of timers and jobs, messages from other threads, cancelling. */
#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum { TIMERS = 500, MS = 1000000, MESSAGES = 2000 };

static struct loop *loop;
static int order[TIMERS + MESSAGES];
static int count;

static int setup(void **state)
{
    struct err err = {0};
    (void)state;
    loop = loop_new(&err);
    if (!loop)
        fail_msg("%s", err.text);
    count = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

/* ---- jobs ---- */

struct job {
    struct loop_job job;
    int number;
    struct job *then; /* deferred by run() */
    bool then_late;
};

static void ran(struct loop_job *loop_job)
{
    struct job *j = CONTAINER_OF(loop_job, struct job, job);
    order[count++] = j->number;
    if (j->then && j->then_late)
        loop_defer_late(loop, &j->then->job);
    else if (j->then)
        loop_defer(loop, &j->then->job);
}

static void jobs_keep_their_order(void **state)
{
    (void)state;
    struct job late = {{.run = ran}, 9, NULL, false}, chained = {{.run = ran}, 3, NULL, false};
    struct job first = {{.run = ran}, 1, &chained, false}, second = {{.run = ran}, 2, NULL, false};
    loop_defer_late(loop, &late.job);
    loop_defer(loop, &first.job);
    loop_defer(loop, &second.job);
    loop_defer(loop, &second.job); /* queued already */
    loop_step(loop);
    static const int expected[] = {1, 2, 3, 9};
    assert_int_equal(count, 4);
    assert_memory_equal(order, expected, sizeof expected);
}

static void late_jobs_see_the_whole_turn(void **state)
{
    (void)state;
    struct job caused = {{.run = ran}, 2, NULL, false};
    struct job later = {{.run = ran}, 4, NULL, false};
    struct job late = {{.run = ran}, 1, &caused, false}, late2 = {{.run = ran}, 3, &later, true};
    loop_defer_late(loop, &late.job);
    loop_defer_late(loop, &late2.job);
    loop_step(loop);
    static const int expected[] = {1, 2, 3, 4}; /* what a late job causes comes before the next late job */
    assert_int_equal(count, 4);
    assert_memory_equal(order, expected, sizeof expected);
}

static void a_job_may_come_again(void **state)
{
    (void)state;
    struct job again = {{.run = ran}, 1, NULL, false};
    loop_defer(loop, &again.job);
    loop_step(loop);
    loop_defer(loop, &again.job);
    loop_step(loop);
    assert_int_equal(count, 2);
}

static void what_is_forgotten_does_not_run(void **state)
{
    (void)state;
    struct job first = {{.run = ran}, 1, NULL, false}, gone = {{.run = ran}, 2, NULL, false};
    struct job last = {{.run = ran}, 3, NULL, false}, late = {{.run = ran}, 4, NULL, false};
    loop_forget(loop, &gone.job); /* it was not to be run */
    loop_defer(loop, &first.job);
    loop_defer(loop, &gone.job);
    loop_defer_late(loop, &late.job);
    loop_forget(loop, &gone.job);
    loop_forget(loop, &late.job);
    loop_defer(loop, &last.job);
    loop_step(loop);
    static const int expected[] = {1, 3};
    assert_int_equal(count, 2);
    assert_memory_equal(order, expected, sizeof expected);
    loop_defer(loop, &gone.job);
    loop_step(loop);
    assert_int_equal(count, 3);
}

static void stop(struct loop_job *job)
{
    (void)job;
    order[count++] = -1;
    loop_stop(loop);
}

static void runs_until_stopped(void **state)
{
    (void)state;
    struct job first = {{.run = ran}, 1, NULL, false};
    struct loop_job last = {.run = stop};
    loop_defer(loop, &first.job);
    loop_defer_late(loop, &last);
    loop_run(loop);
    assert_int_equal(count, 2);
    loop_defer(loop, &last); /* it can be run again */
    loop_run(loop);
    assert_int_equal(count, 3);
}

/* ---- timers ---- */

struct timer {
    struct loop_timer timer;
    uint64_t at_ns;
};

static struct timer timers[TIMERS];

static void fired(struct loop_timer *t)
{
    struct timer *timer = CONTAINER_OF(t, struct timer, timer);
    assert_true(loop_now_ns(loop) >= timer->at_ns); /* never early */
    order[count++] = (int)(timer - timers);
}

static void timers_fire_in_order(void **state)
{
    (void)state;
    uint64_t begin_ns = loop_now_ns(loop);
    unsigned seed = 1;
    int cleared = 0;
    for (int i = 0; i < TIMERS; i++) {
        timers[i] = (struct timer){.timer.fire = fired, .at_ns = begin_ns + (uint64_t)rand_r(&seed) % (20 * MS)};
        loop_timer_set(loop, &timers[i].timer, timers[i].at_ns);
    }
    for (int i = 0; i < TIMERS; i += 3) { /* some are moved, some cleared, some cleared twice */
        timers[i].at_ns = begin_ns + (uint64_t)rand_r(&seed) % (20 * MS);
        loop_timer_set(loop, &timers[i].timer, timers[i].at_ns);
    }
    for (int i = 1; i < TIMERS; i += 5, cleared++) {
        loop_timer_clear(loop, &timers[i].timer);
        loop_timer_clear(loop, &timers[i].timer);
    }
    while (count < TIMERS - cleared)
        loop_step(loop);
    for (int i = 0; i < count; i++) {
        assert_true(order[i] % 5 != 1);
        if (i)
            assert_true(timers[order[i - 1]].at_ns <= timers[order[i]].at_ns);
    }
}

static void clear_other(struct loop_timer *t)
{
    fired(t);
    loop_timer_clear(loop, &timers[1].timer);
    loop_timer_set(loop, &timers[2].timer, timers[2].at_ns);
}

static void a_timer_may_clear_another(void **state)
{
    (void)state;
    uint64_t begin_ns = loop_now_ns(loop);
    for (int i = 0; i < 3; i++)
        timers[i] = (struct timer){.timer.fire = i ? fired : clear_other, .at_ns = begin_ns + (uint64_t)i};
    loop_timer_set(loop, &timers[0].timer, timers[0].at_ns);
    loop_timer_set(loop, &timers[1].timer, timers[1].at_ns);
    while (count < 2)
        loop_step(loop);
    assert_int_equal(order[0], 0);
    assert_int_equal(order[1], 2);
}

/* ---- messages ---- */

struct message {
    struct loop_message message;
    int number;
};

static struct message messages[MESSAGES];

static void delivered(struct loop_message *m)
{
    order[count++] = CONTAINER_OF(m, struct message, message)->number;
}

static void *post_all(void *arg)
{
    struct message *first = arg;
    for (int i = 0; i < MESSAGES / 2; i++)
        loop_post(loop, &first[i].message);
    return NULL;
}

static void threads_post(void **state)
{
    (void)state;
    pthread_t a, b;
    int last[2] = {-1, MESSAGES / 2 - 1};
    for (int i = 0; i < MESSAGES; i++)
        messages[i] = (struct message){{.deliver = delivered}, i};
    assert_int_equal(pthread_create(&a, NULL, post_all, messages), 0);
    assert_int_equal(pthread_create(&b, NULL, post_all, messages + MESSAGES / 2), 0);
    while (count < MESSAGES)
        loop_step(loop);
    pthread_join(a, NULL);
    pthread_join(b, NULL);
    for (int i = 0; i < MESSAGES; i++) { /* each thread's in its order, none twice */
        int *l = &last[order[i] >= MESSAGES / 2];
        assert_int_equal(order[i], *l + 1);
        *l = order[i];
    }
}

/* ---- operations ---- */

struct op {
    struct loop_op op;
    int result;
    bool done;
};

static void op_done(struct loop_op *loop_op, int result, uint32_t cqe_flags)
{
    struct op *op = CONTAINER_OF(loop_op, struct op, op);
    (void)cqe_flags;
    assert_false(op->done);
    op->done = true;
    op->result = result;
}

static void cancels(void **state)
{
    (void)state;
    int fds[2];
    char byte;
    struct op read_op = {.op.done = op_done};
    assert_int_equal(pipe(fds), 0);
    io_uring_prep_read(loop_sqe(loop, &read_op.op), fds[0], &byte, 1, 0);
    assert_int_equal(loop_in_flight(loop), 1);
    loop_cancel(loop, &read_op.op);
    while (!read_op.done)
        loop_step(loop);
    assert_int_equal(read_op.result, -ECANCELED);
    assert_int_equal(loop_in_flight(loop), 0);
    close(fds[0]);
    close(fds[1]);
}

static void takes_more_than_the_ring_holds(void **state)
{
    (void)state;
    enum { OPS = 3000 };
    struct op *ops = calloc(OPS, sizeof *ops);
    for (int i = 0; i < OPS; i++) {
        ops[i].op.done = op_done;
        io_uring_prep_nop(loop_sqe(loop, &ops[i].op));
    }
    while (loop_in_flight(loop))
        loop_step(loop);
    for (int i = 0; i < OPS; i++)
        assert_true(ops[i].done && ops[i].result == 0);
    free(ops);
}

static void forbids_other_operations(void **state)
{
    (void)state;
    struct op open_op = {.op.done = op_done};
    io_uring_prep_openat(loop_sqe(loop, &open_op.op), -1, "/dev/null", 0, 0);
    while (!open_op.done)
        loop_step(loop);
    assert_int_equal(open_op.result, -EACCES);
}

#define WITH_LOOP(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_LOOP(jobs_keep_their_order),
        WITH_LOOP(late_jobs_see_the_whole_turn),
        WITH_LOOP(a_job_may_come_again),
        WITH_LOOP(what_is_forgotten_does_not_run),
        WITH_LOOP(runs_until_stopped),
        WITH_LOOP(timers_fire_in_order),
        WITH_LOOP(a_timer_may_clear_another),
        WITH_LOOP(threads_post),
        WITH_LOOP(cancels),
        WITH_LOOP(takes_more_than_the_ring_holds),
        WITH_LOOP(forbids_other_operations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
