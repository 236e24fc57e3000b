/* See stream.h. In clear, a call is one SQE; TLS is in stream_tls.c. */
#include "node/base/stream.h"

#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <liburing.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/stream_tls.h"

static void close_job(struct loop_job *job)
{
    struct stream *s = CONTAINER_OF(job, struct stream, close_job);
    if (s->received || s->sent || (s->tls && stream_tls_busy(s)))
        return; /* what is outstanding settles again */
    if (s->tls)
        stream_tls_fini(s);
    close(s->fd);
    s->fd = -1;
    s->closed(s);
}

void stream_settle(struct stream *s)
{
    if (s->closed)
        loop_defer(s->loop, &s->close_job);
}

static void rx_done(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct stream *s = CONTAINER_OF(op, struct stream, rx_op);
    (void)cqe_flags;
    void (*received)(struct stream *, ssize_t) = s->received;
    s->received = NULL;
    received(s, result);
    stream_settle(s);
}

static void submit_send(struct stream *s)
{
    struct io_uring_sqe *sqe = loop_sqe(s->loop, &s->tx_op);
    io_uring_prep_sendmsg(sqe, s->fd, &s->tx_message, MSG_NOSIGNAL | MSG_WAITALL);
}

/* Leaves of the message what has not been sent. */
static void advance(struct msghdr *m, size_t sent)
{
    while (m->msg_iovlen && sent >= m->msg_iov->iov_len) {
        sent -= m->msg_iov->iov_len;
        m->msg_iov++;
        m->msg_iovlen--;
    }
    if (m->msg_iovlen) {
        m->msg_iov->iov_base = (char *)m->msg_iov->iov_base + sent;
        m->msg_iov->iov_len -= sent;
    }
}

static void tx_done(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct stream *s = CONTAINER_OF(op, struct stream, tx_op);
    (void)cqe_flags;
    if (result > 0 || result == -EINTR || result == -EAGAIN) {
        advance(&s->tx_message, result > 0 ? (size_t)result : 0);
        if (s->tx_message.msg_iovlen && !s->down) {
            submit_send(s);
            return;
        }
    }
    bool all = result >= 0 && !s->tx_message.msg_iovlen;
    void (*sent)(struct stream *, int) = s->sent;
    s->sent = NULL;
    sent(s, all ? 0 : result < 0 ? result : -ECONNRESET);
    stream_settle(s);
}

void stream_init(struct stream *s, struct loop *loop, int fd)
{
    int domain = 0;
    socklen_t len = sizeof domain;
    *s = (struct stream){.loop = loop, .fd = fd};
    s->local = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX;
    s->rx_op.done = rx_done;
    s->tx_op.done = tx_done;
}

void stream_start_tls(struct stream *s, struct tls_context *context, const char *peer_name,
                      void (*started)(struct stream *stream, int result))
{
    assert(!s->tls && !s->received && !s->sent);
    stream_tls_begin(s, context, peer_name, started);
}

void stream_recv(struct stream *s, struct iovec *iov, int count,
                 void (*received)(struct stream *stream, ssize_t result))
{
    assert(!s->received);
    s->received = received;
    if (s->tls) {
        stream_tls_recv(s, iov, count);
        return;
    }
    struct io_uring_sqe *sqe = loop_sqe(s->loop, &s->rx_op);
    if (count == 1) {
        io_uring_prep_recv(sqe, s->fd, iov->iov_base, iov->iov_len, 0);
    } else {
        s->rx_message = (struct msghdr){.msg_iov = iov, .msg_iovlen = (size_t)count};
        io_uring_prep_recvmsg(sqe, s->fd, &s->rx_message, 0);
    }
}

void stream_send(struct stream *s, struct iovec *iov, int count, void (*sent)(struct stream *stream, int result))
{
    assert(!s->sent);
    s->sent = sent;
    if (s->tls) {
        stream_tls_send(s, iov, count);
        return;
    }
    s->tx_message = (struct msghdr){.msg_iov = iov, .msg_iovlen = (size_t)count};
    submit_send(s);
}

unsigned stream_unread_bytes(const struct stream *s)
{
    int bytes = 0;
    return s->local && ioctl(s->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (unsigned)bytes : 0;
}

bool stream_receiving(const struct stream *s)
{
    return s->received;
}

bool stream_sending(const struct stream *s)
{
    return s->sent;
}

void stream_shutdown(struct stream *s)
{
    if (s->down)
        return;
    if (s->tls)
        stream_tls_shutdown(s);
    s->down = true;
    shutdown(s->fd, SHUT_RDWR);
}

void stream_close(struct stream *s, void (*closed)(struct stream *stream))
{
    assert(!s->closed);
    s->closed = closed;
    s->close_job.run = close_job;
    stream_shutdown(s);
    stream_settle(s);
}
