/* See http_server.h: listeners, limits, the end. A connection's life is in http_conn.c. */
#include "node/agent/http_server.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/http_conn.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { ACCEPT_AGAIN_MS = 100 };

const struct http_limits http_limits_default = {
    .connections = 512,
    .connections_per_address = 64,
    .head_bytes = 16 << 10,
    .body_bytes = 1 << 20,
    .body_total_bytes = 32 << 20,
    .handshake_ms = 10000,
    .head_ms = 10000,
    .body_ms = 30000,
    .idle_ms = 60000,
    .send_ms = 60000,
    .message_bytes = 64 << 10,
    .queue_bytes = 256 << 10,
    .ping_ms = 30000,
};

struct http_server *http_server_new(struct loop *loop, const struct http_limits *limits,
                                    void (*handler)(void *context, struct http_request *request), void *context,
                                    struct err *err)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s) {
        err_set(err, ENOMEM, "no memory for an HTTP server");
        return NULL;
    }
    s->loop = loop;
    s->limits = limits ? *limits : http_limits_default;
    s->handler = handler;
    s->context = context;
    s->complaints = (struct log_limit){.burst = 20, .interval_ms = 10000};
    LIST_INIT(&s->conns);
    return s;
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->listener_count; i++)
        free(s->listeners[i]);
    free(s);
}

struct http_counts http_server_counts(const struct http_server *s)
{
    return s->counts;
}

const char *http_server_address(const struct http_server *s, unsigned index)
{
    return index < s->listener_count ? s->listeners[index]->address : NULL;
}

void http_server_gate(struct http_server *s, bool (*may_send)(void *context, const struct http_request *request))
{
    s->may_send = may_send;
}

/* ---- listening ---- */

static void accept_next(struct http_listener *l)
{
    struct io_uring_sqe *sqe = loop_sqe(l->server->loop, &l->op);
    io_uring_prep_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
    l->accepting = true;
}

static void accept_again(struct loop_timer *timer)
{
    accept_next(CONTAINER_OF(timer, struct http_listener, again));
}

static void listener_end(struct http_listener *l)
{
    if (strncmp(l->address, "unix:", 5) == 0)
        unlink(l->address + 5);
    close(l->fd);
    l->fd = -1;
    loop_defer(l->server->loop, &l->server->close_job);
}

static void accepted(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct http_listener *l = CONTAINER_OF(op, struct http_listener, op);
    struct http_server *s = l->server;
    (void)cqe_flags;
    l->accepting = false;
    if (s->closing) {
        if (result >= 0)
            close(result);
        listener_end(l);
        return;
    }
    if (result >= 0) {
        http_conn_new(s, result, l->tls);
    } else if (result != -ECONNABORTED && result != -EINTR && result != -EAGAIN) {
        log_limited(&s->complaints, LOG_LEVEL_ERROR, "%s: cannot accept a client: %s", l->address, strerror(-result));
        loop_timer_set(s->loop, &l->again, loop_now_ns(s->loop) + ACCEPT_AGAIN_MS * UINT64_C(1000000));
        return;
    }
    accept_next(l);
}

/* The socket belongs to the server from here on, and the name of a unix socket with it. */
static int add_listener(struct http_server *s, int fd, struct tls_context *tls, struct err *err)
{
    struct http_listener *l = s->listener_count < HTTP_LISTENERS_MAX ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        close(fd);
        return err_set(err, ENOSPC, "over %d addresses to listen on", HTTP_LISTENERS_MAX);
    }
    l->server = s;
    l->fd = fd;
    l->tls = tls;
    l->op.done = accepted;
    l->again.fire = accept_again;
    listen_describe(fd, l->address, sizeof l->address);
    s->listeners[s->listener_count++] = l;
    accept_next(l);
    return 0;
}

int http_server_listen(struct http_server *s, const char *address, mode_t mode, struct tls_context *tls,
                       struct err *err)
{
    int fds[LISTEN_FDS_MAX];
    mode_t before = umask(0777 & ~mode);
    int count = listen_open(address, fds, LISTEN_FDS_MAX, err), rc = 0;
    umask(before);
    for (int i = 0; i < count; i++) {
        if (rc)
            close(fds[i]);
        else
            rc = add_listener(s, fds[i], tls, err);
    }
    return count < 0 ? count : rc;
}

void http_server_credentials(struct http_server *s, struct tls_context *tls)
{
    for (unsigned i = 0; i < s->listener_count; i++)
        if (s->listeners[i]->tls)
            s->listeners[i]->tls = tls;
}

/* ---- the end ---- */

static void close_job(struct loop_job *job)
{
    struct http_server *s = CONTAINER_OF(job, struct http_server, close_job);
    if (!LIST_EMPTY(&s->conns) || !s->closed)
        return;
    for (unsigned i = 0; i < s->listener_count; i++)
        if (s->listeners[i]->fd >= 0)
            return;
    void (*closed)(void *) = s->closed;
    s->closed = NULL;
    closed(s->closed_context);
}

void http_server_conn_gone(struct http_server *s)
{
    s->counts.connections--;
    if (s->closing)
        loop_defer(s->loop, &s->close_job);
}

void http_server_close(struct http_server *s, void (*closed)(void *context), void *context)
{
    struct http_conn *conn, *next;
    s->closing = true;
    s->closed = closed;
    s->closed_context = context;
    s->close_job.run = close_job;
    for (unsigned i = 0; i < s->listener_count; i++) {
        struct http_listener *l = s->listeners[i];
        loop_timer_clear(s->loop, &l->again);
        if (l->accepting)
            loop_cancel(s->loop, &l->op);
        else
            listener_end(l);
    }
    for (conn = LIST_FIRST(&s->conns); conn; conn = next) {
        next = LIST_NEXT(conn, link);
        http_conn_leave(conn);
    }
    loop_defer(s->loop, &s->close_job);
}
