/* Answers of the API; see api.h. All end in api_finish(): the audit line, the kept answer, the answer itself, the end
 * of the call, in this order. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api_state.h"
#include "node/agent/audit.h"
#include "node/agent/websocket.h"
#include "node/base/err.h"
#include "node/base/utf8.h"

enum { DETAIL_MAX = 1024 };

/* ---- audit ---- */

static bool is_audited(const struct api_call *call)
{
    const struct route *r = call->route;
    if (!call->api->config.audit || !r || call->dry_run)
        return false;
    return api_changes(r) || (r->flags & ROUTE_WEBSOCKET && r->role >= ROLE_OPERATOR);
}

static void write_audit(struct api *api, const struct audit_entry *entry)
{
    struct err err = {0};
    int rc = audit_write(api->config.audit, entry, &err);
    if (rc)
        log_error("%s; not in it: %s (%s) from %s: %s %s: %d", err.text, entry->who, entry->role, entry->from,
                  entry->method, entry->path, entry->status);
    api->audit_failing = -rc;
}

static void audit(const struct api_call *call, int status, const char *code)
{
    if (!is_audited(call))
        return;
    write_audit(call->api, &(struct audit_entry){.who = call->who.name,
                                                 .role = role_name(call->who.role),
                                                 .from = call->http->remote,
                                                 .method = http_method_name(call->http->method),
                                                 .path = call->http->path,
                                                 .target = call->target,
                                                 .why = call->reason,
                                                 .status = status,
                                                 .code = code});
}

bool api_audit_ready(struct api *api)
{
    if (api->config.audit && api->audit_failing)
        write_audit(api, &(struct audit_entry){.who = "drover",
                                               .role = "none",
                                               .from = "here",
                                               .method = "",
                                               .path = "",
                                               .why = "lines before this one may be missing: they were refused",
                                               .status = 0,
                                               .code = "audit-again"});
    return !api->audit_failing;
}

/* ---- the end of a call ---- */

static void release(struct api_call *call)
{
    call->api->calls--;
    json_decref(call->body);
    json_decref(call->query);
    free(call);
}

/* What a repetition is told. */
static const struct http_reply *kept_reply(const struct api_call *call, const struct http_reply *reply)
{
    static const char body[] =
        "{\"type\":\"about:blank\",\"title\":\"Conflict\",\"status\":409,\"code\":\"idempotency-secret\",\"detail\":"
        "\"this was done; the answer held a secret, which is shown once and not kept\"}";
    static const struct http_reply secret = {
        .status = 409, .content_type = "application/problem+json", .body = body, .body_bytes = sizeof body - 1};
    return call->route->flags & ROUTE_SECRET && reply->status < 300 ? &secret : reply;
}

void api_finish(struct api_call *call, const struct http_reply *reply, const char *code)
{
    audit(call, reply->status, code);
    if (call->idempotency)
        idempotency_settle(call->idempotency, kept_reply(call, reply));
    http_reply(call->http, reply);
    release(call);
}

struct websocket *api_accept_websocket(struct api_call *call, const struct websocket_events *events, void *context)
{
    audit(call, 101, NULL);
    struct websocket *websocket = http_accept_websocket(call->http, NULL, events, context);
    release(call);
    return websocket;
}

/* ---- errors ---- */

/* detail may name a file, whose name may be any bytes: what is not UTF-8 is shown as '?'. */
static void problem(struct api_call *call, int status, const char *code, const char *field, unsigned retry_after_s,
                    const char *why)
{
    char detail[DETAIL_MAX];
    snprintf(detail, sizeof detail, "%s", why);
    for (char *p = detail; *p && !utf8_valid(detail, strlen(detail)); p++)
        *p = (unsigned char)*p < 0x80 ? *p : '?';
    json_t *json = json_pack("{s:s, s:s, s:i, s:s, s:s}", "type", "about:blank", "title", http_reason(status), "status",
                             status, "code", code, "detail", detail);
    if (json && field && *field)
        json_object_set_new(json, "field", json_string(field));
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    struct http_reply reply = {.status = status,
                               .content_type = "application/problem+json",
                               .body = text ? text : "{}",
                               .body_bytes = text ? strlen(text) : 2,
                               .retry_after_s = retry_after_s};
    if (status == 401)
        reply.www_authenticate = "Bearer realm=\"drover\"";
    api_finish(call, &reply, code);
    free(text);
}

void api_error(struct api_call *call, int status, const char *code, const char *field, const char *format, ...)
{
    char detail[DETAIL_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    problem(call, status, code, field, status == 409 && strcmp(code, "idempotency-under-way") == 0, detail);
}

void api_unavailable(struct api_call *call, unsigned retry_after_s, const char *code, const char *format, ...)
{
    char detail[DETAIL_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    problem(call, 503, code, NULL, retry_after_s, detail);
}

void api_error_err(struct api_call *call, const char *code, const struct err *err)
{
    static const struct {
        int code, status;
    } statuses[] = {{ENOENT, 404}, {EEXIST, 409}, {EBUSY, 409},    {EINVAL, 422}, {ERANGE, 422},
                    {E2BIG, 422},  {EAGAIN, 503}, {ENOTCONN, 503}, {ENOSPC, 507}, {EDQUOT, 507},
                    {EPERM, 403},  {EACCES, 403}, {ETIMEDOUT, 503}};
    int status = 500;
    for (unsigned i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].code == err->code)
            status = statuses[i].status;
    problem(call, status, code, NULL, status == 503, err->text);
}

bool api_if_match(struct api_call *call, const char *etag)
{
    size_t len = strlen(etag);
    const char *m = call->if_match;
    if (!m || strcmp(m, "*") == 0 || (strlen(m) == len + 2 && memcmp(m + 1, etag, len) == 0))
        return true;
    api_error(call, 412, "object-changed", NULL, "the object has changed since: its ETag is \"%s\" now; read it again",
              etag);
    return false;
}

/* ---- answers ---- */

static void quote(const char *etag, char quoted[API_ETAG_MAX + 2])
{
    snprintf(quoted, API_ETAG_MAX + 2, "\"%.*s\"", API_ETAG_MAX - 1, etag);
}

static void reply_json(struct api_call *call, struct http_reply *reply, json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (!text) {
        api_error(call, 500, "no-memory", NULL, "there is no memory for the answer");
        return;
    }
    reply->content_type = "application/json";
    reply->body = text;
    reply->body_bytes = strlen(text);
    api_finish(call, reply, NULL);
    free(text);
}

void api_reply(struct api_call *call, int status, json_t *body)
{
    struct http_reply reply = {.status = status};
    reply_json(call, &reply, body);
}

static bool has_etag(const char *list, const char *quoted)
{
    return list && (strcmp(list, "*") == 0 || strstr(list, quoted));
}

void api_reply_etag(struct api_call *call, int status, json_t *body, const char *etag)
{
    char quoted[API_ETAG_MAX + 2];
    quote(etag, quoted);
    struct http_reply reply = {.status = status, .etag = quoted};
    if (call->route->method == HTTP_GET && has_etag(call->http->field[HTTP_IF_NONE_MATCH], quoted)) {
        json_decref(body);
        reply.status = 304;
        api_finish(call, &reply, NULL);
        return;
    }
    reply_json(call, &reply, body);
}

void api_reply_created(struct api_call *call, json_t *body, const char *etag, const char *location)
{
    char quoted[API_ETAG_MAX + 2];
    struct http_reply reply = {.status = 201, .location = location};
    if (etag) {
        quote(etag, quoted);
        reply.etag = quoted;
    }
    reply_json(call, &reply, body);
}

void api_reply_empty(struct api_call *call)
{
    struct http_reply reply = {.status = 204};
    api_finish(call, &reply, NULL);
}

void api_reply_text(struct api_call *call, const char *content_type, const char *text, size_t len)
{
    struct http_reply reply = {.status = 200, .content_type = content_type, .body = text, .body_bytes = len};
    api_finish(call, &reply, NULL);
}

void api_reply_page(struct api_call *call, json_t *items, const char *next)
{
    struct http_reply reply = {.status = 200};
    json_t *page = items ? json_pack("{s:o, s:s?}", "items", items, "next", next) : NULL;
    reply_json(call, &reply, page);
}
