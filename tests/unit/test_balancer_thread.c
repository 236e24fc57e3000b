/* A plan is made and checked on a thread of its own while the loop takes what changes: what both have of the objects is
 * never changed. For ThreadSanitizer, too, which sees what an assertion does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "balancer/conductor_job.h"
#include "balancer/follow.h"
#include "tests/unit/balancer_world.h"

/* Asked by ThreadSanitizer as it begins. Debian's jansson is not built for it: of an object that both threads had it
 * sees the memory being freed, and not the count of references that says to whom that falls. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libjansson.so\n";
}

enum { ROUNDS = 30, CHANGES = 8 };

struct hand {
    struct conductor_job *job;
    bool watched; /* the view is kept until it is through; else the thread has the last reference to some of it */
    json_t *view;
    char *shown; /* as it was when it was handed over */
    pthread_t thread;
    _Atomic bool over;
};

static void *run(void *data)
{
    struct hand *h = data;
    conductor_job_run(h->job);
    atomic_store(&h->over, true);
    return NULL;
}

static void take(void *data, struct conductor_job *job)
{
    struct hand *h = data;
    h->job = job;
    h->view = h->watched ? json_incref(job->objects) : NULL;
    h->shown = h->watched ? json_dumps(h->view, JSON_SORT_KEYS) : NULL;
    atomic_store(&h->over, false);
    assert_int_equal(pthread_create(&h->thread, NULL, run, h), 0);
}

/* It is through, and has seen the cluster as it was, all the time. */
static void await(struct hand *h, struct world *w)
{
    assert_int_equal(pthread_join(h->thread, NULL), 0);
    assert_true(h->job->rc == 0 || h->job->question == CONDUCTOR_CHECK);
    if (h->view) {
        char *shown = json_dumps(h->view, JSON_SORT_KEYS);
        assert_string_equal(shown, h->shown);
        free(shown);
        free(h->shown);
        json_decref(h->view);
    }
    h->job = NULL;
    conductor_job_done(&w->conductor);
}

/* Loads, places, a guest that goes and one that comes: what the loop takes meanwhile. */
static void change(struct world *w, int round, int i)
{
    char loads[256];
    int use = 20 + (round * 7 + i * 13) % 80;
    snprintf(loads, sizeof loads,
             "'G1':{'cpu':[%d,%d,%d],'dirty':%d,'dirty_ago':3},'G2':{'cpu':[90,90,90]},'G3':{'cpu':[%d,9,9]}", use, use,
             use, use * 1000, use);
    put_load(w, 1 + i % 3, loads);
    put_guest(w, 1 + (round + i) % 4, 1 + i % 3, "");
    if (i % 4 == 3)
        drop(w, "/drover/guest/G9");
    else
        put_guest(w, 9, 2, "");
}

static void test_the_loop_goes_on(void **state)
{
    struct world *w = *state;
    struct hand h = {.job = NULL};
    int plans = 0, checks = 0, meanwhile = 0;
    w->conductor.stop_data = &h;
    w->conductor.hand_over = take;
    for (int round = 0; round < ROUNDS; round++) {
        for (int g = 1; g <= 4; g++)
            put_guest(w, g, 1, "");
        put_load(w, 1,
                 "'G1':{'cpu':[90,90,90]},'G2':{'cpu':[90,90,90]},'G3':{'cpu':[90,90,90]},'G4':{'cpu':[90,90,90]}");
        put_load(w, 2, "");
        put_load(w, 3, "");
        h.watched = round % 2;
        w->now.clock_s += CONDUCTOR_CHECK_EVERY_S + 10;
        look(w);
        if (!h.job)
            continue;
        plans += h.job->question == CONDUCTOR_PLAN;
        checks += h.job->question == CONDUCTOR_CHECK;
        for (int i = 0; i < CHANGES; i++) {
            meanwhile += !atomic_load(&h.over);
            change(w, round, i);
            w->now.clock_s += round % 4 == 3 ? HOURS_SAMPLE_S : 0; /* hours go by, and are written */
            w->now.wall_s += round % 4 == 3 ? HOURS_SAMPLE_S : 0;
            look(w);
        }
        await(&h, w);
        look(w); /* judged against what has come meanwhile; another one may be handed over */
        if (h.job)
            await(&h, w);
    }
    print_message("%d plans, %d checks, %d changes while a thread was at work\n", plans, checks, meanwhile);
    assert_true(plans > 0 && json_object_size(json_object_get(w->objects, "hours")) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_loop_goes_on, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
