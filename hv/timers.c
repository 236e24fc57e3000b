/* See timers.h. A binary heap of timers and one timerfd that is set to its top; virtual time is CLOCK_MONOTONIC minus
 * what was spent stopped. */
#include "hv/timers.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "hv/bus.h"
#include "hv/state.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"

enum { TIMER_MAX = 1024 };

struct timers {
    struct loop *loop;
    struct bus *bus;
    int fd;
    struct loop_op wait;
    uint64_t expirations; /* what the timerfd says; unused */
    bool waiting, running;
    uint64_t stopped_at_ns, offset_ns; /* virtual = monotonic - offset */
    unsigned count;
    struct timer *heap[TIMER_MAX];
};

uint64_t timers_now_ns(const struct timers *t)
{
    return t->running ? clock_ns() - t->offset_ns : t->stopped_at_ns;
}

bool timers_running(const struct timers *t)
{
    return t->running;
}

/* ---- the heap ---- */

static void place(struct timers *t, unsigned i, struct timer *timer)
{
    t->heap[i] = timer;
    timer->slot = i + 1;
}

static void sift(struct timers *t, unsigned i)
{
    struct timer *timer = t->heap[i];
    while (i && timer->at_ns < t->heap[(i - 1) / 2]->at_ns) {
        place(t, i, t->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        unsigned child = 2 * i + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && t->heap[child + 1]->at_ns < t->heap[child]->at_ns)
            child++;
        if (timer->at_ns <= t->heap[child]->at_ns)
            break;
        place(t, i, t->heap[child]);
        i = child;
    }
    place(t, i, timer);
}

static void take_out(struct timers *t, struct timer *timer)
{
    unsigned i = timer->slot - 1;
    timer->slot = 0;
    t->count--;
    if (i == t->count)
        return;
    place(t, i, t->heap[t->count]);
    sift(t, i);
}

/* The timerfd follows the top of the heap. */
static void arm(struct timers *t)
{
    struct itimerspec at = {0};
    if (t->running && t->count) {
        /* the offset is negative where a guest that ran long came to a host that has not */
        __int128 ns = (__int128)t->heap[0]->at_ns + (int64_t)t->offset_ns;
        ns = ns > INT64_MAX ? INT64_MAX /* beyond the end of time */ : ns < 1 ? 1 : ns;
        at.it_value.tv_sec = (time_t)(ns / 1000000000u);
        at.it_value.tv_nsec = (long)(ns % 1000000000u);
    }
    timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void timer_set(struct timers *t, struct timer *timer, uint64_t at_ns)
{
    bus_assert_locked(t->bus);
    const struct timer *top = t->count ? t->heap[0] : NULL;
    timer->at_ns = at_ns;
    if (!timer->slot) {
        assert(t->count < TIMER_MAX);
        place(t, t->count++, timer);
    }
    bool was_top = timer == top;
    sift(t, timer->slot - 1);
    if (was_top || t->heap[0] == timer)
        arm(t);
}

void timer_clear(struct timers *t, struct timer *timer)
{
    bus_assert_locked(t->bus);
    if (!timer->slot)
        return;
    bool was_top = timer->slot == 1;
    take_out(t, timer);
    if (was_top)
        arm(t);
}

/* ---- firing ---- */

static void wait_again(struct timers *t)
{
    io_uring_prep_read(loop_sqe(t->loop, &t->wait), t->fd, &t->expirations, sizeof t->expirations, 0);
    t->waiting = true;
}

static void expired(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct timers *t = CONTAINER_OF(op, struct timers, wait);
    (void)cqe_flags;
    t->waiting = false;
    if (result == -ECANCELED)
        return;
    bus_lock(t->bus);
    uint64_t now = timers_now_ns(t);
    while (t->running && t->count && t->heap[0]->at_ns <= now) {
        struct timer *timer = t->heap[0];
        take_out(t, timer);
        timer->fire(timer);
    }
    arm(t);
    bus_unlock(t->bus);
    wait_again(t);
}

struct timers *timers_new(struct loop *loop, struct bus *bus, struct err *err)
{
    struct timers *t = calloc(1, sizeof *t);
    if (!t) {
        err_set(err, ENOMEM, "no memory for timers");
        return NULL;
    }
    t->loop = loop;
    t->bus = bus;
    t->wait.done = expired;
    t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    if (t->fd < 0) {
        err_set(err, errno, "cannot make a timer: %s", strerror(errno));
        free(t);
        return NULL;
    }
    wait_again(t);
    return t;
}

void timers_free(struct timers *t)
{
    if (!t)
        return;
    if (t->waiting) {
        loop_cancel(t->loop, &t->wait);
        while (t->waiting)
            loop_step(t->loop);
    }
    close(t->fd);
    free(t);
}

void timers_start(struct timers *t)
{
    bus_lock(t->bus);
    if (!t->running) {
        t->offset_ns = clock_ns() - t->stopped_at_ns;
        t->running = true;
        arm(t);
    }
    bus_unlock(t->bus);
}

void timers_stop(struct timers *t)
{
    bus_lock(t->bus);
    if (t->running) {
        t->stopped_at_ns = timers_now_ns(t);
        t->running = false;
        arm(t);
    }
    bus_unlock(t->bus);
}

void timers_state(struct timers *t, struct state *s)
{
    assert(!t->running);
    if (!state_begin(s, "timers", 0, 1))
        return;
    state_u64(s, "now-ns", &t->stopped_at_ns);
    state_check(s, t->stopped_at_ns < INT64_MAX / 2, "time is later than a machine can have run");
    state_end(s);
}
