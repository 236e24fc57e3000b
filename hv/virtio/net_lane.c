/* See net_lane.h. */
#include "hv/virtio/net_lane.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "hv/virtio/chain.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_device.h"
#include "node/base/container.h"

enum { BURST = 64, HEADER_NUM_BUFFERS = 10 };

/* ---- waiting ---- */

static void wait_for(struct virtio_queue *vq, struct net_wait *wait, int fd, unsigned events)
{
    if (wait->armed)
        return;
    wait->armed = true;
    io_uring_prep_poll_add(loop_sqe(io_thread_loop(vq->io), &wait->op), fd, events);
}

/* True: something is still under way, and will end soon. */
static bool end_wait(struct virtio_queue *vq, struct net_wait *wait)
{
    if (wait->armed)
        loop_cancel(io_thread_loop(vq->io), &wait->op);
    return wait->armed;
}

static void count_packet(struct net_counters *c, uint64_t bytes)
{
    atomic_fetch_add_explicit(&c->packets, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->bytes, bytes, memory_order_relaxed);
}

static void count_drop(struct net_counters *c)
{
    atomic_fetch_add_explicit(&c->dropped, 1, memory_order_relaxed);
}

/* ---- receiving ---- */

static struct chain *in_window(struct net_rx *rx, unsigned i)
{
    return &rx->window[(rx->first + i) % NET_WINDOW];
}

/* Fills up the window until it holds the largest packet, and lists its pieces. 0: it does not, yet. */
static int fill_window(struct net_rx *rx, struct iovec *vector, uint64_t *room_bytes)
{
    int n = 0;
    uint64_t largest = atomic_load_explicit(&rx->largest_bytes, memory_order_relaxed);
    *room_bytes = 0;
    for (unsigned i = 0; i < NET_WINDOW && *room_bytes < largest && (rx->merges || !i); i++) {
        struct chain *c = in_window(rx, i);
        if (i == rx->count) {
            if (!queue_pop(&rx->vq->ring, c))
                return 0;
            if (c->readable_bytes || c->writable_bytes < NET_HEADER_BYTES) {
                queue_refuse(&rx->vq->ring, "a buffer for packets that cannot be written to, or holds no header");
                return 0;
            }
            rx->count++;
        }
        if (n + c->writable > NET_VECTOR_MAX)
            break;
        memcpy(vector + n, c->iov, c->writable * sizeof *vector);
        n += c->writable;
        *room_bytes += c->writable_bytes;
    }
    return n;
}

static bool filtered(struct net_rx *rx, uint64_t bytes)
{
    uint8_t to[NET_ADDRESS_BYTES];
    struct chain all = *in_window(rx, 0);
    struct iovec iov[2];
    int n = chain_slice_writable(&all, NET_HEADER_BYTES, sizeof to, iov, 2);
    if (bytes < NET_HEADER_BYTES + sizeof to)
        return true; /* not a frame */
    if (n <= 0 || iov[0].iov_len < sizeof to)
        return false; /* buffers of a few bytes: nobody's driver makes them */
    memcpy(to, iov[0].iov_base, sizeof to);
    return !net_filter_passes(rx->filter, to);
}

static void hand_over(struct net_rx *rx, uint64_t bytes)
{
    unsigned used = 0;
    for (uint64_t left = bytes; left && used < rx->count; used++) {
        uint64_t here = in_window(rx, used)->writable_bytes;
        left -= here < left ? here : left;
    }
    uint16_t num_buffers = (uint16_t)used;
    chain_write(in_window(rx, 0), HEADER_NUM_BUFFERS, &num_buffers, sizeof num_buffers);
    for (; used; used--) {
        struct chain *c = in_window(rx, 0);
        uint64_t here = c->writable_bytes < bytes ? c->writable_bytes : bytes;
        queue_push(&rx->vq->ring, c, here);
        bytes -= here;
        rx->first = (rx->first + 1) % NET_WINDOW;
        rx->count--;
    }
}

static bool receive_one(struct net_rx *rx, const struct iovec *vector, int n, uint64_t room_bytes)
{
    ssize_t got = net_port_receive(rx->port, vector, n);
    if (got == -EMSGSIZE || got > (ssize_t)room_bytes) {
        count_drop(&rx->counters);
        return true;
    }
    if (got == -EAGAIN || got == -EINTR) {
        wait_for(rx->vq, &rx->wait, rx->port->fd, POLLIN);
        return false;
    }
    if (got <= 0) {
        rx->is_gone = true;
        rx->gone(rx);
        return false;
    }
    if (filtered(rx, (uint64_t)got)) {
        count_drop(&rx->counters);
    } else {
        count_packet(&rx->counters, (uint64_t)got - NET_HEADER_BYTES);
        hand_over(rx, (uint64_t)got);
    }
    return true;
}

/* The guest kicks when it has put buffers into an empty queue; before that there is no reason to. */
void net_rx_run(struct net_rx *rx)
{
    struct iovec vector[NET_VECTOR_MAX];
    uint64_t room_bytes;
    unsigned burst = 0;
    if (rx->wait.armed || rx->is_gone || !virtio_queue_serves(rx->vq))
        return;
    queue_quiet(&rx->vq->ring);
    for (bool more = true; more && burst < BURST; burst++) {
        int n = fill_window(rx, vector, &room_bytes);
        if (!n)
            more = queue_listen(&rx->vq->ring) && !rx->vq->ring.broken;
        else
            more = receive_one(rx, vector, n, room_bytes);
    }
    queue_publish(&rx->vq->ring);
    if (burst == BURST)
        virtio_queue_poke(rx->vq); /* others on this loop have their turn first */
}

static void rx_stopped(struct net_rx *rx)
{
    queue_unpop(&rx->vq->ring, rx->count);
    rx->count = 0;
    virtio_queue_stopped(rx->vq);
}

static void rx_ready(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct net_rx *rx = CONTAINER_OF(op, struct net_rx, wait.op);
    (void)cqe_flags;
    rx->wait.armed = false;
    if (!virtio_queue_serves(rx->vq)) {
        rx_stopped(rx);
        return;
    }
    if (result > 0 && result & (POLLHUP | POLLERR | POLLNVAL) && !(result & POLLIN)) {
        rx->is_gone = true;
        rx->gone(rx);
        return;
    }
    net_rx_run(rx);
}

bool net_rx_init(struct net_rx *rx)
{
    rx->wait.op.done = rx_ready;
    rx->pieces = calloc((size_t)NET_WINDOW * NET_PIECES, sizeof *rx->pieces);
    for (unsigned i = 0; rx->pieces && i < NET_WINDOW; i++) {
        rx->window[i].iov = &rx->pieces[i * NET_PIECES];
        rx->window[i].room = NET_PIECES;
    }
    return rx->pieces;
}

void net_rx_fini(struct net_rx *rx)
{
    free(rx->pieces);
}

void net_rx_start(struct net_rx *rx, bool merges, uint32_t largest_bytes)
{
    rx->merges = merges;
    rx->is_gone = false;
    atomic_store_explicit(&rx->largest_bytes, largest_bytes, memory_order_relaxed);
}

void net_rx_stop(struct net_rx *rx)
{
    if (!end_wait(rx->vq, &rx->wait))
        rx_stopped(rx);
}

/* ---- sending ---- */

void net_tx_run(struct net_tx *tx)
{
    struct queue *ring = &tx->vq->ring;
    struct chain c = {.iov = tx->pieces, .room = NET_PIECES};
    unsigned burst = 0;
    if (tx->wait.armed || !virtio_queue_serves(tx->vq))
        return;
    do {
        queue_quiet(ring);
        for (; burst < BURST && queue_pop(ring, &c); burst++) {
            int rc = c.readable_bytes > NET_HEADER_BYTES ? net_port_send(tx->port, c.iov, c.readable) : -EINVAL;
            if (rc == -EAGAIN) {
                queue_unpop(ring, 1);
                queue_publish(ring);
                wait_for(tx->vq, &tx->wait, tx->port->fd, POLLOUT);
                return;
            }
            if (rc)
                count_drop(&tx->counters);
            else
                count_packet(&tx->counters, c.readable_bytes - NET_HEADER_BYTES);
            queue_push(ring, &c, 0);
        }
        queue_publish(ring);
        if (burst == BURST) {
            virtio_queue_poke(tx->vq);
            return;
        }
    } while (queue_listen(ring));
}

static void tx_ready(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct net_tx *tx = CONTAINER_OF(op, struct net_tx, wait.op);
    (void)result;
    (void)cqe_flags;
    tx->wait.armed = false;
    if (virtio_queue_serves(tx->vq))
        net_tx_run(tx);
    else
        virtio_queue_stopped(tx->vq);
}

void net_tx_init(struct net_tx *tx)
{
    tx->wait.op.done = tx_ready;
}

void net_tx_stop(struct net_tx *tx)
{
    if (!end_wait(tx->vq, &tx->wait))
        virtio_queue_stopped(tx->vq);
}
