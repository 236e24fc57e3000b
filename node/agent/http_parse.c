/* See http_parse.h. The text is cut into pieces where it lies: each piece gets its 0 where a delimiter was. */
#include "node/agent/http_parse.h"

#include <string.h>
#include <strings.h>

#include "node/base/hex.h"
#include "node/base/utf8.h"

static const char *const method_names[HTTP_METHODS] = {
    [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",       [HTTP_PUT] = "PUT",
    [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
};

static const char *const field_names[HTTP_FIELDS] = {
    [HTTP_ACCEPT] = "accept",
    [HTTP_AUTHORIZATION] = "authorization",
    [HTTP_CONTENT_TYPE] = "content-type",
    [HTTP_HOST] = "host",
    [HTTP_IDEMPOTENCY_KEY] = "idempotency-key",
    [HTTP_IF_MATCH] = "if-match",
    [HTTP_IF_NONE_MATCH] = "if-none-match",
    [HTTP_ORIGIN] = "origin",
    [HTTP_REASON] = "x-drover-reason",
    [HTTP_USER_AGENT] = "user-agent",
};

const char *http_method_name(enum http_method method)
{
    return method_names[method];
}

const char *http_query(const struct http_request *request, const char *name)
{
    for (unsigned i = 0; i < request->query_count; i++)
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    return NULL;
}

size_t http_head_end(const char *text, size_t len, size_t *scanned)
{
    size_t from = *scanned > 3 ? *scanned - 3 : 0;
    const char *end = len > from ? memmem(text + from, len - from, "\r\n\r\n", 4) : NULL;
    *scanned = len;
    return end ? (size_t)(end - text) + 4 : 0;
}

static bool fault_set(struct http_fault *fault, int status, const char *code, const char *detail)
{
    *fault = (struct http_fault){status, code, detail};
    return false;
}

static bool bad(struct http_fault *fault, const char *detail)
{
    return fault_set(fault, 400, "bad-request", detail);
}

/* RFC 9110, 5.6.2 */
static bool is_token_char(char ch)
{
    return (ch >= '0' && ch <= '9') || (ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z') ||
           (ch && strchr("!#$%&'*+-.^_`|~", ch));
}

static bool is_token(const char *text)
{
    const char *p = text;
    while (is_token_char(*p))
        p++;
    return p > text && !*p;
}

/* ---- request line ---- */

/* Decodes in place. False: broken coding, a control byte, a coded '/' in a path, or no UTF-8. */
static bool decode(char *text, bool is_path)
{
    char *to = text;
    for (const char *p = text; *p; p++) {
        char ch = *p;
        if (ch == '%') {
            int high = hex_digit(p[1]), low = high < 0 ? -1 : hex_digit(p[2]);
            if (low < 0)
                return false;
            ch = (char)(high << 4 | low);
            p += 2;
            if (is_path && ch == '/')
                return false;
        } else if (ch == '+' && !is_path) {
            ch = ' ';
        }
        if ((unsigned char)ch < 0x20 || ch == 0x7f)
            return false;
        *to++ = ch;
    }
    *to = 0;
    return utf8_valid(text, (size_t)(to - text));
}

static bool parse_query(char *text, struct http_request *request, struct http_fault *fault)
{
    for (char *next; text && *text; text = next) {
        next = strchr(text, '&');
        if (next)
            *next++ = 0;
        if (!*text)
            continue;
        if (request->query_count == HTTP_QUERY_MAX)
            return bad(fault, "over 32 query parameters");
        char *value = strchr(text, '=');
        if (value)
            *value++ = 0;
        if (!decode(text, false) || (value && !decode(value, false)))
            return bad(fault, "a query parameter is not percent-coded UTF-8 without control characters");
        if (http_query(request, text))
            return bad(fault, "a query parameter is there twice");
        request->query[request->query_count++] = (struct http_parameter){text, value ? value : ""};
    }
    return true;
}

static bool parse_target(char *target, struct http_request *request, struct http_fault *fault)
{
    if (strncasecmp(target, "http://", 7) == 0 || strncasecmp(target, "https://", 8) == 0) {
        target = strchr(strchr(target, ':') + 3, '/');
        if (!target)
            return bad(fault, "the request's target has no path");
    }
    if (*target != '/' || strchr(target, '#'))
        return bad(fault, "the request's target is not a path, as in /v1/guests");
    char *query = strchr(target, '?');
    if (query)
        *query++ = 0;
    if (!decode(target, true))
        return bad(fault, "the path is not percent-coded UTF-8 without control characters and coded '/'");
    request->path = target;
    return parse_query(query, request, fault);
}

static bool parse_request_line(char *line, struct http_request *request, struct http_head *head,
                               struct http_fault *fault)
{
    char *target = strchr(line, ' '), *version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || version == target + 1 || strchr(version + 1, ' '))
        return bad(fault, "the first line is not METHOD PATH HTTP/1.1");
    *target++ = 0;
    *version++ = 0;
    if (!is_token(line) || strlen(version) != 8 || strncmp(version, "HTTP/", 5) != 0 || version[6] != '.')
        return bad(fault, "the first line is not METHOD PATH HTTP/1.1");
    if (version[5] != '1')
        return fault_set(fault, 505, "http-version", "this server speaks HTTP/1.1");
    head->keep_alive = version[7] != '0';
    for (request->method = 0; request->method < HTTP_METHODS; request->method++)
        if (strcmp(line, method_names[request->method]) == 0)
            return parse_target(target, request, fault);
    return fault_set(fault, 501, "method-unknown", "this server knows GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS");
}

/* ---- fields ---- */

/* Fields whose meaning is needed here only. */
struct framing {
    const char *content_length, *transfer_encoding, *connection, *upgrade, *expect, *key, *version, *protocols;
};

static const char **framing_field(struct framing *f, const char *name)
{
    const struct {
        const char *name, **value;
    } fields[] = {
        {"content-length", &f->content_length},
        {"transfer-encoding", &f->transfer_encoding},
        {"connection", &f->connection},
        {"upgrade", &f->upgrade},
        {"expect", &f->expect},
        {"sec-websocket-key", &f->key},
        {"sec-websocket-version", &f->version},
        {"sec-websocket-protocol", &f->protocols},
    };
    for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcasecmp(name, fields[i].name) == 0)
            return fields[i].value;
    return NULL;
}

static const char **kept_field(struct http_request *request, const char *name)
{
    for (unsigned i = 0; i < HTTP_FIELDS; i++)
        if (strcasecmp(name, field_names[i]) == 0)
            return &request->field[i];
    return NULL;
}

/* Cuts "name: value" and checks both. */
static bool cut_field(char *line, char **value, struct http_fault *fault)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return bad(fault, "a header line has no colon");
    *colon = 0;
    if (!is_token(line))
        return bad(fault, "a header line starts with a space, or its name has characters that no name may have");
    char *from = colon + 1, *end = from + strlen(from);
    while (*from == ' ' || *from == '\t')
        from++;
    while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = 0;
    for (const char *p = from; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            return bad(fault, "a header value holds a control character");
    *value = from;
    return true;
}

static bool parse_field(char *line, struct http_request *request, struct framing *framing, struct http_fault *fault)
{
    char *value;
    if (!cut_field(line, &value, fault))
        return false;
    const char **slot = framing_field(framing, line);
    if (!slot)
        slot = kept_field(request, line);
    if (!slot)
        return true;
    if (*slot && slot != &request->field[HTTP_ACCEPT] && slot != &request->field[HTTP_USER_AGENT])
        return bad(fault, "a header field that can be there once is there twice");
    if (!utf8_valid(value, strlen(value)))
        return bad(fault, "a header value is not UTF-8");
    if (!*slot)
        *slot = value;
    return true;
}

bool http_list_has(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; p && *p;) {
        p += strspn(p, " \t,");
        size_t n = strcspn(p, ",");
        size_t trimmed = n;
        while (trimmed && (p[trimmed - 1] == ' ' || p[trimmed - 1] == '\t'))
            trimmed--;
        if (trimmed == len && strncasecmp(p, word, len) == 0)
            return true;
        p += n;
    }
    return false;
}

static bool judge_body(const struct framing *f, struct http_head *head, struct http_fault *fault)
{
    if (f->transfer_encoding && f->content_length)
        return bad(fault, "Content-Length and Transfer-Encoding together");
    if (f->transfer_encoding)
        return fault_set(fault, 411, "length-required", "send the body with a Content-Length, not chunked");
    if (!f->content_length)
        return true;
    size_t digits = strlen(f->content_length);
    if (!digits || digits > 15 || strspn(f->content_length, "0123456789") != digits)
        return bad(fault, "Content-Length is not a number");
    for (const char *p = f->content_length; *p; p++)
        head->content_length = head->content_length * 10 + (uint64_t)(*p - '0');
    return true;
}

static bool judge_upgrade(const struct framing *f, struct http_request *request, struct http_head *head,
                          struct http_fault *fault)
{
    if (!f->upgrade || !http_list_has(f->connection, "upgrade") || !http_list_has(f->upgrade, "websocket"))
        return true; /* what cannot be upgraded goes on as HTTP/1.1 */
    if (request->method != HTTP_GET || head->content_length)
        return bad(fault, "a WebSocket starts with a GET without a body");
    if (!f->version || strcmp(f->version, "13") != 0)
        return fault_set(fault, 426, "websocket-version", "this server speaks version 13 of the WebSocket protocol");
    if (!f->key || strlen(f->key) != 24 || strcmp(f->key + 22, "==") != 0)
        return bad(fault, "Sec-WebSocket-Key is not 16 bytes in base64");
    request->upgrade = true;
    head->websocket_key = f->key;
    head->websocket_protocols = f->protocols;
    return true;
}

static bool judge(const struct framing *f, struct http_request *request, struct http_head *head,
                  struct http_fault *fault)
{
    bool is_1_0 = !head->keep_alive;
    if (http_list_has(f->connection, "close"))
        head->keep_alive = false;
    else if (http_list_has(f->connection, "keep-alive"))
        head->keep_alive = true;
    if (!request->field[HTTP_HOST] && !is_1_0)
        return bad(fault, "there is no Host");
    if (!judge_body(f, head, fault))
        return false;
    if (f->expect && strcasecmp(f->expect, "100-continue") != 0)
        return fault_set(fault, 417, "expectation-unknown", "the only expectation known is 100-continue");
    head->expects_continue = f->expect && head->content_length && !is_1_0;
    return judge_upgrade(f, request, head, fault);
}

bool http_parse_head(char *text, size_t len, struct http_request *request, struct http_head *head,
                     struct http_fault *fault)
{
    struct framing framing = {0};
    unsigned count = 0;
    *head = (struct http_head){0};
    if (memchr(text, 0, len))
        return bad(fault, "the header holds a NUL byte");
    for (char *line = text, *next; line < text + len; line = next, count++) {
        char *end = memchr(line, '\n', (size_t)(text + len - line));
        if (!end || end == line || end[-1] != '\r')
            return bad(fault, "a header line does not end with CR and LF");
        next = end + 1;
        end[-1] = 0;
        if (!*line && count)
            break;
        if (count > HTTP_HEAD_LINES_MAX)
            return fault_set(fault, 431, "header-too-large", "over 100 header fields");
        if (count ? !parse_field(line, request, &framing, fault) : !parse_request_line(line, request, head, fault))
            return false;
    }
    return judge(&framing, request, head, fault);
}
