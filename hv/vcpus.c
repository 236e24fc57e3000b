/* See vcpus.h. One lock and two conditions: `wake` for the threads, `changed` for the main loop. */
#include "hv/vcpus.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hv/trace.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/thread.h"

enum wish { WISH_PARK, WISH_GO, WISH_END };

struct thread {
    struct vcpus *vcpus;
    unsigned index;
    pthread_t id;
    struct vcpu *vcpu;
    uint64_t used_ns; /* as vcpus_used_ns() last saw it */
    struct err *made; /* where to say why the vCPU could not be made */
    bool ready, parked, failed;
};

struct vcpus {
    struct vm *vm;
    struct vcpus_events *events;
    unsigned count;
    pthread_mutex_t lock;
    pthread_cond_t wake, changed;
    enum wish wish;
    uint32_t held;
    struct thread threads[VCPU_MAX];
};

/* With the lock held: waits until the guest goes on; false at the end. */
static bool wait_parked(struct thread *t)
{
    struct vcpus *v = t->vcpus;
    t->parked = true;
    pthread_cond_signal(&v->changed);
    while (v->wish == WISH_PARK || (v->wish == WISH_GO && (t->failed || v->held >> t->index & 1)))
        pthread_cond_wait(&v->wake, &v->lock);
    t->parked = false;
    return v->wish == WISH_GO;
}

static const char *const exit_names[] = {
    [VCPU_KICKED] = "kicked",
    [VCPU_SHUTDOWN] = "triple fault",
    [VCPU_FAILED] = "cannot go on",
    [VCPU_STOPPED] = "stopped for the debugger",
};

static bool enter(struct thread *t)
{
    struct vcpus_events *events = t->vcpus->events;
    struct err err;
    if (!events->enter || events->enter(events, &err) == 0)
        return true;
    log_error("vCPU %u: %s", t->index, err.text);
    return false;
}

static int make(struct thread *t)
{
    struct vcpus *v = t->vcpus;
    char name[16];
    snprintf(name, sizeof name, "vcpu%u", t->index);
    pthread_setname_np(pthread_self(), name);
    return v->vm->engine->vcpu_new(v->vm, t->index, &t->vcpu, t->made);
}

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    struct vcpus *v = t->vcpus;
    bool entered = false;
    int rc = make(t);
    pthread_mutex_lock(&v->lock);
    t->ready = true;
    t->failed = rc != 0;
    while (wait_parked(t)) {
        pthread_mutex_unlock(&v->lock);
        entered = entered || enter(t);
        enum vcpu_exit exit = entered ? v->vm->engine->run(t->vcpu) : VCPU_FAILED;
        if (exit != VCPU_KICKED)
            trace_debug(TRACE_VCPU, "vCPU %u: %s", t->index, exit_names[exit]);
        if (exit != VCPU_KICKED)
            v->events->reported(v->events, t->index, exit);
        pthread_mutex_lock(&v->lock);
        t->failed = exit != VCPU_KICKED; /* until the next park and go */
    }
    t->parked = true;
    pthread_cond_signal(&v->changed);
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

struct vcpus *vcpus_new(struct vm *vm, unsigned count, struct vcpus_events *events, struct err *err)
{
    struct vcpus *v = calloc(1, sizeof *v);
    if (!v) {
        err_set(err, ENOMEM, "no memory for vCPU threads");
        return NULL;
    }
    *v = (struct vcpus){.vm = vm, .events = events};
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->wake, NULL);
    pthread_cond_init(&v->changed, NULL);
    int rc = 0;
    for (; !rc && v->count < count; v->count++) { /* one after the other: KVM wants vCPU ids in order */
        struct thread *t = &v->threads[v->count];
        *t = (struct thread){.vcpus = v, .index = v->count, .made = err};
        rc = thread_start(&t->id, thread_main, t);
        if (rc) {
            err_set(err, -rc, "cannot start the thread of vCPU %u: %s", v->count, strerror(-rc));
            break;
        }
        pthread_mutex_lock(&v->lock);
        while (!t->ready)
            pthread_cond_wait(&v->changed, &v->lock);
        rc = t->failed ? -1 : 0;
        t->made = NULL;
        pthread_mutex_unlock(&v->lock);
    }
    if (rc) {
        vcpus_free(v);
        return NULL;
    }
    return v;
}

void vcpus_go(struct vcpus *v)
{
    trace_debug(TRACE_VCPU, "all go");
    pthread_mutex_lock(&v->lock);
    v->wish = WISH_GO;
    for (unsigned i = 0; i < v->count; i++)
        v->threads[i].failed = false;
    pthread_cond_broadcast(&v->wake);
    pthread_mutex_unlock(&v->lock);
}

static void ask_locked(struct vcpus *v)
{
    v->wish = WISH_PARK;
    for (unsigned i = 0; i < v->count; i++)
        if (!v->threads[i].parked)
            v->vm->engine->kick(v->threads[i].vcpu);
}

void vcpus_ask(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    ask_locked(v);
    pthread_mutex_unlock(&v->lock);
    trace_debug(TRACE_VCPU, "all are to stand");
}

void vcpus_park(struct vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    ask_locked(v);
    for (unsigned i = 0; i < v->count; i++)
        while (!v->threads[i].parked)
            pthread_cond_wait(&v->changed, &v->lock);
    pthread_mutex_unlock(&v->lock);
    trace_debug(TRACE_VCPU, "all stand");
}

void vcpus_hold(struct vcpus *v, uint32_t held)
{
    pthread_mutex_lock(&v->lock);
    v->held = held;
    pthread_mutex_unlock(&v->lock);
}

bool vcpus_going(const struct vcpus *v)
{
    return v->wish == WISH_GO;
}

static uint64_t processor_ns(const struct thread *t)
{
    struct timespec ts;
    clockid_t clock;
    if (pthread_getcpuclockid(t->id, &clock) || clock_gettime(clock, &ts))
        return t->used_ns;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t vcpus_used_ns(struct vcpus *v)
{
    uint64_t most = 0;
    for (unsigned i = 0; i < v->count; i++) {
        struct thread *t = &v->threads[i];
        uint64_t before = t->used_ns;
        t->used_ns = processor_ns(t);
        most = t->used_ns - before > most ? t->used_ns - before : most;
    }
    return most;
}

struct vcpu *vcpus_at(struct vcpus *v, unsigned index)
{
    return v->threads[index].vcpu;
}

void vcpus_free(struct vcpus *v)
{
    if (!v)
        return;
    vcpus_park(v);
    pthread_mutex_lock(&v->lock);
    v->wish = WISH_END;
    pthread_cond_broadcast(&v->wake);
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < v->count; i++) {
        pthread_join(v->threads[i].id, NULL);
        v->vm->engine->vcpu_free(v->threads[i].vcpu);
    }
    pthread_cond_destroy(&v->wake);
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->lock);
    free(v);
}
