/* Life of a connection. See nbd_conn.h for the states.
 *
 * Invariant: a connection is freed when its stream has closed and nothing of it is left in the block layer, whichever
 * comes last. */
#include "nbd/nbd_conn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/base/buffer_pool.h"
#include "node/base/container.h"

enum {
    TCP_HALF_OPEN_MS = 60000,
    KEEPALIVE_IDLE_S = 30,
    KEEPALIVE_INTERVAL_S = 10,
    KEEPALIVE_COUNT = 3,
    SEND_BUFFER_BYTES = 4 << 20
};

static struct nbd_conn *conn_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct nbd_conn, stream);
}

static void free_requests(struct nbd_request_list *list)
{
    struct nbd_request *r;
    while ((r = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        nbd_request_free(r);
    }
}

static void conn_free(struct nbd_conn *conn)
{
    struct nbd_server *server = conn->server;
    free_requests(&conn->sending);
    free_requests(&conn->replies);
    if (conn->filling)
        nbd_transmit_abandon(conn);
    assert(!conn->in_flight && !conn->memory_bytes && !conn->tx_job.queued);
    if (conn->export)
        conn->export->users--;
    buffer_put(server->env.buffers, conn->rx, NBD_RX_BYTES);
    free(conn->contexts_name);
    free(conn->out);
    LIST_REMOVE(conn, link);
    void (*ended)(void *) = conn->ended;
    void *context = conn->ended_context;
    nbd_server_conn_gone(server);
    free(conn);
    if (ended)
        ended(context);
}

static void stream_closed(struct stream *stream)
{
    struct nbd_conn *conn = conn_of(stream);
    conn->stream_closed = true;
    nbd_conn_check_left(conn);
}

void nbd_conn_check_left(struct nbd_conn *conn)
{
    if (conn->state == NBD_CONN_LEAVING && !conn->in_flight)
        nbd_conn_end(conn);
    else if (conn->state == NBD_CONN_ENDED && conn->stream_closed && !conn->in_stack && !conn->tx_job.queued &&
             !conn->pausing && !conn->raising)
        conn_free(conn);
}

void nbd_conn_end(struct nbd_conn *conn)
{
    if (conn->state == NBD_CONN_ENDED)
        return;
    conn->state = NBD_CONN_ENDED;
    if (conn->export)
        conn->export->departed += conn->in_stack;
    loop_timer_clear(conn->server->env.loop, &conn->deadline);
    stream_close(&conn->stream, stream_closed);
}

void nbd_conn_leave(struct nbd_conn *conn)
{
    if (conn->state == NBD_CONN_TRANSMISSION) {
        conn->state = NBD_CONN_LEAVING;
        nbd_conn_check_left(conn);
    } else if (conn->state != NBD_CONN_LEAVING) {
        nbd_conn_end(conn);
    }
}

void nbd_conn_violation(struct nbd_conn *conn, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_limited(&conn->server->complaints, LOG_LEVEL_WARN, "%s: %s; disconnected", conn->peer, text);
    nbd_conn_end(conn);
}

/* ---- receiving ---- */

/* What came in first completes the payload that was being filled, the rest is behind it in rx. */
static void account(struct nbd_conn *conn, size_t n)
{
    if (conn->filling) {
        size_t want = conn->filling->length - conn->filled_bytes;
        size_t part = n < want ? n : want;
        conn->filled_bytes += part;
        n -= part;
    }
    conn->rx_len += (uint32_t)n;
}

static void received(struct stream *stream, ssize_t result);

static void receive(struct nbd_conn *conn)
{
    uint32_t left = nbd_conn_available(conn);
    if (conn->rx_at && left)
        memmove(conn->rx, conn->rx + conn->rx_at, left);
    conn->rx_at = 0;
    conn->rx_len = left;
    struct iovec *iov = conn->rx_iov;
    uint32_t header = nbd_request_header_bytes(conn);
    if (conn->filling)
        *iov++ = (struct iovec){conn->filling->buffer + conn->filled_bytes, conn->filling->length - conn->filled_bytes};
    *iov++ = (struct iovec){conn->rx + left, conn->streaming && left < header ? header - left : NBD_RX_BYTES - left};
    stream_recv(&conn->stream, conn->rx_iov, (int)(iov - conn->rx_iov), received);
}

static void received(struct stream *stream, ssize_t result)
{
    struct nbd_conn *conn = conn_of(stream);
    if (conn->state == NBD_CONN_ENDED)
        return;
    if (result <= 0) {
        if (result < 0 && result != -ECONNRESET && result != -EPIPE)
            log_limited(&conn->server->complaints, LOG_LEVEL_INFO, "%s: %s", conn->peer, strerror((int)-result));
        nbd_conn_end(conn);
        return;
    }
    account(conn, (size_t)result);
    if (conn->filling && conn->filled_bytes == conn->filling->length)
        nbd_transmit_payload(conn);
    if (conn->state != NBD_CONN_LEAVING)
        nbd_conn_feed(conn);
    else if (conn->filling)
        receive(conn); /* what was begun may be finished; it is too late to ask for anything else */
}

enum nbd_step nbd_conn_skip(struct nbd_conn *conn)
{
    uint32_t left = nbd_conn_available(conn);
    uint32_t n = conn->skip_bytes < left ? (uint32_t)conn->skip_bytes : left;
    conn->rx_at += n;
    conn->skip_bytes -= n;
    return conn->skip_bytes ? NBD_STEP_INPUT : NBD_STEP_AGAIN;
}

static void go_on(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct nbd_conn *conn = CONTAINER_OF(op, struct nbd_conn, pause_op);
    (void)result;
    (void)cqe_flags;
    conn->pausing = false;
    if (conn->state == NBD_CONN_ENDED)
        nbd_conn_check_left(conn);
    else
        nbd_conn_feed(conn);
}

/* Lets the turn end: writes are mostly done at once, and a client that is told of some while others are done works at
 * the same time as the server, not in turns with it. */
static void pause_feeding(struct nbd_conn *conn)
{
    conn->pausing = true;
    conn->pause_op.done = go_on;
    io_uring_prep_nop(loop_sqe(conn->server->env.loop, &conn->pause_op));
}

void nbd_conn_feed(struct nbd_conn *conn)
{
    if (stream_receiving(&conn->stream) || conn->pausing || conn->raising)
        return;
    conn->taken_writes = 0;
    for (;;) {
        if (conn->taken_writes >= NBD_TURN_WRITES && nbd_conn_available(conn) >= nbd_request_header_bytes(conn)) {
            pause_feeding(conn);
            return;
        }
        enum nbd_step step;
        if (conn->state == NBD_CONN_GREETING || conn->state == NBD_CONN_OPTIONS)
            step = nbd_negotiate_step(conn);
        else if (conn->state == NBD_CONN_TRANSMISSION)
            step = nbd_transmit_step(conn);
        else
            return;
        if (step == NBD_STEP_WAIT)
            return;
        if (step == NBD_STEP_INPUT) {
            receive(conn);
            return;
        }
    }
}

void nbd_conn_begin(struct nbd_conn *conn)
{
    conn->waiting_for_departed = conn->export->departed > 0;
    if (!conn->waiting_for_departed)
        nbd_conn_feed(conn);
}

void nbd_conn_departed_done(struct nbd_server *server, const struct nbd_export *export)
{
    struct nbd_conn *conn, *next;
    for (conn = LIST_FIRST(&server->conns); conn; conn = next) {
        next = LIST_NEXT(conn, link);
        if (conn->waiting_for_departed && conn->export == export)
            nbd_conn_begin(conn);
    }
}

/* ---- making one ---- */

static void deadline(struct loop_timer *timer)
{
    struct nbd_conn *conn = CONTAINER_OF(timer, struct nbd_conn, deadline);
    if (conn->state == NBD_CONN_TRANSMISSION || conn->state == NBD_CONN_LEAVING)
        nbd_conn_violation(conn, "has taken no reply for %u ms", conn->server->config.stall_ms);
    else
        nbd_conn_violation(conn, "did not finish the handshake within %u ms", conn->server->config.handshake_ms);
}

static void name_peer(int fd, char *text, size_t len)
{
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    char ip[INET6_ADDRSTRLEN] = "?";
    if (getpeername(fd, (struct sockaddr *)&a, &n) == 0 && a.ss_family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&a;
        snprintf(text, len, "client %s:%u", inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip), ntohs(in->sin_port));
    } else if (a.ss_family == AF_INET6) {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)&a;
        snprintf(text, len, "client [%s]:%u", inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof ip), ntohs(in->sin6_port));
    } else {
        struct ucred who = {0};
        n = sizeof who;
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n);
        snprintf(text, len, "client pid %d uid %u", who.pid, who.uid);
    }
}

/* Small replies go out at once, and a peer that vanished without a word is noticed. */
static void tune(int fd)
{
    int on = 1, send_bytes = SEND_BUFFER_BYTES, half_open = TCP_HALF_OPEN_MS, idle = KEEPALIVE_IDLE_S,
        interval = KEEPALIVE_INTERVAL_S, count = KEEPALIVE_COUNT;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes); /* unix; TCP tunes itself */
        return;
    }
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &half_open, sizeof half_open);
}

void nbd_conn_new(struct nbd_server *server, int fd, void (*ended)(void *), void *context)
{
    struct nbd_conn *conn = calloc(1, sizeof *conn);
    uint8_t *rx = conn ? buffer_get(server->env.buffers, NBD_RX_BYTES) : NULL;
    if (!rx) {
        log_error("no memory for another client");
        free(conn);
        close(fd);
        return;
    }
    conn->server = server;
    conn->rx = rx;
    conn->ended = ended;
    conn->ended_context = context;
    conn->deadline.fire = deadline;
    conn->tx_job.run = nbd_reply_job;
    STAILQ_INIT(&conn->replies);
    STAILQ_INIT(&conn->sending);
    name_peer(fd, conn->peer, sizeof conn->peer);
    tune(fd);
    stream_init(&conn->stream, server->env.loop, fd);
    LIST_INSERT_HEAD(&server->conns, conn, link);
    server->conn_count++;
    loop_timer_set(server->env.loop, &conn->deadline,
                   loop_now_ns(server->env.loop) + server->config.handshake_ms * UINT64_C(1000000));
    nbd_negotiate_greet(conn);
}
