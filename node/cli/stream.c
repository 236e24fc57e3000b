#include "node/cli/stream.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "node/base/err.h"
#include "node/base/websocket_key.h"
#include "node/cli/client.h"

enum {
    HEAD_MAX = 8192,
    FRAME_HEAD_MAX = 14,
    SEND_MAX = 64 << 10,
    OP_TEXT = 1,
    OP_BINARY = 2,
    OP_CLOSE = 8,
    OP_PING = 9,
    OP_PONG = 10
};

struct stream {
    CURL *easy;
    curl_socket_t fd;
    unsigned char *in;
    size_t in_bytes, used; /* used: of the message that was given out, dropped with the next call */
};

/* ---- bytes ---- */

static int wait_for(struct stream *s, short events)
{
    struct pollfd p = {.fd = s->fd, .events = events};
    return poll(&p, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

static int send_all(struct stream *s, const void *data, size_t bytes, struct err *err)
{
    const char *from = data;
    while (bytes) {
        size_t n = 0;
        CURLcode code = curl_easy_send(s->easy, from, bytes, &n);
        if (code == CURLE_AGAIN)
            wait_for(s, POLLOUT);
        else if (code != CURLE_OK)
            return err_set(err, EPIPE, "the connection broke: %s", curl_easy_strerror(code));
        from += n;
        bytes -= n;
    }
    return 0;
}

/* 0: something came; -EAGAIN: nothing is there; -EPIPE. */
static int receive(struct stream *s, struct err *err)
{
    size_t n = 0, room = STREAM_MESSAGE_MAX + FRAME_HEAD_MAX - s->in_bytes;
    CURLcode code = curl_easy_recv(s->easy, s->in + s->in_bytes, room, &n);
    if (code == CURLE_AGAIN)
        return -EAGAIN;
    if (code != CURLE_OK || !n)
        return err_set(err, EPIPE, "the other end hung up");
    s->in_bytes += n;
    return 0;
}

/* ---- opening ---- */

static int ask(struct stream *s, struct client *client, const char *path, const char *key, struct err *err)
{
    char request[4096], authorization[512];
    client_authorization(client, authorization, sizeof authorization);
    int n = snprintf(
        request, sizeof request,
        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: %s\r\n%s\r\n",
        path, client_host(client), key, authorization);
    explicit_bzero(authorization, sizeof authorization);
    int rc =
        n < (int)sizeof request ? send_all(s, request, (size_t)n, err) : err_set(err, E2BIG, "the path is too long");
    explicit_bzero(request, sizeof request);
    return rc;
}

/* The end of the head, or NULL. */
static char *find_end(struct stream *s)
{
    return memmem(s->in, s->in_bytes, "\r\n\r\n", 4);
}

/* What it answered with instead, behind the head. NULL: nothing that a droverd says. */
static json_t *take_problem(struct stream *s, const char *head, size_t head_bytes, struct err *err)
{
    const char *field = strcasestr(head, "\r\nContent-Length:");
    size_t bytes = field ? strtoul(field + strlen("\r\nContent-Length:"), NULL, 10) : 0;
    if (bytes > HEAD_MAX)
        return NULL;
    while (s->in_bytes < head_bytes + bytes) {
        int rc = receive(s, err);
        if (rc == -EAGAIN)
            wait_for(s, POLLIN);
        else if (rc)
            return NULL;
    }
    return json_loadb((char *)s->in + head_bytes, bytes, 0, NULL);
}

static int take_head(struct stream *s, const char *key, struct client_answer *answer, struct err *err)
{
    char accept[WEBSOCKET_KEY_ROOM];
    char *end;
    int rc = 0;
    while (!(end = find_end(s)) && s->in_bytes < HEAD_MAX && (rc == 0 || rc == -EAGAIN)) {
        rc = receive(s, err);
        if (rc == -EAGAIN)
            wait_for(s, POLLIN);
    }
    if (!end)
        return rc == -EPIPE ? rc : err_set(err, EPROTO, "this is no droverd");
    *end = 0;
    const char *text = (char *)s->in;
    size_t head = (size_t)(end + 4 - text);
    long status = !strncmp(text, "HTTP/1.1 ", 9) ? strtol(text + 9, NULL, 10) : 0;
    if (status != 101 && (answer->body = take_problem(s, text, head, err))) {
        answer->status = status;
        return err_set(err, EACCES, "it is refused");
    }
    if (!websocket_key_accept(key, accept))
        return err_set(err, EIO, "SHA-1 does not work");
    if (status != 101 || !strcasestr(text, accept))
        return err_set(err, EPROTO, "this is no droverd");
    s->in_bytes -= head;
    memmove(s->in, s->in + head, s->in_bytes);
    return 0;
}

struct stream *stream_open(struct client *client, const char *path, struct client_answer *answer, struct err *err)
{
    unsigned char random[16];
    char key[32];
    struct stream *s = calloc(1, sizeof *s);
    *answer = (struct client_answer){0};
    if (!s || !(s->in = malloc(STREAM_MESSAGE_MAX + FRAME_HEAD_MAX))) {
        free(s);
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        err_set(err, EIO, "no random numbers");
    EVP_EncodeBlock((unsigned char *)key, random, sizeof random);
    s->easy = client_connect(client, err);
    if (!s->easy || curl_easy_getinfo(s->easy, CURLINFO_ACTIVESOCKET, &s->fd) != CURLE_OK ||
        ask(s, client, path, key, err) || take_head(s, key, answer, err)) {
        stream_close(s);
        return NULL;
    }
    return s;
}

void stream_close(struct stream *s)
{
    if (!s)
        return;
    free(s->in);
    free(s);
}

int stream_fd(const struct stream *s)
{
    return s->fd;
}

/* ---- frames ---- */

static int send_frame(struct stream *s, int op, const void *data, size_t bytes, struct err *err)
{
    unsigned char frame[FRAME_HEAD_MAX + SEND_MAX], mask[4];
    const unsigned char *from = data;
    size_t head = 2;
    if (getrandom(mask, sizeof mask, 0) != (ssize_t)sizeof mask)
        return err_set(err, EIO, "no random numbers");
    frame[0] = (unsigned char)(0x80 | op);
    if (bytes < 126) {
        frame[1] = (unsigned char)(0x80 | bytes);
    } else {
        frame[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++)
            frame[2 + i] = (unsigned char)((uint64_t)bytes >> (56 - 8 * i));
        if (bytes < 65536) {
            frame[1] = 0x80 | 126;
            frame[2] = (unsigned char)(bytes >> 8);
            frame[3] = (unsigned char)bytes;
            head = 4;
        } else {
            head = 10;
        }
    }
    memcpy(frame + head, mask, sizeof mask);
    head += sizeof mask;
    for (size_t i = 0; i < bytes; i++)
        frame[head + i] = from[i] ^ mask[i % 4];
    return send_all(s, frame, head + bytes, err);
}

int stream_send(struct stream *s, bool text, const void *data, size_t bytes, struct err *err)
{
    const char *from = data;
    int rc = 0;
    do {
        size_t n = bytes > SEND_MAX ? SEND_MAX : bytes;
        rc = send_frame(s, text ? OP_TEXT : OP_BINARY, from, n, err);
        from += n;
        bytes -= n;
    } while (!rc && bytes);
    return rc;
}

/* Length of a whole frame's head and body; false: more bytes are needed. */
static bool frame_is_whole(const struct stream *s, size_t *head, size_t *body)
{
    if (s->in_bytes < 2)
        return false;
    size_t n = s->in[1] & 0x7f;
    unsigned more = n == 126 ? 2 : n == 127 ? 8 : 0;
    if (s->in_bytes < 2 + more)
        return false;
    if (more)
        n = 0;
    for (unsigned i = 0; i < more; i++)
        n = n << 8 | s->in[2 + i];
    *head = 2 + more;
    *body = n;
    return n <= STREAM_MESSAGE_MAX && s->in_bytes - *head >= n;
}

static void drop(struct stream *s)
{
    s->in_bytes -= s->used;
    memmove(s->in, s->in + s->used, s->in_bytes);
    s->used = 0;
}

int stream_next(struct stream *s, const char **data, size_t *len_bytes, struct err *err)
{
    for (;;) {
        size_t head = 0, body = 0;
        drop(s);
        if (!frame_is_whole(s, &head, &body)) {
            if (body > STREAM_MESSAGE_MAX)
                return err_set(err, EPROTO, "a message is larger than 1 MiB");
            int rc = receive(s, err);
            if (rc)
                return rc;
            continue;
        }
        int op = s->in[0] & 0x0f;
        s->used = head + body;
        if (op == OP_PING && body < 126) {
            int rc = send_frame(s, OP_PONG, s->in + head, body, err);
            if (rc)
                return rc;
        } else if (op == OP_CLOSE) {
            return err_set(err, EPIPE, "%.*s", body > 2 ? (int)(body - 2) : 0, (char *)s->in + head + 2);
        } else if (op == OP_TEXT || op == OP_BINARY) {
            *data = (char *)s->in + head;
            *len_bytes = body;
            return 0;
        }
    }
}
