#include "nbd/img_session.h"

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { WORKER_THREADS = 2 };

static sigset_t guarded_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

int img_session_init(struct img_session *session, size_t keep_bytes, struct err *err)
{
    sigset_t set = guarded_signals(), old;
    struct img_session s = {.signal_fd = -1};
    s.env.loop = loop_new(err);
    if (!s.env.loop)
        return -err->code;
    pthread_sigmask(SIG_BLOCK, &set, &old); /* the threads must leave these signals to us */
    s.env.worker = worker_new(s.env.loop, WORKER_THREADS, err);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    s.env.buffers = s.env.worker ? buffer_pool_new(keep_bytes) : NULL;
    if (!s.env.buffers) {
        int rc = s.env.worker ? err_set(err, ENOMEM, "no memory for buffers") : -err->code;
        img_session_fini(&s);
        return rc;
    }
    *session = s;
    return 0;
}

void img_session_fini(struct img_session *session)
{
    worker_free(session->env.worker);
    buffer_pool_free(session->env.buffers);
    loop_free(session->env.loop);
}

/* ---- waiting ---- */

void img_session_wait(struct img_session *session, const bool *done)
{
    while (!*done)
        loop_step(session->env.loop);
}

static void came_back(struct blk_req *req)
{
    CONTAINER_OF(req, struct img_session_io, req)->done = true;
}

int img_session_io(struct img_session *session, struct blk *blk, struct img_session_io *io)
{
    io->done = false;
    io->req.done = came_back;
    blk_submit(blk, &io->req);
    img_session_wait(session, &io->done);
    return io->req.result;
}

static void drained(void *context)
{
    *(bool *)context = true;
}

void img_session_close(struct img_session *session, struct blk *blk)
{
    bool done = false;
    if (!blk)
        return;
    blk_drain(blk, drained, &done);
    img_session_wait(session, &done);
    blk_close(blk);
}

/* ---- signals ---- */

static void arm(struct img_session *session)
{
    struct io_uring_sqe *sqe = loop_sqe(session->env.loop, &session->signal_op);
    io_uring_prep_read(sqe, session->signal_fd, &session->signal_info, sizeof session->signal_info, 0);
    session->signal_armed = true;
}

static void signalled(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct img_session *session = CONTAINER_OF(op, struct img_session, signal_op);
    (void)cqe_flags;
    session->signal_armed = false;
    if (result == (int)sizeof session->signal_info) {
        sigset_t set = guarded_signals();
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        session->signal_seen = (int)session->signal_info.ssi_signo;
        session->interrupted(session);
    } else if (result == -EINTR || result == -EAGAIN) {
        arm(session);
    }
}

int img_session_guard(struct img_session *session, void (*interrupted)(struct img_session *session), struct err *err)
{
    sigset_t set = guarded_signals();
    session->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (session->signal_fd < 0)
        return err_set(err, errno, "cannot watch for signals: %s", strerror(errno));
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    session->signal_op.done = signalled;
    session->interrupted = interrupted;
    arm(session);
    return 0;
}

void img_session_unguard(struct img_session *session)
{
    sigset_t set = guarded_signals();
    if (session->signal_armed)
        loop_cancel(session->env.loop, &session->signal_op);
    while (session->signal_armed)
        loop_step(session->env.loop);
    close(session->signal_fd);
    session->signal_fd = -1;
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
