/* See nbd_server.h. */
#include "nbd/nbd_server.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd/fence.h"
#include "nbd/nbd_conn.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { ACCEPT_AGAIN_MS = 100 };

const struct nbd_server_config nbd_server_defaults = {
    .max_connections = 1024,
    .max_in_flight = 256,
    .max_memory_bytes = 64 << 20,
    .handshake_ms = 10000,
    .drain_ms = 10000,
    .stall_ms = 300000,
};

struct nbd_server *nbd_server_new(const struct blk_env *env, const struct nbd_server_config *config)
{
    struct nbd_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->env = *env;
    s->config = *config;
    s->complaints = (struct log_limit){.burst = 20, .interval_ms = 10000};
    STAILQ_INIT(&s->exports);
    STAILQ_INIT(&s->idle_requests);
    LIST_INIT(&s->listeners);
    LIST_INIT(&s->conns);
    return s;
}

void nbd_server_free(struct nbd_server *s)
{
    if (!s)
        return;
    struct nbd_export *e;
    while ((e = STAILQ_FIRST(&s->exports))) {
        STAILQ_REMOVE_HEAD(&s->exports, link);
        nbd_export_free(e);
    }
    struct nbd_request *r;
    while ((r = STAILQ_FIRST(&s->idle_requests))) {
        STAILQ_REMOVE_HEAD(&s->idle_requests, link);
        free(r);
    }
    free(s);
}

int nbd_server_add(struct nbd_server *s, struct nbd_export *export, struct err *err)
{
    struct nbd_export *e;
    STAILQ_FOREACH (e, &s->exports, link) {
        if (strcmp(e->name, export->name) == 0)
            return err_set(err, EEXIST, "there is an export '%s' already", e->name);
    }
    export->fence = fence_of(export->blk);
    STAILQ_INSERT_TAIL(&s->exports, export, link);
    return 0;
}

const struct nbd_export_list *nbd_server_exports(const struct nbd_server *s)
{
    return &s->exports;
}

unsigned nbd_server_connections(const struct nbd_server *s)
{
    return s->conn_count;
}

/* ---- listening ---- */

static void accept_next(struct nbd_listener *l)
{
    struct io_uring_sqe *sqe = loop_sqe(l->server->env.loop, &l->op);
    io_uring_prep_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
    l->accepting = true;
}

static void accept_again(struct loop_timer *timer)
{
    accept_next(CONTAINER_OF(timer, struct nbd_listener, again));
}

static void listener_free(struct nbd_listener *l)
{
    struct nbd_server *s = l->server;
    LIST_REMOVE(l, link);
    close(l->fd);
    free(l);
    if (s->draining)
        loop_defer(s->env.loop, &s->drain_job);
}

static void accepted(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct nbd_listener *l = CONTAINER_OF(op, struct nbd_listener, op);
    struct nbd_server *s = l->server;
    (void)cqe_flags;
    l->accepting = false;
    if (s->draining) {
        if (result >= 0)
            close(result);
        listener_free(l);
        return;
    }
    if (result >= 0 && s->conn_count >= s->config.max_connections) {
        log_limited(&s->complaints, LOG_LEVEL_WARN, "refused a client: %u are connected (--max-connections)",
                    s->conn_count);
        close(result);
    } else if (result >= 0) {
        nbd_conn_new(s, result, NULL, NULL);
    } else if (result != -ECONNABORTED && result != -EINTR && result != -EAGAIN) {
        log_limited(&s->complaints, LOG_LEVEL_ERROR, "cannot accept a client: %s", strerror(-result));
        loop_timer_set(s->env.loop, &l->again, loop_now_ns(s->env.loop) + ACCEPT_AGAIN_MS * UINT64_C(1000000));
        return;
    }
    accept_next(l);
}

int nbd_server_listen(struct nbd_server *s, int fd)
{
    struct nbd_listener *l = calloc(1, sizeof *l);
    if (!l) {
        close(fd);
        return -ENOMEM;
    }
    l->server = s;
    l->fd = fd;
    l->op.done = accepted;
    l->again.fire = accept_again;
    LIST_INSERT_HEAD(&s->listeners, l, link);
    accept_next(l);
    return 0;
}

void nbd_server_adopt(struct nbd_server *s, int fd, void (*ended)(void *), void *context)
{
    nbd_conn_new(s, fd, ended, context);
}

void nbd_server_conn_gone(struct nbd_server *s)
{
    s->conn_count--;
    if (s->draining)
        loop_defer(s->env.loop, &s->drain_job);
}

/* ---- draining: listeners and clients go, then every export is flushed ---- */

struct last_flush {
    struct blk_req req;
    struct nbd_server *server;
    const char *name;
};

static void flushed(struct blk_req *req)
{
    struct last_flush *f = CONTAINER_OF(req, struct last_flush, req);
    struct nbd_server *s = f->server;
    if (req->result) {
        log_error("export '%s': the last flush failed: %s", f->name, strerror(-req->result));
        s->flush_failed = true;
    }
    free(f);
    if (--s->flushing == 0)
        s->drained(s->drain_context, s->flush_failed);
}

static void flush_export(struct nbd_server *s, struct nbd_export *e)
{
    struct last_flush *f = calloc(1, sizeof *f);
    if (!f) {
        log_error("export '%s': no memory for the last flush", e->name);
        s->flush_failed = true;
        return;
    }
    f->server = s;
    f->name = e->name;
    f->req.op = BLK_FLUSH;
    f->req.done = flushed;
    s->flushing++;
    blk_submit(e->blk, &f->req);
}

static void drain_job(struct loop_job *job)
{
    struct nbd_server *s = CONTAINER_OF(job, struct nbd_server, drain_job);
    if (!LIST_EMPTY(&s->listeners) || !LIST_EMPTY(&s->conns) || s->flushing)
        return;
    struct nbd_export *e;
    loop_timer_clear(s->env.loop, &s->drain_timer);
    s->flushing = 1; /* until all are asked */
    STAILQ_FOREACH (e, &s->exports, link) {
        if (!blk_read_only(e->blk))
            flush_export(s, e);
    }
    if (--s->flushing == 0)
        s->drained(s->drain_context, s->flush_failed);
}

static void drain_time_is_up(struct loop_timer *timer)
{
    struct nbd_server *s = CONTAINER_OF(timer, struct nbd_server, drain_timer);
    struct nbd_conn *c, *next;
    for (c = LIST_FIRST(&s->conns); c; c = next) {
        next = LIST_NEXT(c, link);
        log_warn("%s: did not finish within %u ms of the drain; disconnected", c->peer, s->config.drain_ms);
        nbd_conn_end(c);
    }
}

void nbd_server_drain(struct nbd_server *s, void (*drained)(void *, bool), void *context)
{
    s->draining = true;
    s->drained = drained;
    s->drain_context = context;
    s->drain_job.run = drain_job;
    struct nbd_listener *l, *next_listener;
    for (l = LIST_FIRST(&s->listeners); l; l = next_listener) {
        next_listener = LIST_NEXT(l, link);
        loop_timer_clear(s->env.loop, &l->again);
        if (l->accepting)
            loop_cancel(s->env.loop, &l->op);
        else
            listener_free(l);
    }
    struct nbd_conn *c, *next;
    for (c = LIST_FIRST(&s->conns); c; c = next) {
        next = LIST_NEXT(c, link);
        nbd_conn_leave(c);
    }
    s->drain_timer.fire = drain_time_is_up;
    loop_timer_set(s->env.loop, &s->drain_timer, loop_now_ns(s->env.loop) + s->config.drain_ms * UINT64_C(1000000));
    loop_defer(s->env.loop, &s->drain_job);
}
