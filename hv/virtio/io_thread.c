/* See io_thread.h. The loop is made on the thread itself, because it belongs to whoever made it. */
#include "hv/virtio/io_thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/thread.h"

enum { POOL_KEEP_BYTES = 1 << 20 };

enum io_thread_phase { IO_STARTING, IO_RUNS, IO_ENDS, IO_FAILED };

struct io_thread {
    pthread_t thread;
    char name[16];
    unsigned workers;
    struct blk_env env;
    struct loop_message stop;
    struct err err;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum io_thread_phase phase; /* under lock */
};

struct call {
    struct loop_message message;
    struct io_thread *io;
    void (*run)(void *context);
    void *context;
    bool done; /* under io->lock */
};

/* ---- the thread ---- */

static bool make_env(struct io_thread *io)
{
    io->env.loop = loop_new(&io->err);
    if (!io->env.loop)
        return false;
    io->env.worker = worker_new(io->env.loop, io->workers, &io->err);
    io->env.buffers = buffer_pool_new(POOL_KEEP_BYTES);
    if (io->env.worker && io->env.buffers)
        return true;
    if (io->env.worker)
        err_set(&io->err, ENOMEM, "no memory for buffers");
    return false;
}

static void drop_env(struct io_thread *io)
{
    worker_free(io->env.worker);
    if (io->env.buffers)
        buffer_pool_free(io->env.buffers);
    loop_free(io->env.loop);
}

static void *thread_main(void *arg)
{
    struct io_thread *io = arg;
    pthread_setname_np(pthread_self(), io->name);
    bool good = make_env(io);
    pthread_mutex_lock(&io->lock);
    io->phase = good ? IO_RUNS : IO_FAILED;
    pthread_cond_broadcast(&io->changed);
    pthread_mutex_unlock(&io->lock);
    if (good)
        loop_run(io->env.loop);
    pthread_mutex_lock(&io->lock);
    while (io->phase == IO_RUNS) /* whoever posted the end may still be at it */
        pthread_cond_wait(&io->changed, &io->lock);
    pthread_mutex_unlock(&io->lock);
    drop_env(io);
    return NULL;
}

static void stop(struct loop_message *message)
{
    loop_stop(CONTAINER_OF(message, struct io_thread, stop)->env.loop);
}

/* ---- from outside ---- */

static void release(struct io_thread *io)
{
    pthread_cond_destroy(&io->changed);
    pthread_mutex_destroy(&io->lock);
    free(io);
}

struct io_thread *io_thread_new(const char *name, unsigned workers, struct err *err)
{
    struct io_thread *io = calloc(1, sizeof *io);
    if (!io) {
        err_set(err, ENOMEM, "no memory for an I/O thread");
        return NULL;
    }
    strncpy(io->name, name, sizeof io->name - 1);
    io->workers = workers;
    io->stop.deliver = stop;
    pthread_mutex_init(&io->lock, NULL);
    pthread_cond_init(&io->changed, NULL);
    int rc = thread_start(&io->thread, thread_main, io);
    if (rc) {
        err_set(err, -rc, "cannot start the I/O thread %s: %s", name, strerror(-rc));
        release(io);
        return NULL;
    }
    pthread_mutex_lock(&io->lock);
    while (io->phase == IO_STARTING)
        pthread_cond_wait(&io->changed, &io->lock);
    bool failed = io->phase == IO_FAILED;
    pthread_mutex_unlock(&io->lock);
    if (!failed)
        return io;
    pthread_join(io->thread, NULL);
    err_set(err, io->err.code, "I/O thread %s: %s", name, io->err.text);
    release(io);
    return NULL;
}

void io_thread_free(struct io_thread *io)
{
    if (!io)
        return;
    loop_post(io->env.loop, &io->stop);
    pthread_mutex_lock(&io->lock);
    io->phase = IO_ENDS;
    pthread_cond_broadcast(&io->changed);
    pthread_mutex_unlock(&io->lock);
    pthread_join(io->thread, NULL);
    release(io);
}

const struct blk_env *io_thread_env(const struct io_thread *io)
{
    return &io->env;
}

struct loop *io_thread_loop(const struct io_thread *io)
{
    return io->env.loop;
}

bool io_thread_is_current(const struct io_thread *io)
{
    return pthread_equal(pthread_self(), io->thread);
}

void io_thread_post(struct io_thread *io, struct loop_message *message)
{
    loop_post(io->env.loop, message);
}

static void deliver_call(struct loop_message *message)
{
    struct call *call = CONTAINER_OF(message, struct call, message);
    struct io_thread *io = call->io;
    call->run(call->context);
    pthread_mutex_lock(&io->lock);
    call->done = true; /* it is gone once the lock is */
    pthread_cond_broadcast(&io->changed);
    pthread_mutex_unlock(&io->lock);
}

void io_thread_call(struct io_thread *io, void (*run)(void *context), void *context)
{
    if (io_thread_is_current(io)) {
        run(context);
        return;
    }
    struct call call = {.message.deliver = deliver_call, .io = io, .run = run, .context = context};
    loop_post(io->env.loop, &call.message);
    pthread_mutex_lock(&io->lock);
    while (!call.done)
        pthread_cond_wait(&io->changed, &io->lock);
    pthread_mutex_unlock(&io->lock);
}
