/* See migrate_link.h. The socket does not block; all waiting is in wait_for(), which looks at `wake`, too. */
#include "hv/migrate_link.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/base/clock.h"
#include "node/base/err.h"
#include "node/base/tls_context.h"

enum { OUT_BYTES = 256 << 10, QUEUE_BYTES = 64 << 10, NS_PER_MS = 1000000 };

static int stick(struct migrate_link *l, int rc)
{
    l->failed = rc;
    return rc;
}

/* 0: ready. */
static int wait_for(struct migrate_link *l, short events, uint64_t patience_ns, struct err *err)
{
    struct pollfd fds[2] = {{.fd = l->fd, .events = events}, {.fd = l->wake, .events = POLLIN}};
    uint64_t began = clock_ns();
    for (;;) {
        uint64_t gone = clock_ns() - began;
        if (patience_ns && gone >= patience_ns)
            return err_set(err, ETIMEDOUT, "the other side has moved no byte for %llu ms",
                           (unsigned long long)(patience_ns / NS_PER_MS));
        int n = poll(fds, 2, patience_ns ? (int)((patience_ns - gone) / NS_PER_MS) + 1 : -1);
        if (n < 0 && errno != EINTR)
            return err_set(err, errno, "cannot wait for the other side: %s", strerror(errno));
        if (n > 0 && fds[1].revents)
            return err_set(err, ECANCELED, "the migration was cancelled");
        if (n > 0 && fds[0].revents)
            return 0;
    }
}

/* After a TLS call that did not succeed: 0: the socket is ready, call again. */
static int continue_after(struct migrate_link *l, int result, struct err *err)
{
    int saved = errno;
    switch (SSL_get_error(l->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return wait_for(l, POLLIN, l->patience_ns, err);
    case SSL_ERROR_WANT_WRITE:
        return wait_for(l, POLLOUT, l->patience_ns, err);
    case SSL_ERROR_ZERO_RETURN:
        return err_set(err, EPIPE, "the other side has closed the connection");
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        return err_set(err, EPIPE, "the connection broke: %s", saved ? strerror(saved) : "the other side is gone");
    default:
        return err_set(err, EPIPE, "the connection broke: %s", tls_reason());
    }
}

static int shake_hands(struct migrate_link *l, struct tls_context *context, struct err *err)
{
    l->ssl = SSL_new(context->ssl);
    if (!l->ssl || SSL_set_fd(l->ssl, l->fd) != 1)
        return err_set(err, ENOMEM, "no memory for a connection");
    SSL_clear_mode(l->ssl, SSL_MODE_RELEASE_BUFFERS);
    if (context->side == TLS_SERVER)
        SSL_set_accept_state(l->ssl);
    else
        SSL_set_connect_state(l->ssl);
    for (;;) {
        errno = 0;
        int n = SSL_do_handshake(l->ssl);
        if (n == 1)
            return 0;
        int rc = continue_after(l, n, err);
        if (rc == -EPIPE) {
            struct err why = *err;
            return err_set(err, EACCES, "the other side does not have this migration's key, or is no Drover: %s",
                           why.text);
        }
        if (rc)
            return rc;
    }
}

int migrate_link_open(struct migrate_link *l, int fd, int wake, uint64_t patience_ns, struct tls_context *context,
                      struct err *err)
{
    int one = 1;
    *l = (struct migrate_link){.fd = fd, .wake = wake, .patience_ns = patience_ns};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* a unix socket has no such thing */
    int rc = 0;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        rc = err_set(err, errno, "not a socket: %s", strerror(errno));
    l->out = rc ? NULL : malloc(OUT_BYTES);
    if (!rc && !l->out)
        rc = err_set(err, ENOMEM, "no memory for a connection");
    rc = rc ? rc : shake_hands(l, context, err);
    if (rc)
        migrate_link_close(l);
    return rc;
}

void migrate_link_close(struct migrate_link *l)
{
    if (!l->out && !l->ssl && !l->fd)
        return;
    if (l->ssl && !l->failed)
        SSL_shutdown(l->ssl);
    SSL_free(l->ssl);
    free(l->out);
    ERR_clear_error();
    close(l->fd);
    *l = (struct migrate_link){.sent_bytes = l->sent_bytes};
}

bool migrate_link_is_open(const struct migrate_link *l)
{
    return l->ssl;
}

const char *migrate_link_peer(const struct migrate_link *l)
{
    return SSL_get_app_data(l->ssl);
}

/* ---- sending ---- */

/* Those have left, and never leave again: what follows an error may be said on the same connection. */
static void drop(struct migrate_link *l, size_t bytes)
{
    l->out_bytes -= bytes;
    memmove(l->out, l->out + bytes, l->out_bytes);
    atomic_fetch_add(&l->sent_bytes, bytes);
}

int migrate_link_flush(struct migrate_link *l, struct err *err)
{
    size_t at = 0;
    int rc = 0;
    if (l->failed)
        return err_set(err, -l->failed, "the connection has failed before");
    while (at < l->out_bytes && !rc) {
        size_t done = 0;
        errno = 0;
        int n = SSL_write_ex(l->ssl, l->out + at, l->out_bytes - at, &done);
        at += n == 1 ? done : 0;
        if (n == 1)
            continue;
        uint64_t began = clock_ns();
        rc = continue_after(l, n, err);
        l->waited_ns += clock_ns() - began;
    }
    drop(l, at);
    return rc ? stick(l, rc) : 0;
}

static int put_bytes(struct migrate_link *l, const void *bytes, size_t count, struct err *err)
{
    const uint8_t *from = bytes;
    int rc = 0;
    while (!rc && count) {
        size_t n = OUT_BYTES - l->out_bytes < count ? OUT_BYTES - l->out_bytes : count;
        memcpy(l->out + l->out_bytes, from, n);
        l->out_bytes += n;
        from += n;
        count -= n;
        if (l->out_bytes == OUT_BYTES)
            rc = migrate_link_flush(l, err);
    }
    return rc;
}

int migrate_link_put_parts(struct migrate_link *l, const struct migrate_frame *frame, const void *first,
                           size_t first_bytes, const void *rest, struct err *err)
{
    uint8_t header[MIGRATE_HEADER_BYTES];
    migrate_frame_pack(frame, header);
    int rc = put_bytes(l, header, sizeof header, err);
    rc = rc ? rc : put_bytes(l, first, first_bytes, err);
    return rc ? rc : put_bytes(l, rest, frame->bytes - first_bytes, err);
}

int migrate_link_put(struct migrate_link *l, const struct migrate_frame *frame, const void *body, struct err *err)
{
    return migrate_link_put_parts(l, frame, body, frame->bytes, NULL, err);
}

/* ---- receiving ---- */

int migrate_link_get(struct migrate_link *l, void *to, size_t bytes, struct err *err)
{
    uint8_t *at = to;
    if (l->failed)
        return err_set(err, -l->failed, "the connection has failed before");
    while (bytes) {
        size_t done = 0;
        errno = 0;
        int n = SSL_read_ex(l->ssl, at, bytes, &done);
        at += n == 1 ? done : 0;
        bytes -= n == 1 ? done : 0;
        int rc = n == 1 ? 0 : continue_after(l, n, err);
        if (rc)
            return stick(l, rc);
    }
    return 0;
}

bool migrate_link_has_input(const struct migrate_link *l)
{
    struct pollfd fd = {.fd = l->fd, .events = POLLIN};
    return SSL_has_pending(l->ssl) || poll(&fd, 1, 0) > 0;
}

void migrate_link_keep_short(struct migrate_link *l)
{
    int bytes = QUEUE_BYTES;
    setsockopt(l->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes); /* a unix socket has no such thing */
}

int migrate_link_get_frame(struct migrate_link *l, struct migrate_frame *frame, struct err *err)
{
    uint8_t header[MIGRATE_HEADER_BYTES];
    int rc = migrate_link_get(l, header, sizeof header, err);
    rc = rc ? rc : migrate_frame_unpack(frame, header, err);
    return rc ? stick(l, rc) : 0;
}
