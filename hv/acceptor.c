/* See acceptor.h. */
#include "hv/acceptor.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/base/container.h"

enum { AGAIN_NS = 100000000, COMPLAINTS = 3, COMPLAINTS_MS = 60000 };

static void go_on(struct acceptor *a)
{
    if (!a->wanted || a->busy || a->again.slot || a->ended || a->listener < 0)
        return;
    a->busy = true;
    io_uring_prep_accept(loop_sqe(a->loop, &a->op), a->listener, NULL, NULL, SOCK_CLOEXEC);
}

static void fired(struct loop_timer *timer)
{
    go_on(CONTAINER_OF(timer, struct acceptor, again));
}

static void accepted(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct acceptor *a = CONTAINER_OF(op, struct acceptor, op);
    (void)cqe_flags;
    a->busy = false;
    if (result >= 0 && a->wanted) {
        a->wanted = false;
        a->came(a, result);
        return;
    }
    if (result >= 0)
        close(result); /* faster than the withdrawal */
    bool passes =
        result >= 0 || result == -ECANCELED || result == -ECONNABORTED || result == -EINTR || result == -EAGAIN;
    if (!passes && !a->ended) {
        log_limited(&a->complaints, LOG_LEVEL_WARN, "%s: cannot take a client: %s", a->what, strerror(-result));
        loop_timer_set(a->loop, &a->again, loop_now_ns(a->loop) + AGAIN_NS);
    }
    go_on(a);
}

void acceptor_init(struct acceptor *a, struct loop *loop, int listener, const char *what,
                   void (*came)(struct acceptor *acceptor, int fd))
{
    *a = (struct acceptor){.loop = loop,
                           .listener = listener,
                           .came = came,
                           .what = what,
                           .op.done = accepted,
                           .again.fire = fired,
                           .complaints = {.burst = COMPLAINTS, .interval_ms = COMPLAINTS_MS}};
}

void acceptor_ask(struct acceptor *a)
{
    a->wanted = true;
    go_on(a);
}

void acceptor_withdraw(struct acceptor *a)
{
    a->wanted = false;
    if (a->busy)
        loop_cancel(a->loop, &a->op);
}

void acceptor_end(struct acceptor *a)
{
    a->ended = true;
    loop_timer_clear(a->loop, &a->again);
    acceptor_withdraw(a);
}

bool acceptor_busy(const struct acceptor *a)
{
    return a->busy;
}
