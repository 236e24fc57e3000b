/* See gdb.h. */
#include "hv/gdb.h"

#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/acceptor.h"
#include "hv/gdb_session.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/listen.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { INPUT_BYTES = 4096 };

struct gdb {
    struct loop *loop;
    struct gdb_target *target;
    int fd;                      /* -1: none */
    struct gdb_session *session; /* NULL: the client is new, or there is none */

    struct acceptor acceptor; /* one client at a time: the next is asked for when this one has gone */
    struct loop_op reading, writing;
    bool read_busy, write_busy;
    bool held;
    bool gone;   /* the client is; what is in flight comes back first */
    bool ending; /* all of it */
    size_t input_at, input_bytes;
    uint8_t input[INPUT_BYTES];
};

static void work(struct gdb *g);

/* ---- the socket ---- */

static bool is_port(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == 0;
}

int gdb_listen(const char *address, int *listener, struct err *err)
{
    static const char loopback[] = "tcp:127.0.0.1:";
    char whole[sizeof loopback + 8];
    const char *port = strncmp(address, loopback, sizeof loopback - 1) == 0 ? address + sizeof loopback - 1
                       : strncmp(address, "tcp:", 4) == 0                   ? address + 4
                                                                            : NULL;
    if (port && (!is_port(port) || strlen(port) > 5))
        return err_set(err, EINVAL, "gdb: '%s': a debugger is local: write unix:PATH or tcp:127.0.0.1:PORT", address);
    if (port) {
        snprintf(whole, sizeof whole, "%s%s", loopback, port);
        address = whole;
    } else if (strncmp(address, "unix:", 5) != 0) {
        return err_set(err, EINVAL, "gdb: '%s': write unix:PATH or tcp:127.0.0.1:PORT", address);
    }
    mode_t before = umask(0177);
    int n = listen_open(address, listener, 1, err);
    umask(before);
    if (n < 0) {
        err_prefix(err, "gdb");
        return n;
    }
    int on = 1;
    char text[160];
    if (port)
        setsockopt(*listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted ones have it, too */
    log_info("a debugger may come to %s", listen_describe(*listener, text, sizeof text));
    return 0;
}

/* ---- the client ---- */

static void take(struct gdb *g, int fd)
{
    g->fd = fd;
    g->gone = false;
    g->input_at = g->input_bytes = 0;
    work(g);
}

static void came(struct acceptor *acceptor, int fd)
{
    take(CONTAINER_OF(acceptor, struct gdb, acceptor), fd);
}

static void received(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct gdb *g = CONTAINER_OF(op, struct gdb, reading);
    (void)cqe_flags;
    g->read_busy = false;
    g->input_at = 0;
    g->input_bytes = result > 0 ? (size_t)result : 0;
    g->gone = g->gone || (result <= 0 && result != -EINTR && result != -EAGAIN);
    work(g);
}

static void sent(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct gdb *g = CONTAINER_OF(op, struct gdb, writing);
    (void)cqe_flags;
    g->write_busy = false;
    if (result > 0)
        gdb_session_said(g->session, (size_t)result);
    g->gone = g->gone || (result <= 0 && result != -EINTR && result != -EAGAIN);
    work(g);
}

static void hang_up(struct gdb *g)
{
    if (g->read_busy)
        loop_cancel(g->loop, &g->reading);
    if (g->write_busy)
        loop_cancel(g->loop, &g->writing);
    if (g->read_busy || g->write_busy)
        return; /* again from their completions */
    gdb_session_free(g->session);
    g->session = NULL;
    close(g->fd);
    g->fd = -1;
    acceptor_ask(&g->acceptor);
}

/* True: something is to be written, and is. */
static bool write_out(struct gdb *g)
{
    const char *data;
    size_t n = gdb_session_out(g->session, &data);
    if (n && !g->write_busy) {
        g->write_busy = true;
        io_uring_prep_send(loop_sqe(g->loop, &g->writing), g->fd, data, n, MSG_NOSIGNAL);
    }
    return n;
}

static void converse(struct gdb *g)
{
    while (!write_out(g) && g->input_at < g->input_bytes)
        g->input_at += gdb_session_in(g->session, g->input + g->input_at, g->input_bytes - g->input_at);
    const char *data;
    bool silent = !gdb_session_out(g->session, &data);
    if (silent && gdb_session_over(g->session)) {
        g->gone = true;
        return;
    }
    if (g->read_busy || g->input_at < g->input_bytes)
        return;
    g->read_busy = true;
    io_uring_prep_recv(loop_sqe(g->loop, &g->reading), g->fd, g->input, sizeof g->input, 0);
}

/* What is to be done now, whoever asks. */
static void work(struct gdb *g)
{
    if (g->held || g->ending || g->fd < 0)
        return;
    if (!g->session && !g->gone) {
        g->session = gdb_session_new(g->target);
        g->gone = !g->session;
    }
    if (!g->gone)
        converse(g);
    if (g->gone)
        hang_up(g);
}

/* ---- the interface ---- */

struct gdb *gdb_new(struct loop *loop, int listener, struct gdb_target *target, struct err *err)
{
    struct gdb *g = calloc(1, sizeof *g);
    if (!g) {
        err_set(err, ENOMEM, "no memory");
        return NULL;
    }
    *g = (struct gdb){.loop = loop, .target = target, .fd = -1};
    g->reading.done = received;
    g->writing.done = sent;
    acceptor_init(&g->acceptor, loop, listener, "gdb", came);
    acceptor_ask(&g->acceptor);
    return g;
}

/* "The guest has exited": for who waits for it, as far as it goes without waiting. */
static void say_end(struct gdb *g)
{
    static const char end[] = "$W00#b7";
    struct pollfd ready = {.fd = g->fd, .events = POLLOUT};
    if (g->session && !g->write_busy && poll(&ready, 1, 0) == 1 && ready.revents & POLLOUT &&
        write(g->fd, end, sizeof end - 1) < 0)
        return; /* nobody is there any more */
}

void gdb_free(struct gdb *g)
{
    if (!g)
        return;
    g->ending = true;
    if (g->fd >= 0)
        say_end(g);
    acceptor_end(&g->acceptor);
    if (g->read_busy)
        loop_cancel(g->loop, &g->reading);
    if (g->write_busy)
        loop_cancel(g->loop, &g->writing);
    while (acceptor_busy(&g->acceptor) || g->read_busy || g->write_busy)
        loop_step(g->loop);
    gdb_session_drop(g->session);
    if (g->fd >= 0)
        close(g->fd);
    if (g->acceptor.listener >= 0)
        close(g->acceptor.listener);
    free(g);
}

int gdb_adopt(struct gdb *g, int fd, struct err *err)
{
    if (g->fd >= 0)
        return err_set(err, EBUSY, "a debugger is there already");
    acceptor_withdraw(&g->acceptor);
    take(g, fd);
    return 0;
}

bool gdb_is_attached(const struct gdb *g)
{
    return g && g->fd >= 0;
}

void gdb_hold(struct gdb *g, bool hold)
{
    if (!g || g->held == hold)
        return;
    g->held = hold;
    work(g);
}

void gdb_going(struct gdb *g)
{
    if (g && g->session)
        gdb_session_going(g->session);
}

void gdb_standing(struct gdb *g)
{
    if (g && g->session)
        gdb_session_standing(g->session);
}

void gdb_stopped(struct gdb *g, uint32_t vcpus, const struct vcpu_stop *stops)
{
    if (!g || !g->session)
        return;
    gdb_session_stopped(g->session, vcpus, stops);
    work(g);
}

void gdb_failed(struct gdb *g)
{
    if (!g || !g->session)
        return;
    gdb_session_failed(g->session);
    work(g);
}
