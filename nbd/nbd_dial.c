/* See nbd_dial.h.
 *
 *     start --> job: try an address --connected--> done(fd)
 *                 ^      | in progress
 *                 |      v
 *                 +-- poll until writable, ask for the error --connected--> done(fd)
 *              failed: next address; none left: done(-errno) */
#include "nbd/nbd_dial.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "nbd/nbd_uri.h"
#include "node/base/container.h"

/* A server whose host vanished without a word is given up after about half a minute. */
enum { KEEPALIVE_IDLE_S = 10, KEEPALIVE_INTERVAL_S = 5, KEEPALIVE_COUNT = 4, UNACKNOWLEDGED_MS = 30000 };

int nbd_peer_resolve(const struct nbd_uri *uri, struct nbd_peer *peer, struct err *err)
{
    *peer = (struct nbd_peer){0};
    if (uri->local) {
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        static_assert(sizeof un.sun_path >= sizeof uri->socket, "a socket path always fits");
        memcpy(un.sun_path, uri->socket, sizeof uri->socket);
        memcpy(&peer->address[0].socket_address, &un, sizeof un);
        peer->address[0].len = sizeof un;
        peer->count = 1;
        return 0;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV}, *list;
    char port[8];
    snprintf(port, sizeof port, "%u", uri->port);
    /* an address as it is needs no file and no name server, which a sealed process could not ask */
    struct addrinfo numeric = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    int rc = getaddrinfo(uri->host, port, &numeric, &list);
    if (rc)
        rc = getaddrinfo(uri->host, port, &hints, &list);
    if (rc)
        return err_set(err, ENOENT, "host '%s': %s", uri->host, gai_strerror(rc));
    for (struct addrinfo *a = list; a && peer->count < NBD_PEER_ADDRESSES_MAX; a = a->ai_next) {
        struct nbd_address *to = &peer->address[peer->count++];
        memcpy(&to->socket_address, a->ai_addr, a->ai_addrlen);
        to->len = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return 0;
}

static void prepare_tcp(int fd)
{
    static const int on = 1, idle = KEEPALIVE_IDLE_S, interval = KEEPALIVE_INTERVAL_S, count = KEEPALIVE_COUNT;
    static const unsigned limit_ms = UNACKNOWLEDGED_MS;
    /* each of them only makes things better: a kernel that refuses one is no reason not to connect
     */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);
}

static void finish(struct nbd_dial *dial, int result)
{
    if (result < 0 && dial->fd >= 0)
        close(dial->fd);
    dial->fd = -1;
    dial->busy = false;
    dial->done(dial, result);
}

static void connected(struct nbd_dial *dial)
{
    int fd = dial->fd;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK); /* io_uring would hand EAGAIN back */
    finish(dial, fd);
}

static void failed(struct nbd_dial *dial, int code)
{
    const struct nbd_address *a = &dial->peer->address[dial->next];
    char host[NI_MAXHOST] = "the socket", port[NI_MAXSERV] = "";
    if (a->socket_address.ss_family != AF_UNIX)
        getnameinfo((const struct sockaddr *)&a->socket_address, a->len, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    err_set(&dial->err, code, "cannot connect to %s%s%s: %s", host, *port ? " port " : "", port, strerror(code));
    close(dial->fd);
    dial->fd = -1;
    dial->next++;
    loop_defer(dial->loop, &dial->job);
}

static void polled(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct nbd_dial *dial = CONTAINER_OF(op, struct nbd_dial, poll);
    (void)cqe_flags;
    int code = 0;
    socklen_t len = sizeof code;
    if (dial->cancelled)
        finish(dial, -ECANCELED);
    else if (result < 0)
        failed(dial, -result);
    else if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
        failed(dial, errno);
    else if (code)
        failed(dial, code);
    else
        connected(dial);
}

static void try_address(struct loop_job *job)
{
    struct nbd_dial *dial = CONTAINER_OF(job, struct nbd_dial, job);
    if (dial->cancelled || dial->next >= dial->peer->count) {
        finish(dial, dial->cancelled ? -ECANCELED : -dial->err.code);
        return;
    }
    const struct nbd_address *a = &dial->peer->address[dial->next];
    int family = a->socket_address.ss_family;
    dial->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0) {
        err_set(&dial->err, errno, "cannot make a socket: %s", strerror(errno));
        dial->next++;
        loop_defer(dial->loop, job);
        return;
    }
    if (family != AF_UNIX)
        prepare_tcp(dial->fd);
    if (connect(dial->fd, (const struct sockaddr *)&a->socket_address, a->len) == 0) {
        connected(dial);
    } else if (errno == EINPROGRESS) {
        struct io_uring_sqe *sqe = loop_sqe(dial->loop, &dial->poll);
        io_uring_prep_poll_add(sqe, dial->fd, POLLOUT);
    } else {
        failed(dial, errno);
    }
}

void nbd_dial_start(struct nbd_dial *dial, struct loop *loop, const struct nbd_peer *peer,
                    void (*done)(struct nbd_dial *dial, int fd))
{
    assert(!dial->busy && peer->count);
    *dial = (struct nbd_dial){
        .done = done,
        .peer = peer,
        .loop = loop,
        .job.run = try_address,
        .poll.done = polled,
        .fd = -1,
        .busy = true,
    };
    loop_defer(loop, &dial->job);
}

void nbd_dial_cancel(struct nbd_dial *dial)
{
    if (!dial->busy || dial->cancelled)
        return;
    dial->cancelled = true;
    if (dial->fd >= 0)
        loop_cancel(dial->loop, &dial->poll);
}
