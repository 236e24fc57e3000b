/* See vsock_link.h. */
#include "hv/virtio/vsock_link.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_vsock.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"

enum { RING_BYTES = VIRTIO_VSOCK_BUFFER_BYTES };

static void watch(struct vsock_link *link, struct vsock_watch *w, unsigned events)
{
    if (w->armed)
        return;
    w->armed = true;
    io_uring_prep_poll_add(loop_sqe(io_thread_loop(link->io), &w->op), link->fd, events);
}

static void bury(struct vsock_link *link)
{
    if (link->phase != VSOCK_DYING || link->in.armed || link->out.armed)
        return;
    link->phase = VSOCK_FREE;
    link->changed(link);
}

static void drop_ring(struct vsock_link *link)
{
    buffer_put(io_thread_env(link->io)->buffers, link->ring, RING_BYTES);
    link->ring = NULL;
    link->ring_first = link->ring_count = 0;
}

/* ---- from the guest to the socket ---- */

static ssize_t send_some(struct vsock_link *link, const struct iovec *iov, int count)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
    ssize_t n = sendmsg(link->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static void count_taken(struct vsock_link *link, size_t n)
{
    link->taken += (uint32_t)n;
    if (link->taken - link->taken_told >= RING_BYTES / 2)
        link->wishes |= VSOCK_WISH_CREDIT_UPDATE;
}

static void flush(struct vsock_link *link)
{
    while (link->ring_count) {
        size_t to_end = RING_BYTES - link->ring_first;
        struct iovec iov = {link->ring + link->ring_first, link->ring_count < to_end ? link->ring_count : to_end};
        ssize_t n = send_some(link, &iov, 1);
        if (n < 0) {
            link->wishes |= VSOCK_WISH_RESET;
            return;
        }
        if (!n) {
            watch(link, &link->out, POLLOUT);
            return;
        }
        count_taken(link, (size_t)n);
        link->ring_first = (link->ring_first + (size_t)n) % RING_BYTES;
        link->ring_count -= (size_t)n;
    }
    drop_ring(link);
    if (link->guest_is_done)
        shutdown(link->fd, SHUT_WR);
}

static void keep(struct vsock_link *link, const uint8_t *data, size_t bytes)
{
    while (bytes) {
        size_t at = (link->ring_first + link->ring_count) % RING_BYTES;
        size_t to_end = RING_BYTES - at, n = bytes < to_end ? bytes : to_end;
        memcpy(link->ring + at, data, n);
        link->ring_count += n;
        data += n;
        bytes -= n;
    }
}

int vsock_link_write(struct vsock_link *link, const struct iovec *iov, int count, size_t bytes)
{
    size_t skip = 0;
    if (link->received - link->taken + bytes > RING_BYTES)
        return -ENOBUFS;
    link->received += (uint32_t)bytes;
    if (!link->ring) {
        ssize_t n = send_some(link, iov, count);
        if (n < 0)
            return (int)n;
        count_taken(link, (size_t)n);
        skip = (size_t)n;
        if (skip == bytes)
            return 0;
        link->ring = buffer_get(io_thread_env(link->io)->buffers, RING_BYTES);
        if (!link->ring)
            return -ENOMEM;
    }
    for (int i = 0; i < count; i++) {
        size_t gone = skip < iov[i].iov_len ? skip : iov[i].iov_len;
        keep(link, (const uint8_t *)iov[i].iov_base + gone, iov[i].iov_len - gone);
        skip -= gone;
    }
    watch(link, &link->out, POLLOUT);
    return 0;
}

void vsock_link_finish(struct vsock_link *link)
{
    link->guest_is_done = true;
    if (!link->ring)
        shutdown(link->fd, SHUT_WR);
}

bool vsock_link_is_flushed(const struct vsock_link *link)
{
    return !link->ring;
}

/* ---- from the socket to the guest ---- */

uint32_t vsock_link_credit(const struct vsock_link *link)
{
    uint32_t under_way = link->sent - link->peer_taken;
    return under_way < link->peer_alloc ? link->peer_alloc - under_way : 0;
}

ssize_t vsock_link_read(struct vsock_link *link, const struct iovec *iov, int count)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
    ssize_t n = recvmsg(link->fd, &m, MSG_DONTWAIT);
    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    link->sent += (uint32_t)n;
    return n;
}

void vsock_link_watch_in(struct vsock_link *link)
{
    if (link->phase != VSOCK_DYING && !link->host_is_done && !link->guest_is_deaf)
        watch(link, &link->in, POLLIN);
}

static bool parse_greeting(const char *line, uint32_t *port)
{
    static const char word[] = "CONNECT ";
    if (strncmp(line, word, sizeof word - 1) != 0)
        return false;
    uint64_t value = 0;
    const char *at = line + sizeof word - 1, *first = at;
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0'); /* the line is short: no overflow */
    *port = (uint32_t)value;
    return at > first && !*at && value < UINT32_MAX;
}

/* A byte at a time: what follows the line is the guest's. */
int vsock_link_greet(struct vsock_link *link)
{
    for (;;) {
        char c;
        ssize_t n = recv(link->fd, &c, 1, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return 0;
        if (n <= 0)
            return -EPIPE;
        if (c == '\n')
            break;
        if (link->greeting_bytes == VSOCK_GREETING_BYTES)
            return -EPROTO;
        link->greeting[link->greeting_bytes++] = c;
    }
    link->greeting[link->greeting_bytes] = 0;
    return parse_greeting(link->greeting, &link->guest_port) ? 1 : -EPROTO;
}

/* ---- life ---- */

static void in_ready(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct vsock_link *link = CONTAINER_OF(op, struct vsock_link, in.op);
    (void)result;
    (void)cqe_flags;
    link->in.armed = false;
    if (link->phase == VSOCK_DYING) {
        bury(link);
        return;
    }
    link->wishes |= VSOCK_WISH_DATA;
    link->changed(link);
}

static void out_ready(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct vsock_link *link = CONTAINER_OF(op, struct vsock_link, out.op);
    (void)result;
    (void)cqe_flags;
    link->out.armed = false;
    if (link->phase == VSOCK_DYING) {
        bury(link);
        return;
    }
    flush(link);
    link->changed(link);
}

void vsock_link_init(struct vsock_link *link, struct io_thread *io, struct virtio_vsock *owner,
                     void (*changed)(struct vsock_link *))
{
    memset(link, 0, sizeof *link);
    link->io = io;
    link->owner = owner;
    link->changed = changed;
    link->fd = -1;
    link->in.op.done = in_ready;
    link->out.op.done = out_ready;
}

void vsock_link_open(struct vsock_link *link, int fd, enum vsock_phase phase)
{
    vsock_link_init(link, link->io, link->owner, link->changed);
    link->fd = fd;
    link->phase = phase;
}

void vsock_link_drop(struct vsock_link *link)
{
    struct loop *loop = io_thread_loop(link->io);
    link->phase = VSOCK_DYING;
    if (link->in.armed)
        loop_cancel(loop, &link->in.op);
    if (link->out.armed)
        loop_cancel(loop, &link->out.op);
    close(link->fd);
    link->fd = -1;
    link->wishes = 0;
    drop_ring(link);
    bury(link);
}
