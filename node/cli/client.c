#include "node/cli/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/base/err.h"
#include "node/base/uuid.h"

enum { ANSWER_MAX = 64 << 20, TRIES = 3, CONNECT_SECONDS = 10, ANSWER_SECONDS = 120 };

struct client {
    CURL *easy;
    char base[512], socket[256], shown[512];
    char *ca, *token;
};

struct received {
    char *text;
    size_t bytes;
    struct client_answer *answer;
};

struct client *client_new(const char *api, const char *ca, const char *token, struct err *err)
{
    struct client *c = calloc(1, sizeof *c);
    if (!c || curl_global_init(CURL_GLOBAL_DEFAULT) || !(c->easy = curl_easy_init())) {
        free(c);
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    snprintf(c->shown, sizeof c->shown, "%s", api);
    if (!strncmp(api, "unix:", 5) && api[5]) {
        snprintf(c->socket, sizeof c->socket, "%s", api + 5);
        snprintf(c->base, sizeof c->base, "http://localhost");
    } else if (!strncmp(api, "https://", 8) && api[8]) {
        snprintf(c->base, sizeof c->base, "%s", api);
        size_t n = strlen(c->base);
        if (c->base[n - 1] == '/')
            c->base[n - 1] = 0;
    } else {
        err_set(err, EINVAL, "'%s' is no API: give unix:PATH or https://HOST:PORT", api);
        client_free(c);
        return NULL;
    }
    c->ca = ca ? strdup(ca) : NULL;
    c->token = token ? strdup(token) : NULL;
    return c;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->easy);
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    free(c->token);
    free(c->ca);
    free(c);
}

void client_answer_free(struct client_answer *a)
{
    json_decref(a->body);
    a->body = NULL;
}

/* ---- one exchange ---- */

static size_t receive(char *data, size_t size, size_t count, void *context)
{
    struct received *r = context;
    size_t bytes = size * count;
    if (r->bytes + bytes > ANSWER_MAX)
        return 0;
    char *text = realloc(r->text, r->bytes + bytes + 1);
    if (!text)
        return 0;
    r->text = text;
    memcpy(text + r->bytes, data, bytes);
    r->bytes += bytes;
    text[r->bytes] = 0;
    return bytes;
}

static void take_field(const char *line, size_t bytes, const char *name, char *value, size_t room)
{
    size_t n = strlen(name);
    if (bytes <= n || strncasecmp(line, name, n) || line[n] != ':')
        return;
    const char *from = line + n + 1, *to = line + bytes;
    while (from < to && *from == ' ')
        from++;
    while (to > from && (to[-1] == '\r' || to[-1] == '\n'))
        to--;
    snprintf(value, room, "%.*s", (int)(to - from), from);
}

static size_t receive_field(char *line, size_t size, size_t count, void *context)
{
    struct received *r = context;
    take_field(line, size * count, "etag", r->answer->etag, sizeof r->answer->etag);
    take_field(line, size * count, "location", r->answer->location, sizeof r->answer->location);
    return size * count;
}

static struct curl_slist *add_field(struct curl_slist *fields, const char *name, const char *value)
{
    char line[1200];
    snprintf(line, sizeof line, "%s: %s", name, value);
    return curl_slist_append(fields, line);
}

static void prepare(struct client *c, const char *url)
{
    curl_easy_reset(c->easy);
    curl_easy_setopt(c->easy, CURLOPT_URL, url);
    curl_easy_setopt(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    if (*c->socket)
        curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    if (c->ca)
        curl_easy_setopt(c->easy, CURLOPT_CAINFO, c->ca);
    if (c->token && !*c->socket) {
        curl_easy_setopt(c->easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(c->easy, CURLOPT_XOAUTH2_BEARER, c->token);
    }
}

static int explain(const struct client *c, CURLcode code, struct err *err)
{
    if (code == CURLE_COULDNT_CONNECT && *c->socket)
        return err_set(err, ECONNREFUSED,
                       "no droverd answers at %s: is it running, and may you use it? (or give --api)", c->shown);
    if (code == CURLE_PEER_FAILED_VERIFICATION)
        return err_set(err, EKEYREJECTED, "%s does not show a certificate of a known authority: give --ca FILE",
                       c->shown);
    return err_set(err, EIO, "%s: %s", c->shown, curl_easy_strerror(code));
}

static int exchange(struct client *c, const char *method, const char *url, const char *body, struct curl_slist *fields,
                    struct client_answer *answer, struct err *err)
{
    struct received r = {.answer = answer};
    *answer = (struct client_answer){0};
    prepare(c, url);
    curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c->easy, CURLOPT_TIMEOUT, (long)ANSWER_SECONDS);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(c->easy, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c->easy, CURLOPT_WRITEDATA, &r);
    curl_easy_setopt(c->easy, CURLOPT_HEADERFUNCTION, receive_field);
    curl_easy_setopt(c->easy, CURLOPT_HEADERDATA, &r);
    if (body) {
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
    }
    CURLcode code = curl_easy_perform(c->easy);
    int rc = 0;
    if (code != CURLE_OK) {
        rc = explain(c, code, err);
    } else {
        curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &answer->status);
        answer->body = r.bytes ? json_loadb(r.text, r.bytes, JSON_DECODE_ANY, NULL) : NULL;
        if (r.bytes && !answer->body)
            rc = err_set(err, EPROTO, "%s does not answer like a droverd", c->shown);
    }
    free(r.text);
    return rc;
}

int client_request(struct client *c, const char *method, const char *path, const json_t *body, const char *if_match,
                   const char *reason, struct client_answer *answer, struct err *err)
{
    char url[2048], key[UUID_TEXT_BYTES];
    snprintf(url, sizeof url, "%s%s", c->base, path);
    struct curl_slist *fields = add_field(NULL, "Accept", "application/json, application/problem+json");
    if (strcmp(method, "GET")) {
        uuid_make(key);
        fields = add_field(fields, "Idempotency-Key", key);
    }
    if (body)
        fields = add_field(fields, "Content-Type", "application/json");
    if (if_match)
        fields = add_field(fields, "If-Match", if_match);
    if (reason)
        fields = add_field(fields, "X-Drover-Reason", reason);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    int rc = -EIO;
    for (int i = 0; i < TRIES && rc == -EIO; i++)
        rc = exchange(c, method, url, text, fields, answer, err);
    free(text);
    curl_slist_free_all(fields);
    return rc;
}

/* ---- paths ---- */

void client_escape(const char *value, char *escaped, int room)
{
    char *text = curl_easy_escape(NULL, value, 0);
    snprintf(escaped, (size_t)room, "%s", text ? text : "");
    curl_free(text);
}

void client_add_query(char *path, int room, const char *key, const char *value)
{
    char escaped[1024];
    size_t used = strlen(path);
    client_escape(value, escaped, sizeof escaped);
    snprintf(path + used, (size_t)room - used, "%c%s=%s", strchr(path, '?') ? '&' : '?', key, escaped);
}

/* ---- for streams ---- */

void *client_connect(struct client *c, struct err *err)
{
    prepare(c, c->base);
    curl_easy_setopt(c->easy, CURLOPT_CONNECT_ONLY, 1L);
    CURLcode code = curl_easy_perform(c->easy);
    if (code == CURLE_OK)
        return c->easy;
    explain(c, code, err);
    return NULL;
}

const char *client_host(const struct client *c)
{
    return strstr(c->base, "//") + 2;
}

void client_authorization(const struct client *c, char *field, int room)
{
    field[0] = 0;
    if (c->token && !*c->socket)
        snprintf(field, (size_t)room, "Authorization: Bearer %s\r\n", c->token);
}
