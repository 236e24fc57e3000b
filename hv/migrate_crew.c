/* See migrate_crew.h. One lock and two conditions: `wake` for parked workers, `done` for who waits for the main loop.
 */
#include "hv/migrate_crew.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "node/base/thread.h"

enum { CREW_MAX = 8 };

struct worker_thread {
    struct migrate_crew *crew;
    unsigned number;
    pthread_t id;
};

struct call {
    struct loop_message message;
    struct migrate_crew *crew;
    void (*run)(void *context);
    void *context;
    bool done;
};

struct migrate_crew {
    struct loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    unsigned count, generation, wanted, working;
    bool ending, started;
    void (*work)(void *context, unsigned number);
    void (*ended)(void *context);
    void *context;
    struct loop_message all_back;
    struct worker_thread threads[CREW_MAX];
};

static void *thread_main(void *arg)
{
    struct worker_thread *t = arg;
    struct migrate_crew *c = t->crew;
    unsigned seen = 0;
    char name[16];
    snprintf(name, sizeof name, "migrate%u", t->number);
    pthread_setname_np(pthread_self(), name);
    pthread_mutex_lock(&c->lock);
    for (;;) {
        while (!c->ending && c->generation == seen)
            pthread_cond_wait(&c->wake, &c->lock);
        if (c->ending)
            break;
        seen = c->generation;
        if (t->number >= c->wanted)
            continue;
        pthread_mutex_unlock(&c->lock);
        c->work(c->context, t->number);
        pthread_mutex_lock(&c->lock);
        if (!--c->working)
            loop_post(c->loop, &c->all_back);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

static void came_back(struct loop_message *message)
{
    struct migrate_crew *c = CONTAINER_OF(message, struct migrate_crew, all_back);
    c->started = false;
    c->ended(c->context);
}

struct migrate_crew *migrate_crew_new(struct loop *loop, unsigned count, struct err *err)
{
    struct migrate_crew *c = calloc(1, sizeof *c);
    if (!c) {
        err_set(err, ENOMEM, "no memory for the migration's threads");
        return NULL;
    }
    c->loop = loop;
    c->all_back.deliver = came_back;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    pthread_cond_init(&c->done, NULL);
    for (; c->count < count && c->count < CREW_MAX; c->count++) {
        struct worker_thread *t = &c->threads[c->count];
        *t = (struct worker_thread){.crew = c, .number = c->count};
        int rc = thread_start(&t->id, thread_main, t);
        if (rc) {
            err_set(err, -rc, "cannot start a thread for migrations: %s", strerror(-rc));
            migrate_crew_free(c);
            return NULL;
        }
    }
    return c;
}

void migrate_crew_free(struct migrate_crew *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->ending = true;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->count; i++)
        pthread_join(c->threads[i].id, NULL);
    loop_unpost(c->loop, &c->all_back);
    pthread_cond_destroy(&c->wake);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void migrate_crew_start(struct migrate_crew *c, unsigned count, void (*work)(void *context, unsigned number),
                        void (*ended)(void *context), void *context)
{
    pthread_mutex_lock(&c->lock);
    c->work = work;
    c->ended = ended;
    c->context = context;
    c->wanted = c->working = count < c->count ? count : c->count;
    c->started = true;
    c->generation++;
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

bool migrate_crew_works(const struct migrate_crew *c)
{
    return c->started;
}

static void run_call(struct loop_message *message)
{
    struct call *call = CONTAINER_OF(message, struct call, message);
    struct migrate_crew *c = call->crew;
    call->run(call->context);
    pthread_mutex_lock(&c->lock);
    call->done = true;
    pthread_cond_broadcast(&c->done);
    pthread_mutex_unlock(&c->lock);
}

void migrate_crew_on_main(struct migrate_crew *c, void (*run)(void *context), void *context)
{
    struct call call = {.message.deliver = run_call, .crew = c, .run = run, .context = context};
    loop_post(c->loop, &call.message);
    pthread_mutex_lock(&c->lock);
    while (!call.done)
        pthread_cond_wait(&c->done, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void run_errand(struct loop_message *message)
{
    struct migrate_errand *errand = CONTAINER_OF(message, struct migrate_errand, message);
    int eventfd = errand->eventfd;
    errand->run(errand->context); /* whose last act may be to let go of it */
    migrate_crew_nudge(eventfd);
}

void migrate_crew_send(struct migrate_crew *c, struct migrate_errand *errand, void (*run)(void *context), void *context,
                       int eventfd)
{
    *errand =
        (struct migrate_errand){.message.deliver = run_errand, .run = run, .context = context, .eventfd = eventfd};
    loop_post(c->loop, &errand->message);
}

void migrate_crew_nudge(int eventfd)
{
    const uint64_t one = 1;
    ssize_t n = write(eventfd, &one, sizeof one);
    (void)n; /* a full counter is readable, too */
}
