/* Answers as text, and the words for status codes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/http_conn.h"

enum { HEAD_TEXT_MAX = 4096 };

const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (unsigned i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "";
}

struct head {
    char text[HEAD_TEXT_MAX];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct head *h, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(h->text + h->len, sizeof h->text - h->len, format, args);
    va_end(args);
    if (n > 0 && (size_t)n < sizeof h->text - h->len)
        h->len += (size_t)n;
    else
        h->text[h->len] = 0; /* a line that does not fit, or that would break the head, is left out */
}

/* A value that could end its line would let whoever chose it write header lines of his own. */
static void add_field(struct head *h, const char *name, const char *value)
{
    if (value && !strpbrk(value, "\r\n"))
        add(h, "%s: %s\r\n", name, value);
}

char *http_reply_text(const struct http_reply *reply, enum http_method method, bool keep_alive, size_t *len)
{
    struct head h = {.len = 0};
    bool bodiless = reply->status == 204 || reply->status == 304;
    add(&h, "HTTP/1.1 %d %s\r\n", reply->status, http_reason(reply->status));
    if (!bodiless)
        add(&h, "Content-Length: %zu\r\n", reply->body_bytes);
    if (reply->body_bytes && !bodiless)
        add_field(&h, "Content-Type", reply->content_type);
    add_field(&h, "ETag", reply->etag);
    add_field(&h, "Location", reply->location);
    add_field(&h, "Allow", reply->allow);
    add_field(&h, "WWW-Authenticate", reply->www_authenticate);
    add_field(&h, "Link", reply->link);
    if (reply->retry_after_s)
        add(&h, "Retry-After: %u\r\n", reply->retry_after_s);
    if (reply->replayed)
        add(&h, "Idempotency-Replayed: true\r\n");
    if (reply->status == 426)
        add(&h, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    add(&h, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: %s\r\n\r\n",
        reply->status == 426 ? (keep_alive ? "upgrade" : "upgrade, close")
        : keep_alive         ? "keep-alive"
                             : "close");
    size_t body_bytes = bodiless || method == HTTP_HEAD ? 0 : reply->body_bytes;
    char *text = malloc(h.len + body_bytes + 1);
    if (!text)
        return NULL;
    memcpy(text, h.text, h.len);
    if (body_bytes)
        memcpy(text + h.len, reply->body, body_bytes);
    *len = h.len + body_bytes;
    text[*len] = 0;
    return text;
}
