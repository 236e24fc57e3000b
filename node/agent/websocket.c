/* See websocket.h; frames are RFC 6455 section 5.
 *
 * Sending: what is queued gathers in one buffer while another one is on its way, so a burst of messages leaves in few
 * sends, and the queue's limit is a limit on bytes. Receiving: frames are cut from the connection's buffer as they
 * come, and a message's payload is gathered until its last frame. */
#include "node/agent/websocket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/http_conn.h"
#include "node/base/buffer.h"
#include "node/base/container.h"
#include "node/base/emit.h"
#include "node/base/utf8.h"
#include "node/base/websocket_key.h"

enum {
    OP_CONTINUATION = 0,
    OP_TEXT = 1,
    OP_BINARY = 2,
    OP_CLOSE = 8,
    OP_PING = 9,
    OP_PONG = 10,
    CONTROL_BYTES_MAX = 125,
    FRAME_HEAD_MAX = 10,
    CLOSE_MS = 5000,
};

struct websocket {
    struct http_conn *conn;
    const struct websocket_events *events;
    void *context;
    /* receiving: the frame at hand, and the message it belongs to */
    uint8_t mask[4];
    uint8_t opcode, message_opcode; /* message_opcode 0: none begun */
    bool in_frame, final, paused;
    uint64_t frame_left;
    size_t mask_at;
    struct buffer message;
    uint8_t control[CONTROL_BYTES_MAX + 1];
    size_t control_len;
    /* sending */
    struct buffer queue, out;
    struct iovec tx;
    struct loop_job resume_job;
    bool wants_drained, close_wanted, close_queued, peer_closed, asked;
    unsigned code; /* for closed() */
};

/* ---- sending ---- */

static void flush(struct websocket *w);

static void ws_sent(struct stream *stream, int result)
{
    struct http_conn *conn = CONTAINER_OF(stream, struct http_conn, stream);
    struct websocket *w = conn->websocket;
    w->out.len = 0;
    if (conn->state != HTTP_CONN_WEBSOCKET)
        return;
    if (result) {
        http_conn_end(conn);
        return;
    }
    if (w->close_queued && !w->queue.len && w->peer_closed) {
        http_conn_linger(conn);
        return;
    }
    http_conn_deadline(conn, w->close_queued ? CLOSE_MS : conn->server->limits.ping_ms);
    flush(w);
    if (w->wants_drained && w->queue.len <= conn->server->limits.queue_bytes / 2) {
        w->wants_drained = false;
        if (w->events->drained)
            w->events->drained(w, w->context);
    }
}

static void flush(struct websocket *w)
{
    struct http_conn *conn = w->conn;
    if (!w->queue.len || stream_sending(&conn->stream) || conn->state != HTTP_CONN_WEBSOCKET)
        return;
    struct buffer out = w->out;
    w->out = w->queue;
    w->queue = out;
    w->queue.len = 0;
    w->tx = (struct iovec){w->out.data, w->out.len};
    http_conn_deadline(conn, conn->server->limits.send_ms);
    stream_send(&conn->stream, &w->tx, 1, ws_sent);
}

static int queue_frame(struct websocket *w, unsigned opcode, const void *data, size_t n, size_t limit)
{
    uint8_t head[FRAME_HEAD_MAX];
    struct emit e = emit_to(head, sizeof head);
    unsigned short_len = n < 126 ? (unsigned)n : n < 65536 ? 126 : 127;
    emit_u16(&e, (uint16_t)((0x80 | opcode) << 8 | short_len));
    if (short_len == 126)
        emit_u16(&e, (uint16_t)n);
    else if (short_len == 127)
        emit_u64(&e, n);
    size_t before = w->queue.len;
    if (!buffer_add(&w->queue, head, emit_len(&e), limit) || !buffer_add(&w->queue, data, n, limit)) {
        w->queue.len = before;
        return -EAGAIN;
    }
    flush(w);
    return 0;
}

int websocket_send(struct websocket *w, bool text, const void *data, size_t n)
{
    const struct http_limits *limits = &w->conn->server->limits;
    if (w->close_wanted || w->conn->state != HTTP_CONN_WEBSOCKET)
        return -EPIPE;
    if (n > limits->message_bytes)
        return -EMSGSIZE;
    int rc = queue_frame(w, text ? OP_TEXT : OP_BINARY, data, n, limits->queue_bytes);
    w->wants_drained |= rc == -EAGAIN;
    return rc;
}

/* Control frames have a little room of their own behind the queue's limit. Who fills that, too, by asking and asking
 * and not reading, is cut off. */
static void queue_control(struct websocket *w, unsigned opcode, const void *data, size_t n)
{
    size_t limit = w->conn->server->limits.queue_bytes + 4 * (CONTROL_BYTES_MAX + 2);
    if (!w->close_queued && queue_frame(w, opcode, data, n, limit))
        http_conn_end(w->conn);
}

void websocket_close(struct websocket *w, unsigned code, const char *reason)
{
    char payload[CONTROL_BYTES_MAX + 1] = {(char)(code >> 8), (char)code};
    size_t n = 2;
    if (w->close_wanted || w->conn->state != HTTP_CONN_WEBSOCKET)
        return;
    w->close_wanted = true;
    w->code = code;
    if (reason) {
        n += (size_t)snprintf(payload + 2, sizeof payload - 2, "%s", reason);
        n = n < CONTROL_BYTES_MAX ? n : CONTROL_BYTES_MAX;
        while (n > 2 && !utf8_valid(payload + 2, n - 2))
            n--;
    }
    if (code == WEBSOCKET_NO_CODE)
        n = 0;
    queue_control(w, OP_CLOSE, payload, n);
    w->close_queued = true;
    if (w->paused)
        websocket_pause(w, false); /* the peer's answer must be read */
}

/* ---- receiving ---- */

static void break_off(struct websocket *w, unsigned code, const char *reason)
{
    w->peer_closed = true; /* nothing more is read */
    websocket_close(w, code, reason);
}

static bool valid_close_code(unsigned code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != WEBSOCKET_NO_CODE && code != WEBSOCKET_ABNORMAL) ||
           (code >= 3000 && code <= 4999);
}

static void on_close(struct websocket *w)
{
    unsigned code = w->control_len >= 2 ? (unsigned)(w->control[0] << 8 | w->control[1]) : WEBSOCKET_NO_CODE;
    bool wrong = w->control_len == 1 || (w->control_len >= 2 && !valid_close_code(code)) ||
                 (w->control_len > 2 && !utf8_valid((char *)w->control + 2, w->control_len - 2));
    w->peer_closed = true;
    if (w->close_queued) { /* the answer to ours */
        if (!stream_sending(&w->conn->stream))
            http_conn_linger(w->conn);
        return;
    }
    websocket_close(w, wrong ? WEBSOCKET_PROTOCOL_ERROR : code, NULL);
}

static void on_control(struct websocket *w)
{
    if (w->opcode == OP_CLOSE)
        on_close(w);
    else if (w->opcode == OP_PING)
        queue_control(w, OP_PONG, w->control, w->control_len);
    w->control_len = 0;
}

static void on_message(struct websocket *w)
{
    bool text = w->message_opcode == OP_TEXT;
    w->message_opcode = 0;
    if (text && !utf8_valid(w->message.data, w->message.len)) {
        break_off(w, WEBSOCKET_NOT_UTF8, "text is not UTF-8");
        return;
    }
    if (!w->close_wanted)
        w->events->message(w, w->context, text, w->message.data, w->message.len);
    w->message.len = 0;
}

static const char *judge_head(const struct websocket *w, uint8_t first, uint8_t second, uint64_t len)
{
    unsigned opcode = first & 0x0f;
    bool control = opcode & 8;
    if (first & 0x70)
        return "an extension was not agreed on";
    if (!(second & 0x80))
        return "a client's frames are masked";
    if (opcode > OP_PONG || (opcode > OP_BINARY && opcode < OP_CLOSE))
        return "no such opcode";
    if (control && (!(first & 0x80) || len > CONTROL_BYTES_MAX))
        return "control frames are whole, and 125 bytes at the most";
    if (opcode == OP_CONTINUATION && !w->message_opcode)
        return "nothing to continue";
    if ((opcode == OP_TEXT || opcode == OP_BINARY) && w->message_opcode)
        return "a message inside another";
    return NULL;
}

/* Takes a frame's head off data[0..n). Returns its length, 0 if it is not whole, -1 if it was wrong. */
static int take_head(struct websocket *w, const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    unsigned short_len = data[1] & 0x7f, extra = short_len == 127 ? 8 : short_len == 126 ? 2 : 0;
    uint64_t len = extra ? 0 : short_len;
    if (n < 2u + extra)
        return 0;
    for (unsigned i = 0; i < extra; i++)
        len = len << 8 | data[2 + i];
    const char *wrong = judge_head(w, data[0], data[1], len);
    if (wrong) {
        break_off(w, WEBSOCKET_PROTOCOL_ERROR, wrong);
        return -1;
    }
    w->opcode = data[0] & 0x0f;
    size_t limit = w->conn->server->limits.message_bytes;
    if (!(w->opcode & 8) && (len > limit || w->message.len > limit - len)) {
        break_off(w, WEBSOCKET_TOO_BIG, "the message is too big");
        return -1;
    }
    if (n < 6u + extra)
        return 0;
    memcpy(w->mask, data + 2 + extra, 4);
    w->final = data[0] & 0x80;
    w->frame_left = len;
    w->mask_at = 0;
    w->in_frame = true;
    if (!(w->opcode & 8) && w->opcode != OP_CONTINUATION)
        w->message_opcode = w->opcode;
    return (int)(6 + extra);
}

static size_t take_payload(struct websocket *w, uint8_t *data, size_t n)
{
    if (n > w->frame_left)
        n = (size_t)w->frame_left;
    for (size_t i = 0; i < n; i++)
        data[i] ^= w->mask[w->mask_at++ & 3];
    w->frame_left -= n;
    if (w->opcode & 8) {
        memcpy(w->control + w->control_len, data, n);
        w->control_len += n;
    } else if (!buffer_add(&w->message, data, n, w->conn->server->limits.message_bytes)) {
        break_off(w, WEBSOCKET_INTERNAL, "no memory");
        return n;
    }
    if (w->frame_left)
        return n;
    w->in_frame = false;
    if (w->opcode & 8)
        on_control(w);
    else if (w->final)
        on_message(w);
    return n;
}

/* A frame at a time, until nothing whole is left or reading has to stop. */
void websocket_received(struct websocket *w)
{
    struct http_conn *conn = w->conn;
    uint8_t *data = (uint8_t *)conn->in;
    size_t at = 0;
    w->asked = false;
    if (!stream_sending(&conn->stream))
        http_conn_deadline(conn, w->close_queued ? CLOSE_MS : conn->server->limits.ping_ms);
    while (conn->state == HTTP_CONN_WEBSOCKET && !w->peer_closed && !w->paused) {
        if (!w->in_frame) {
            int head = take_head(w, data + at, conn->in_len - at);
            if (head <= 0)
                break;
            at += (size_t)head;
        }
        size_t n = take_payload(w, data + at, conn->in_len - at);
        at += n;
        if (w->in_frame && at == conn->in_len)
            break;
    }
    if (conn->state != HTTP_CONN_WEBSOCKET)
        return; /* what is left is nobody's */
    conn->in_len -= at;
    memmove(conn->in, conn->in + at, conn->in_len);
    if (!w->peer_closed && !w->paused)
        http_conn_read(conn);
}

static void resume(struct loop_job *job)
{
    struct websocket *w = CONTAINER_OF(job, struct websocket, resume_job);
    if (w->conn->state == HTTP_CONN_WEBSOCKET)
        websocket_received(w);
}

void websocket_pause(struct websocket *w, bool paused)
{
    /* a job that is queued runs before the one that frees a connection that ends after this */
    if (w->paused && !paused && w->conn->state == HTTP_CONN_WEBSOCKET)
        loop_defer(w->conn->server->loop, &w->resume_job);
    w->paused = paused;
}

/* ---- life ---- */

void websocket_due(struct websocket *w)
{
    struct http_conn *conn = w->conn;
    if (stream_sending(&conn->stream) || w->close_queued || w->asked) {
        http_conn_end(conn); /* it does not take what we send, or does not answer */
    } else if (w->paused) {
        http_conn_deadline(conn, conn->server->limits.ping_ms);
    } else {
        w->asked = true;
        queue_control(w, OP_PING, NULL, 0);
    }
}

void websocket_gone(struct websocket *w)
{
    w->conn->server->counts.websockets--;
    w->events->closed(w, w->context, w->code);
    buffer_free(&w->message);
    buffer_free(&w->queue);
    buffer_free(&w->out);
    free(w);
}

bool http_offers_protocol(const struct http_request *request, const char *protocol)
{
    return http_list_has(((const struct http_pending *)request)->head.websocket_protocols, protocol);
}

static bool queue_switch(struct websocket *w, const struct http_pending *p, const char *protocol)
{
    char text[512], key[WEBSOCKET_KEY_ROOM];
    if (!websocket_key_accept(p->head.websocket_key, key))
        return false;
    int n = snprintf(text, sizeof text,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
                     key, protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "", protocol ? "\r\n" : "");
    return n > 0 && (size_t)n < sizeof text && buffer_add(&w->queue, text, (size_t)n, sizeof text);
}

struct websocket *http_accept_websocket(struct http_request *request, const char *protocol,
                                        const struct websocket_events *events, void *context)
{
    struct http_pending *p = http_pending_of(request);
    struct http_conn *conn = request->conn;
    struct websocket *w = conn ? calloc(1, sizeof *w) : NULL;
    assert(request->upgrade);
    if (!w || !queue_switch(w, p, protocol)) {
        free(w);
        http_reply(request, &(struct http_reply){.status = 500, .end = true});
        return NULL;
    }
    w->conn = conn;
    w->events = events;
    w->context = context;
    w->code = WEBSOCKET_ABNORMAL;
    w->resume_job.run = resume;
    http_pending_free(p);
    conn->pending = NULL;
    conn->state = HTTP_CONN_WEBSOCKET;
    conn->websocket = w;
    conn->server->counts.websockets++;
    flush(w);
    loop_defer(conn->server->loop, &w->resume_job); /* frames that came with the request */
    return w;
}
