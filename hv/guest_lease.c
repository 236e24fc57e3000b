/* See guest_lease.h. One timerfd: it fires also if the node slept over the deadline, as soon as it is awake. */
#include "hv/guest_lease.h"

#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"

static void arm(struct guest_lease *l)
{
    struct itimerspec at = {.it_value.tv_sec = (time_t)(l->until_ns / 1000000000u),
                            .it_value.tv_nsec = (long)(l->until_ns % 1000000000u)};
    timerfd_settime(l->fd, TFD_TIMER_ABSTIME, &at, NULL); /* GUEST_LEASE_NONE disarms it */
}

static bool is_over(const struct guest_lease *l)
{
    return l->until_ns != GUEST_LEASE_NONE && clock_boot_ns() >= l->until_ns;
}

static void look(struct guest_lease *l)
{
    bool over = is_over(l);
    if (over == l->frozen)
        return;
    l->frozen = over;
    l->freezes += over;
    l->changed(l);
}

static void wait_again(struct guest_lease *l)
{
    io_uring_prep_read(loop_sqe(l->loop, &l->wait), l->fd, &l->expirations, sizeof l->expirations, 0);
    l->waiting = true;
}

static void expired(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct guest_lease *l = CONTAINER_OF(op, struct guest_lease, wait);
    (void)cqe_flags;
    l->waiting = false;
    if (result == -ECANCELED || l->ending)
        return;
    wait_again(l);
    look(l);
}

int guest_lease_begin(struct guest_lease *l, struct loop *loop, uint64_t until_ns, struct err *err)
{
    l->loop = loop;
    l->until_ns = until_ns;
    l->wait.done = expired;
    l->fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC);
    if (l->fd < 0) {
        l->loop = NULL;
        return err_set(err, errno, "cannot make a timer: %s", strerror(errno));
    }
    l->frozen = is_over(l);
    l->freezes = l->frozen;
    arm(l);
    wait_again(l);
    return 0;
}

void guest_lease_look(struct guest_lease *l)
{
    if (l->loop)
        look(l);
}

void guest_lease_end(struct guest_lease *l)
{
    if (!l->loop)
        return;
    l->ending = true; /* a deadline that is met at this moment is not waited for again */
    if (l->waiting) {
        loop_cancel(l->loop, &l->wait);
        while (l->waiting)
            loop_step(l->loop);
    }
    close(l->fd);
    l->loop = NULL;
}

void guest_lease_extend(struct guest_lease *l, uint64_t until_ns)
{
    if (until_ns != GUEST_LEASE_NONE && until_ns < l->until_ns)
        return;
    l->until_ns = until_ns;
    arm(l);
    look(l);
}
