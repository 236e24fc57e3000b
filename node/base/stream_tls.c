/* TLS for a stream: OpenSSL between two buffers, the socket's side of them served by the loop.
 *
 *      socket --recv--> in --BIO--> SSL --> caller's iov            caller's iov --> SSL --BIO--> out --send--> socket
 *
 * OpenSSL never touches the socket. Small pieces of an outgoing vector are gathered into records of 16 KiB; large ones
 * are encrypted from where they lie.
 *
 *      HANDSHAKE --done--> OPEN --error, end--> ENDED
 *          +----------------error----------------^                                                             */
#include "node/base/stream_tls.h"

#include <errno.h>
#include <liburing.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "node/base/container.h"
#include "node/base/tls_context.h"

enum {
    IN_BYTES = 128 << 10,
    OUT_BYTES = 160 << 10,
    RECORD_BYTES = 16 << 10,
    RECORD_ROOM_BYTES = RECORD_BYTES + 1024, /* a record with its overhead, and an alert */
};

enum tls_state { TLS_HANDSHAKE, TLS_OPEN, TLS_ENDED };

struct stream_tls {
    struct stream *stream;
    SSL *ssl;
    enum tls_state state;
    int ended_with; /* what receivers and senders get once ENDED */
    void (*started)(struct stream *, int);
    char error[160];
    char peer[256];

    char *in, *out, *stage;
    size_t in_at, in_len, out_len, stage_at, stage_len;
    bool in_busy, out_busy, in_eof;
    struct iovec out_iov;

    struct iovec *rx_iov, *tx_iov;
    int rx_count, tx_count;
    bool tx_wanted;
    struct loop_op net_rx, net_tx;
    struct loop_job pump;
};

/* ---- the BIO ---- */

static int bio_read(BIO *bio, char *data, int len)
{
    struct stream_tls *t = BIO_get_data(bio);
    size_t left = t->in_len - t->in_at;
    BIO_clear_retry_flags(bio);
    if (!left) {
        if (t->in_eof)
            return 0;
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t n = left < (size_t)len ? left : (size_t)len;
    memcpy(data, t->in + t->in_at, n);
    t->in_at += n;
    return (int)n;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct stream_tls *t = BIO_get_data(bio);
    size_t room = t->out_busy ? 0 : OUT_BYTES - t->out_len;
    BIO_clear_retry_flags(bio);
    if (!room) {
        BIO_set_retry_write(bio);
        return -1;
    }
    size_t n = room < (size_t)len ? room : (size_t)len;
    memcpy(t->out + t->out_len, data, n);
    t->out_len += n;
    return (int)n;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    struct stream_tls *t = BIO_get_data(bio);
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_FLUSH)
        return 1;
    return command == BIO_CTRL_EOF ? t->in_eof : 0;
}

static BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method; /* made once by the first loop that needs it, lives as long as the process */
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "drover stream");
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_control);
    }
    return method;
}

/* ---- the socket's side ---- */

static void pump(struct stream_tls *t);

static void net_received(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct stream_tls *t = CONTAINER_OF(op, struct stream_tls, net_rx);
    (void)cqe_flags;
    t->in_busy = false;
    if (result > 0)
        t->in_len += (size_t)result;
    else
        t->in_eof = true;
    pump(t);
}

static void want_input(struct stream_tls *t)
{
    if (t->in_busy || t->in_eof || t->stream->down)
        return;
    t->in_at = t->in_len = 0;
    t->in_busy = true;
    struct io_uring_sqe *sqe = loop_sqe(t->stream->loop, &t->net_rx);
    io_uring_prep_recv(sqe, t->stream->fd, t->in, IN_BYTES, 0);
}

static void submit_output(struct stream_tls *t)
{
    struct io_uring_sqe *sqe = loop_sqe(t->stream->loop, &t->net_tx);
    io_uring_prep_send(sqe, t->stream->fd, t->out_iov.iov_base, t->out_iov.iov_len, MSG_NOSIGNAL | MSG_WAITALL);
}

static void net_sent(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct stream_tls *t = CONTAINER_OF(op, struct stream_tls, net_tx);
    (void)cqe_flags;
    if (result > 0 && (size_t)result < t->out_iov.iov_len && !t->stream->down) {
        t->out_iov.iov_base = (char *)t->out_iov.iov_base + result;
        t->out_iov.iov_len -= (size_t)result;
        submit_output(t);
        return;
    }
    t->out_busy = false;
    t->out_len = 0;
    if (result <= 0 && t->state != TLS_ENDED) {
        t->state = TLS_ENDED;
        t->ended_with = result ? result : -ECONNRESET;
        snprintf(t->error, sizeof t->error, "sending: %s", strerror(-t->ended_with));
    }
    pump(t);
}

static void push_output(struct stream_tls *t)
{
    if (t->out_busy || !t->out_len || t->stream->down)
        return;
    t->out_busy = true;
    t->out_iov = (struct iovec){t->out, t->out_len};
    submit_output(t);
}

/* ---- OpenSSL's side ---- */

static void note_failure(struct stream_tls *t)
{
    long verdict = SSL_get_verify_result(t->ssl);
    if (verdict != X509_V_OK) {
        snprintf(t->error, sizeof t->error, "certificate refused: %s", X509_verify_cert_error_string(verdict));
        ERR_clear_error();
        t->ended_with = -EACCES;
    } else {
        snprintf(t->error, sizeof t->error, "%s", tls_reason());
        t->ended_with = t->in_eof ? -ECONNRESET : -EPROTO;
    }
}

/* True if the call has to be repeated when more bytes are there; otherwise the stream has ended. */
static bool must_wait(struct stream_tls *t, int result)
{
    int why = SSL_get_error(t->ssl, result);
    if (why == SSL_ERROR_WANT_READ) {
        want_input(t);
        if (t->in_busy)
            return true;
    } else if (why == SSL_ERROR_WANT_WRITE) {
        return true;
    }
    if (why == SSL_ERROR_ZERO_RETURN)
        t->ended_with = 0;
    else
        note_failure(t);
    t->state = TLS_ENDED;
    return false;
}

static void remember_peer(struct stream_tls *t)
{
    const char *identity = SSL_get_app_data(t->ssl);
    X509 *certificate = SSL_get0_peer_certificate(t->ssl);
    if (identity)
        snprintf(t->peer, sizeof t->peer, "%s", identity);
    else if (certificate)
        X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, t->peer, sizeof t->peer);
}

static void handshake(struct stream_tls *t)
{
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1) {
        t->state = TLS_OPEN;
        remember_peer(t);
    } else if (must_wait(t, rc)) {
        return;
    }
    void (*started)(struct stream *, int) = t->started;
    t->started = NULL;
    push_output(t);
    started(t->stream, t->state == TLS_OPEN ? 0 : t->ended_with ? t->ended_with : -ECONNRESET);
}

static ssize_t decrypt(struct stream_tls *t)
{
    size_t total = 0;
    ERR_clear_error();
    for (int i = 0; i < t->rx_count; i++) {
        for (size_t done = 0; done < t->rx_iov[i].iov_len;) {
            size_t n = 0;
            int rc = SSL_read_ex(t->ssl, (char *)t->rx_iov[i].iov_base + done, t->rx_iov[i].iov_len - done, &n);
            if (rc != 1) {
                if (total || must_wait(t, rc))
                    return total ? (ssize_t)total : -EAGAIN;
                return t->ended_with;
            }
            done += n;
            total += n;
        }
    }
    return (ssize_t)total;
}

/* The next piece to encrypt: a record's worth in place, or small parts gathered. False: nothing is left. */
static bool next_piece(struct stream_tls *t, const void **data, size_t *len)
{
    if (t->stage_len) {
        *data = t->stage + t->stage_at;
        *len = t->stage_len - t->stage_at;
        return true;
    }
    while (t->tx_count && !t->tx_iov->iov_len) {
        t->tx_iov++;
        t->tx_count--;
    }
    if (!t->tx_count)
        return false;
    if (t->tx_iov->iov_len >= RECORD_BYTES) {
        *data = t->tx_iov->iov_base;
        *len = RECORD_BYTES;
        return true;
    }
    while (t->tx_count && t->stage_len < RECORD_BYTES) {
        size_t room = RECORD_BYTES - t->stage_len;
        size_t n = t->tx_iov->iov_len < room ? t->tx_iov->iov_len : room;
        memcpy(t->stage + t->stage_len, t->tx_iov->iov_base, n);
        t->stage_len += n;
        t->tx_iov->iov_base = (char *)t->tx_iov->iov_base + n;
        t->tx_iov->iov_len -= n;
        if (!t->tx_iov->iov_len) {
            t->tx_iov++;
            t->tx_count--;
        }
    }
    t->stage_at = 0;
    return next_piece(t, data, len);
}

static void piece_done(struct stream_tls *t, size_t n)
{
    if (t->stage_len) {
        t->stage_at += n;
        if (t->stage_at == t->stage_len)
            t->stage_at = t->stage_len = 0;
        return;
    }
    t->tx_iov->iov_base = (char *)t->tx_iov->iov_base + n;
    t->tx_iov->iov_len -= n;
}

/* Encrypts while there is room; true once everything asked for is in `out`. */
static bool encrypt(struct stream_tls *t)
{
    const void *data;
    size_t len, n;
    ERR_clear_error();
    while (!t->out_busy && OUT_BYTES - t->out_len >= RECORD_ROOM_BYTES) {
        if (!next_piece(t, &data, &len))
            return true;
        int rc = SSL_write_ex(t->ssl, data, len, &n);
        if (rc != 1) {
            must_wait(t, rc);
            return false;
        }
        piece_done(t, n);
    }
    return false;
}

static void pump_send(struct stream_tls *t)
{
    bool all = t->state == TLS_OPEN && encrypt(t);
    bool ended = t->state == TLS_ENDED || t->stream->down;
    push_output(t);
    if (t->out_busy || (!all && !ended))
        return;
    t->tx_wanted = false;
    void (*sent)(struct stream *, int) = t->stream->sent;
    t->stream->sent = NULL;
    sent(t->stream, ended && !all ? (t->ended_with ? t->ended_with : -ECONNRESET) : 0);
}

static void pump_recv(struct stream_tls *t)
{
    ssize_t result = t->stream->down ? -ECONNRESET : t->state == TLS_ENDED ? t->ended_with : decrypt(t);
    if (result == -EAGAIN || (t->stream->down && t->in_busy))
        return;
    void (*received)(struct stream *, ssize_t) = t->stream->received;
    t->stream->received = NULL;
    push_output(t); /* an answer to a key update */
    received(t->stream, result);
}

/* Does what can be done. t stays valid throughout: a stream is only closed from a job of its own. */
static void pump(struct stream_tls *t)
{
    stream_settle(t->stream);
    if (t->started) {
        if (t->in_busy || t->out_busy)
            return;
        t->in_eof |= t->stream->down;
        handshake(t);
        push_output(t);
        return;
    }
    if (t->tx_wanted && !t->out_busy)
        pump_send(t);
    if (t->stream->received && !t->in_busy)
        pump_recv(t);
}

static void pump_job(struct loop_job *job)
{
    pump(CONTAINER_OF(job, struct stream_tls, pump));
}

/* ---- for stream.c ---- */

static bool allocate(struct stream_tls *t, struct tls_context *context)
{
    size_t bytes = IN_BYTES + OUT_BYTES + RECORD_BYTES;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return false;
    madvise(p, bytes, MADV_DONTDUMP);
    t->in = p;
    t->out = t->in + IN_BYTES;
    t->stage = t->out + OUT_BYTES;
    t->ssl = SSL_new(context->ssl);
    BIO *bio = t->ssl ? BIO_new(bio_method()) : NULL;
    if (!bio)
        return false;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    return true;
}

void stream_tls_begin(struct stream *s, struct tls_context *context, const char *peer_name,
                      void (*started)(struct stream *, int))
{
    struct stream_tls *t = calloc(1, sizeof *t);
    if (!t)
        abort(); /* Rule Zero: a few hundred bytes; the caller has no way left to go on in clear */
    t->stream = s;
    t->started = started;
    t->pump.run = pump_job;
    t->net_rx.done = net_received;
    t->net_tx.done = net_sent;
    s->tls = t;
    if (!allocate(t, context))
        abort(); /* Rule Zero: as above */
    if (context->side == TLS_SERVER) {
        SSL_set_accept_state(t->ssl);
    } else {
        SSL_set_connect_state(t->ssl);
        if (peer_name) {
            /* OpenSSL's macro for this casts const away, which clang refuses; the name is copied */
            SSL_ctrl(t->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, (void *)(uintptr_t)peer_name);
            SSL_set1_host(t->ssl, peer_name);
        }
    }
    loop_defer(s->loop, &t->pump);
}

void stream_tls_recv(struct stream *s, struct iovec *iov, int count)
{
    s->tls->rx_iov = iov;
    s->tls->rx_count = count;
    loop_defer(s->loop, &s->tls->pump);
}

void stream_tls_send(struct stream *s, struct iovec *iov, int count)
{
    s->tls->tx_iov = iov;
    s->tls->tx_count = count;
    s->tls->tx_wanted = true;
    loop_defer(s->loop, &s->tls->pump);
}

void stream_tls_shutdown(struct stream *s)
{
    struct stream_tls *t = s->tls;
    if (t->state == TLS_OPEN && !t->out_busy && !t->tx_wanted) {
        SSL_shutdown(t->ssl); /* close_notify, if the socket takes it at once */
        if (t->out_len && send(s->fd, t->out, t->out_len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            t->in_eof = true;
        t->out_len = 0;
    }
    loop_defer(s->loop, &t->pump);
}

bool stream_tls_busy(const struct stream *s)
{
    return s->tls->in_busy || s->tls->out_busy || s->tls->started || s->tls->tx_wanted || s->tls->pump.queued;
}

void stream_tls_fini(struct stream *s)
{
    struct stream_tls *t = s->tls;
    SSL_free(t->ssl);
    OPENSSL_cleanse(t->stage, RECORD_BYTES);
    munmap(t->in, IN_BYTES + OUT_BYTES + RECORD_BYTES);
    free(t);
    s->tls = NULL;
}

const char *stream_peer_name(const struct stream *s)
{
    return s->tls && *s->tls->peer ? s->tls->peer : NULL;
}

bool stream_peer_is(const struct stream *s, const char *name)
{
    if (!s->tls)
        return false;
    X509 *certificate = SSL_get0_peer_certificate(s->tls->ssl);
    if (strcmp(s->tls->peer, name) == 0)
        return true;
    return certificate && !SSL_get_app_data(s->tls->ssl) &&
           X509_check_host(certificate, name, strlen(name),
                           X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) == 1;
}

const char *stream_tls_error(const struct stream *s)
{
    return s->tls ? s->tls->error : "";
}
