/* Life of a connection; http_conn.h has the states.
 *
 * Invariants: at most one request is under way; a request that the handler has is never freed by the connection, and a
 * connection that has gone is never touched by a request (request.conn is NULL then). While the handler works one
 * receive stays outstanding, as long as there is room for what the client sends ahead: so a client that goes is
 * noticed. */
#include "node/agent/http_conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/agent/websocket.h"
#include "node/base/container.h"
#include "node/base/tls.h"

enum { ALERT_MS = 200, LINGER_MS = 2000, LINGER_BYTES_MAX = 4 << 20, HALF_OPEN_MS = 60000, FAULT_BODY_MAX = 1024 };

static void progress(struct http_conn *conn);

static struct http_conn *conn_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct http_conn, stream);
}

void http_pending_free(struct http_pending *p)
{
    if (!p)
        return;
    p->server->counts.body_bytes -= p->body_want;
    if (p->text)
        explicit_bzero(p->text, p->text_bytes); /* tokens, keys, passwords */
    if (p->body)
        explicit_bzero(p->body, p->body_want);
    free(p->text);
    free(p->body);
    free(p);
}

/* The connection gives up its request; the kernel may still be writing into the body. */
static void abandon(struct http_conn *conn)
{
    struct http_pending *p = conn->pending;
    if (p && conn->rx_to_body && stream_receiving(&conn->stream)) {
        conn->abandoned = p->body;
        p->body = NULL;
    }
    http_pending_free(p);
    conn->pending = NULL;
}

/* ---- the end ---- */

static void stream_closed(struct stream *stream)
{
    struct http_conn *conn = conn_of(stream);
    struct http_server *server = conn->server;
    if (conn->websocket)
        websocket_gone(conn->websocket);
    LIST_REMOVE(conn, link);
    free(conn->abandoned);
    free(conn->in);
    free(conn->out);
    free(conn);
    http_server_conn_gone(server);
}

void http_conn_end(struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_ENDED)
        return;
    if (conn->state == HTTP_CONN_WORK) {
        conn->pending->request.gone = true; /* the handler still owes the answer, and frees it then */
        conn->pending->request.conn = NULL;
        conn->pending = NULL;
    }
    abandon(conn);
    conn->state = HTTP_CONN_ENDED;
    loop_timer_clear(conn->server->loop, &conn->deadline);
    stream_close(&conn->stream, stream_closed);
}

void http_conn_leave(struct http_conn *conn)
{
    conn->end_after = true;
    if (conn->state == HTTP_CONN_HANDSHAKE || conn->state == HTTP_CONN_HEAD || conn->state == HTTP_CONN_BODY)
        http_conn_end(conn);
    else if (conn->state == HTTP_CONN_WEBSOCKET)
        websocket_close(conn->websocket, WEBSOCKET_GOING_AWAY, "the server ends");
}

void http_conn_deadline(struct http_conn *conn, unsigned ms)
{
    struct loop *loop = conn->server->loop;
    loop_timer_set(loop, &conn->deadline, loop_now_ns(loop) + ms * UINT64_C(1000000));
}

/* ---- sending ---- */

void http_conn_linger(struct http_conn *conn)
{
    conn->state = HTTP_CONN_LINGER;
    shutdown(conn->stream.fd, SHUT_WR);
    conn->in_len = 0;
    http_conn_deadline(conn, LINGER_MS);
    http_conn_read(conn);
}

static void sent(struct stream *stream, int result)
{
    struct http_conn *conn = conn_of(stream);
    free(conn->out);
    conn->out = NULL;
    if (conn->state == HTTP_CONN_ENDED)
        return;
    if (result || conn->half_closed) {
        http_conn_end(conn);
    } else if (conn->state == HTTP_CONN_BODY) {
        progress(conn); /* that was the 100 */
    } else if (conn->end_after) {
        http_conn_linger(conn);
    } else {
        conn->state = HTTP_CONN_HEAD;
        conn->scanned = 0;
        http_conn_deadline(conn, conn->in_len ? conn->server->limits.head_ms : conn->server->limits.idle_ms);
        progress(conn);
    }
}

static void send_text(struct http_conn *conn, char *text, size_t len)
{
    conn->out = text;
    conn->tx = (struct iovec){text, len};
    stream_send(&conn->stream, &conn->tx, 1, sent);
}

static void answer(struct http_conn *conn, const struct http_reply *reply, enum http_method method)
{
    size_t len;
    conn->end_after |= reply->end;
    char *text = http_reply_text(reply, method, !conn->end_after, &len);
    conn->state = HTTP_CONN_SEND;
    if (!text) {
        http_conn_end(conn);
        return;
    }
    http_conn_deadline(conn, conn->server->limits.send_ms);
    send_text(conn, text, len);
}

void http_reply(struct http_request *request, const struct http_reply *reply)
{
    struct http_pending *p = http_pending_of(request);
    struct http_conn *conn = request->conn;
    enum http_method method = request->method;
    bool keep_alive = p->head.keep_alive;
    http_pending_free(p);
    if (!conn)
        return;
    conn->pending = NULL;
    conn->end_after |= !keep_alive;
    answer(conn, reply, method);
}

/* What the server itself has to say: the conversation is broken, or there is no room. */
static void fail(struct http_conn *conn, const struct http_fault *fault)
{
    char body[FAULT_BODY_MAX];
    int len = snprintf(body, sizeof body,
                       "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"code\":\"%s\",\"detail\":\"%s\"}\n",
                       http_reason(fault->status), fault->status, fault->code, fault->detail);
    struct http_reply reply = {.status = fault->status,
                               .content_type = "application/problem+json",
                               .body = body,
                               .body_bytes = (size_t)len,
                               .retry_after_s = fault->status == 503 ? 1 : 0,
                               .end = true};
    conn->server->counts.broken++;
    log_limited(&conn->server->complaints, LOG_LEVEL_INFO, "%s: answered with %d: %s", conn->remote, fault->status,
                fault->detail);
    abandon(conn);
    answer(conn, &reply, HTTP_GET);
}

/* ---- receiving ---- */

/* What came is behind what is there already, whatever was taken from the front meanwhile. */
static void append(struct http_conn *conn, size_t n)
{
    memmove(conn->in + conn->in_len, conn->rx.iov_base, n);
    conn->in_len += n;
}

static void received_in_state(struct http_conn *conn, size_t n)
{
    bool first = !conn->in_len;
    switch (conn->state) {
    case HTTP_CONN_LINGER:
        conn->lingered_bytes += n;
        if (conn->lingered_bytes > LINGER_BYTES_MAX)
            http_conn_end(conn);
        else
            http_conn_read(conn);
        return;
    case HTTP_CONN_WEBSOCKET:
        append(conn, n);
        websocket_received(conn->websocket);
        return;
    case HTTP_CONN_BODY:
        if (conn->rx_to_body)
            conn->pending->request.body_bytes += n;
        else
            append(conn, n);
        break;
    default:
        if (!conn->rx_to_body)
            append(conn, n);
        if (conn->state == HTTP_CONN_HEAD && first)
            http_conn_deadline(conn, conn->server->limits.head_ms);
        break;
    }
    progress(conn);
}

static void received(struct stream *stream, ssize_t result)
{
    struct http_conn *conn = conn_of(stream);
    free(conn->abandoned);
    conn->abandoned = NULL;
    if (conn->state == HTTP_CONN_ENDED)
        return;
    if (result > 0) {
        received_in_state(conn, (size_t)result);
        return;
    }
    conn->half_closed = true;
    bool answer_is_owed = conn->state == HTTP_CONN_WORK || conn->state == HTTP_CONN_SEND;
    if (result < 0 || !answer_is_owed)
        http_conn_end(conn);
}

static void receive_to(struct http_conn *conn, char *to, size_t room, bool is_body)
{
    if (stream_receiving(&conn->stream) || conn->half_closed || !room)
        return;
    conn->rx = (struct iovec){to, room};
    conn->rx_to_body = is_body;
    stream_recv(&conn->stream, &conn->rx, 1, received);
}

void http_conn_read(struct http_conn *conn)
{
    receive_to(conn, conn->in + conn->in_len, conn->server->limits.head_bytes - conn->in_len, false);
}

static void consume(struct http_conn *conn, size_t n)
{
    conn->in_len -= n;
    memmove(conn->in, conn->in + n, conn->in_len);
    conn->scanned = 0;
}

/* ---- a request ---- */

static bool begin_body(struct http_conn *conn, struct http_pending *p)
{
    struct http_server *s = conn->server;
    static const struct http_fault too_large = {413, "body-too-large", "the body is larger than this server takes"};
    static const struct http_fault busy = {503, "busy", "too many requests with bodies are under way"};
    uint64_t want = p->head.content_length;
    if (want > s->limits.body_bytes) {
        fail(conn, &too_large);
        return false;
    }
    p->body = s->counts.body_bytes + want > s->limits.body_total_bytes ? NULL : malloc(want + 1);
    if (!p->body) {
        fail(conn, &busy);
        return false;
    }
    p->body_want = want;
    s->counts.body_bytes += want;
    p->request.body = p->body;
    return true;
}

/* What came with the head, or was on its way while the request before was worked on. */
static void take_body(struct http_conn *conn)
{
    struct http_pending *p = conn->pending;
    size_t want = p->body_want - p->request.body_bytes, n = conn->in_len < want ? conn->in_len : want;
    memcpy(p->body + p->request.body_bytes, conn->in, n);
    p->request.body_bytes += n;
    if (n)
        consume(conn, n);
}

/* The head is whole: its text becomes a request's. */
static void begin(struct http_conn *conn, size_t head_bytes)
{
    static const struct http_fault no_memory = {503, "busy", "no memory for a request"};
    struct http_fault fault;
    struct http_pending *p = calloc(1, sizeof *p);
    if (p)
        p->text = malloc(head_bytes + 1);
    if (!p || !p->text) {
        free(p);
        fail(conn, &no_memory);
        return;
    }
    p->server = conn->server;
    conn->pending = p;
    p->text_bytes = head_bytes;
    memcpy(p->text, conn->in, head_bytes);
    p->text[head_bytes] = 0;
    explicit_bzero(conn->in, head_bytes); /* it holds the token */
    consume(conn, head_bytes);
    struct http_request *r = &p->request;
    r->conn = conn;
    r->at_ns = loop_now_ns(conn->server->loop);
    r->local = conn->local;
    r->uid = conn->uid;
    memcpy(r->remote, conn->remote, sizeof r->remote);
    const char *peer = stream_peer_name(&conn->stream);
    snprintf(r->peer, sizeof r->peer, "%s", peer ? peer : "");
    if (!http_parse_head(p->text, head_bytes, r, &p->head, &fault)) {
        fail(conn, &fault);
        return;
    }
    const struct http_server *s = conn->server;
    if (p->head.content_length && s->may_send && !s->may_send(s->context, r)) {
        p->head.content_length = 0;
        p->head.expects_continue = false;
        p->head.keep_alive = false;
    }
    if (!begin_body(conn, p))
        return;
    conn->state = HTTP_CONN_BODY;
    http_conn_deadline(conn, conn->server->limits.body_ms);
    take_body(conn);
    if (p->head.expects_continue && !p->request.body_bytes) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        char *text = strdup(go_on);
        if (text)
            send_text(conn, text, sizeof go_on - 1);
    }
}

static void dispatch(struct http_conn *conn)
{
    struct http_pending *p = conn->pending;
    p->body[p->request.body_bytes] = 0;
    conn->state = HTTP_CONN_WORK;
    loop_timer_clear(conn->server->loop, &conn->deadline);
    conn->server->counts.requests++;
    http_conn_read(conn);
    conn->server->handler(conn->server->context, &p->request);
}

static void progress_head(struct http_conn *conn)
{
    static const struct http_fault long_target = {414, "target-too-long", "the path and query are too long"};
    static const struct http_fault long_head = {431, "header-too-large", "the header is larger than this server takes"};
    size_t blank = 0;
    while (conn->in_len - blank >= 2 && memcmp(conn->in + blank, "\r\n", 2) == 0)
        blank += 2; /* RFC 9112, 2.2: empty lines before a request */
    if (blank)
        consume(conn, blank);
    size_t end = http_head_end(conn->in, conn->in_len, &conn->scanned);
    if (end)
        begin(conn, end);
    else if (conn->in_len == conn->server->limits.head_bytes)
        fail(conn, memchr(conn->in, '\n', conn->in_len) ? &long_head : &long_target);
    else
        http_conn_read(conn);
}

/* Goes as far as what has come allows. */
static void progress(struct http_conn *conn)
{
    if (conn->state == HTTP_CONN_HEAD)
        progress_head(conn);
    if (conn->state == HTTP_CONN_BODY && !stream_sending(&conn->stream)) {
        struct http_pending *p = conn->pending;
        take_body(conn);
        if (p->request.body_bytes == p->body_want)
            dispatch(conn);
        else
            receive_to(conn, p->body + p->request.body_bytes, p->body_want - p->request.body_bytes, true);
    } else if (conn->state == HTTP_CONN_WORK) {
        http_conn_read(conn);
    }
}

static void due(struct loop_timer *timer)
{
    static const struct http_fault slow_head = {408, "too-slow", "the header did not come in time"};
    static const struct http_fault slow_body = {408, "too-slow", "the body did not come in time"};
    struct http_conn *conn = CONTAINER_OF(timer, struct http_conn, deadline);
    if (conn->state == HTTP_CONN_WEBSOCKET)
        websocket_due(conn->websocket);
    else if (conn->state == HTTP_CONN_HEAD && conn->in_len)
        fail(conn, &slow_head);
    else if (conn->state == HTTP_CONN_BODY && !stream_sending(&conn->stream))
        fail(conn, &slow_body);
    else
        http_conn_end(conn);
}

/* ---- the beginning ---- */

static void tls_started(struct stream *stream, int result)
{
    struct http_conn *conn = conn_of(stream);
    if (conn->state == HTTP_CONN_ENDED)
        return;
    if (result) {
        log_limited(&conn->server->complaints, LOG_LEVEL_INFO, "%s: no TLS: %s", conn->remote,
                    stream_tls_error(stream));
        conn->server->counts.broken++;
        http_conn_deadline(conn, ALERT_MS); /* for the alert that says why to get out */
        return;
    }
    conn->state = HTTP_CONN_HEAD;
    http_conn_deadline(conn, conn->server->limits.idle_ms);
    http_conn_read(conn);
}

static void identify(struct http_conn *conn, int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof a;
    char ip[INET6_ADDRSTRLEN] = "?";
    int on = 1, half_open = HALF_OPEN_MS;
    conn->uid = (uid_t)-1;
    if (getpeername(fd, (struct sockaddr *)&a, &len) < 0)
        a.ss_family = AF_UNSPEC;
    if (a.ss_family == AF_UNIX) {
        struct ucred peer = {.uid = (uid_t)-1};
        len = sizeof peer;
        conn->local = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0;
        conn->uid = peer.uid;
        snprintf(conn->remote, sizeof conn->remote, "uid %d", (int)peer.uid);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &half_open, sizeof half_open);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (a.ss_family == AF_INET) {
        const struct sockaddr_in *in = (struct sockaddr_in *)&a;
        conn->address.s6_addr16[5] = 0xffff;
        conn->address.s6_addr32[3] = in->sin_addr.s_addr;
        snprintf(conn->remote, sizeof conn->remote, "%s:%u", inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip),
                 ntohs(in->sin_port));
    } else if (a.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a;
        memcpy(&conn->address, &in6->sin6_addr, 8); /* a site has a /64 */
        snprintf(conn->remote, sizeof conn->remote, "[%s]:%u", inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip),
                 ntohs(in6->sin6_port));
    } else {
        snprintf(conn->remote, sizeof conn->remote, "unknown");
    }
}

static bool too_many(struct http_server *s, const struct http_conn *conn)
{
    unsigned same = 0;
    const struct http_conn *c;
    if (s->counts.connections >= s->limits.connections) {
        log_limited(&s->complaints, LOG_LEVEL_WARN, "refused %s: %u clients are connected", conn->remote,
                    s->counts.connections);
        return true;
    }
    LIST_FOREACH (c, &s->conns, link)
        same += !c->local && !conn->local && memcmp(&c->address, &conn->address, sizeof c->address) == 0;
    if (same < s->limits.connections_per_address)
        return false;
    log_limited(&s->complaints, LOG_LEVEL_WARN, "refused %s: it has %u connections already", conn->remote, same);
    return true;
}

static void refused(struct stream *stream)
{
    struct http_conn *conn = conn_of(stream);
    free(conn->in);
    free(conn);
}

void http_conn_new(struct http_server *s, int fd, struct tls_context *tls)
{
    struct http_conn *conn = calloc(1, sizeof *conn);
    char *in = conn ? malloc(s->limits.head_bytes) : NULL;
    if (!in) {
        free(conn);
        close(fd);
        s->counts.refused++;
        return;
    }
    conn->server = s;
    conn->in = in;
    conn->deadline.fire = due;
    identify(conn, fd);
    stream_init(&conn->stream, s->loop, fd);
    if (too_many(s, conn)) {
        s->counts.refused++;
        stream_close(&conn->stream, refused);
        return;
    }
    LIST_INSERT_HEAD(&s->conns, conn, link);
    s->counts.connections++;
    s->counts.accepted++;
    if (tls) {
        http_conn_deadline(conn, s->limits.handshake_ms);
        stream_start_tls(&conn->stream, tls, NULL, tls_started);
    } else {
        conn->state = HTTP_CONN_HEAD;
        http_conn_deadline(conn, s->limits.idle_ms);
        http_conn_read(conn);
    }
}
