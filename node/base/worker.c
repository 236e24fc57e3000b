/* See worker.h. Submissions are collected on the loop's side and handed over once a turn, completions are collected
 * on the threads' side and posted once a batch: under load neither side pays a wake-up per task. */
#include "node/base/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/thread.h"

STAILQ_HEAD(worker_tasks, worker_task);

struct worker {
    struct loop *loop;
    pthread_t *threads;
    unsigned thread_count;
    struct worker_tasks fresh; /* loop's side: not handed over yet */
    unsigned fresh_count;
    struct loop_job hand_over;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under lock */
    struct worker_tasks queue;
    unsigned idle;
    bool stop;
    struct worker_tasks finished;
    bool posted;
    struct loop_message message;
};

static void deliver(struct loop_message *message)
{
    struct worker *w = CONTAINER_OF(message, struct worker, message);
    struct worker_tasks batch = STAILQ_HEAD_INITIALIZER(batch);
    pthread_mutex_lock(&w->lock);
    STAILQ_CONCAT(&batch, &w->finished);
    w->posted = false;
    pthread_mutex_unlock(&w->lock);
    struct worker_task *t;
    while ((t = STAILQ_FIRST(&batch))) {
        STAILQ_REMOVE_HEAD(&batch, link);
        t->done(t);
    }
}

static void *thread_main(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        struct worker_task *t = STAILQ_FIRST(&w->queue);
        if (!t) {
            if (w->stop)
                break;
            w->idle++;
            pthread_cond_wait(&w->wake, &w->lock);
            w->idle--;
            continue;
        }
        STAILQ_REMOVE_HEAD(&w->queue, link);
        pthread_mutex_unlock(&w->lock);
        t->run(t);
        pthread_mutex_lock(&w->lock);
        STAILQ_INSERT_TAIL(&w->finished, t, link);
        if (!w->posted) {
            w->posted = true;
            loop_post(w->loop, &w->message);
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void hand_over(struct loop_job *job)
{
    struct worker *w = CONTAINER_OF(job, struct worker, hand_over);
    pthread_mutex_lock(&w->lock);
    STAILQ_CONCAT(&w->queue, &w->fresh);
    unsigned wake = w->fresh_count < w->idle ? w->fresh_count : w->idle;
    w->fresh_count = 0;
    pthread_mutex_unlock(&w->lock);
    for (; wake; wake--)
        pthread_cond_signal(&w->wake);
}

struct worker *worker_new(struct loop *loop, unsigned threads, struct err *err)
{
    struct worker *w = calloc(1, sizeof *w);
    if (w)
        w->threads = calloc(threads, sizeof *w->threads);
    if (!w || !w->threads) {
        free(w);
        err_set(err, ENOMEM, "no memory for worker threads");
        return NULL;
    }
    w->loop = loop;
    STAILQ_INIT(&w->fresh);
    STAILQ_INIT(&w->queue);
    STAILQ_INIT(&w->finished);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->hand_over.run = hand_over;
    w->message.deliver = deliver;
    for (; w->thread_count < threads; w->thread_count++) {
        int rc = thread_start(&w->threads[w->thread_count], thread_main, w);
        if (rc) {
            err_set(err, -rc, "cannot start a worker thread: %s", strerror(-rc));
            worker_free(w);
            return NULL;
        }
    }
    return w;
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    assert(!w->hand_over.queued);
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->thread_count; i++)
        pthread_join(w->threads[i], NULL);
    loop_unpost(w->loop, &w->message);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w->threads);
    free(w);
}

void worker_submit(struct worker *w, struct worker_task *task)
{
    STAILQ_INSERT_TAIL(&w->fresh, task, link);
    w->fresh_count++;
    loop_defer_late(w->loop, &w->hand_over);
}
