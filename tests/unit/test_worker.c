/* Worker threads: who runs what where, and in which order. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/worker.h"

enum { TASKS = 1000 };

struct task {
    struct worker_task task;
    int number;
    bool ran, done;
};

static struct loop *loop;
static struct worker *worker;
static struct task tasks[TASKS];
static pthread_t main_thread;
static int done_count, run_order[TASKS];
static atomic_int run_count;

static void start(unsigned threads)
{
    struct err err = {0};
    loop = loop_new(&err);
    worker = loop ? worker_new(loop, threads, &err) : NULL;
    if (!worker)
        fail_msg("%s", err.text);
    main_thread = pthread_self();
    done_count = 0;
    run_count = 0;
}

static void finish(void)
{
    worker_free(worker);
    loop_free(loop);
}

static void run(struct worker_task *task)
{
    struct task *t = CONTAINER_OF(task, struct task, task);
    assert_false(pthread_equal(main_thread, pthread_self()));
    run_order[atomic_fetch_add(&run_count, 1)] = t->number;
    t->ran = true;
}

static void done(struct worker_task *task)
{
    struct task *t = CONTAINER_OF(task, struct task, task);
    assert_true(pthread_equal(main_thread, pthread_self()));
    assert_true(t->ran);
    assert_false(t->done);
    t->done = true;
    done_count++;
}

static void submit(int i)
{
    tasks[i] = (struct task){{.run = run, .done = done}, i, false, false};
    worker_submit(worker, &tasks[i].task);
}

static void runs_in_order_on_one_thread(void **state)
{
    (void)state;
    start(1);
    for (int i = 0; i < TASKS; i++)
        submit(i);
    assert_int_equal(done_count, 0); /* not before the loop turns */
    while (done_count < TASKS)
        loop_step(loop);
    for (int i = 0; i < TASKS; i++)
        assert_int_equal(run_order[i], i);
    finish();
}

static void runs_all_on_many_threads(void **state)
{
    (void)state;
    start(8);
    for (int i = 0; i < TASKS; i++) {
        submit(i);
        while (i % 7 == 0 && done_count < i / 2) /* batches of all sizes, some meeting idle threads */
            loop_step(loop);
    }
    while (done_count < TASKS)
        loop_step(loop);
    for (int i = 0; i < TASKS; i++)
        assert_true(tasks[i].done);
    finish();
}

static void done_again(struct worker_task *task)
{
    struct task *t = CONTAINER_OF(task, struct task, task);
    if (++done_count < 50)
        worker_submit(worker, &t->task); /* the task is ours again in done() */
}

static void a_task_may_be_submitted_by_done(void **state)
{
    (void)state;
    start(2);
    tasks[0] = (struct task){{.run = run, .done = done_again}, 0, false, false};
    worker_submit(worker, &tasks[0].task);
    while (done_count < 50)
        loop_step(loop);
    assert_int_equal(run_count, 50);
    finish();
}

static pthread_barrier_t barrier;

static void meet(struct worker_task *task)
{
    pthread_barrier_wait(&barrier); /* passes only if all four run at the same time */
    run(task);
}

static void runs_at_the_same_time(void **state)
{
    (void)state;
    start(4);
    pthread_barrier_init(&barrier, NULL, 4);
    for (int i = 0; i < 4; i++) {
        tasks[i] = (struct task){{.run = meet, .done = done}, i, false, false};
        worker_submit(worker, &tasks[i].task);
    }
    while (done_count < 4)
        loop_step(loop);
    pthread_barrier_destroy(&barrier);
    finish();
}

static void nothing(struct loop_job *job)
{
    (void)job;
}

static void turn(void)
{
    struct loop_job tick = {.run = nothing};
    loop_defer(loop, &tick); /* so that the loop does not sleep */
    loop_step(loop);
}

/* What had finished when the worker went away must not reach the loop any more. */
static void freeing_drops_what_is_done(void **state)
{
    (void)state;
    start(1);
    pthread_barrier_init(&barrier, NULL, 2);
    tasks[0] = (struct task){{.run = meet, .done = done}, 0, false, false};
    worker_submit(worker, &tasks[0].task);
    turn(); /* hands it over; it cannot be done before we meet it */
    pthread_barrier_wait(&barrier);
    worker_free(worker); /* waits for the task, whose completion is on its way to the loop now */
    turn();
    turn();
    assert_int_equal(done_count, 0);
    pthread_barrier_destroy(&barrier);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_in_order_on_one_thread),     cmocka_unit_test(runs_all_on_many_threads),
        cmocka_unit_test(a_task_may_be_submitted_by_done), cmocka_unit_test(runs_at_the_same_time),
        cmocka_unit_test(freeing_drops_what_is_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
