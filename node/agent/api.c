/* See api.h: the way of a request to its handler. What comes back is in api_reply.c. */
#include "node/agent/api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/agent/api_state.h"
#include "node/agent/openapi.h"
#include "node/base/err.h"

bool api_changes(const struct route *route)
{
    return route->method != HTTP_GET && route->method != HTTP_HEAD && !(route->flags & ROUTE_NO_AUDIT);
}

const char *api_parameter(const struct api_call *call, const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < call->match.count; i++)
        if (strncmp(call->match.name[i], name, len) == 0 && call->match.name[i][len] == '}')
            return call->match.value[i];
    return NULL;
}

/* ---- openapi.json ---- */

static void document_get(void *context, struct api_call *call)
{
    struct api *api = context;
    if (!api->document) {
        json_t *document = openapi_document(api->routes, api->config.version);
        api->document = document ? json_dumps(document, JSON_COMPACT) : NULL;
        json_decref(document);
    }
    if (api->document)
        api_reply_text(call, "application/json", api->document, strlen(api->document));
    else
        api_error(call, 500, "no-memory", NULL, "there is no memory for the document");
}

static const struct route document_route = {
    .method = HTTP_GET,
    .path = "/v1/openapi.json",
    .role = ROLE_VIEWER,
    .id = "openapi_show",
    .tag = "api",
    .summary = "This document.",
    .text = "application/json",
    .handle = document_get,
};

/* ---- life ---- */

struct api *api_new(const struct api_config *config, struct err *err)
{
    struct api *api = calloc(1, sizeof *api);
    if (api) {
        api->config = *config;
        api->routes = route_table_new();
        api->idempotency = idempotency_new();
        api->refusals = (struct log_limit){.burst = 20, .interval_ms = 10000};
    }
    if (!api || !api->routes || !api->idempotency || api_add_routes(api, &document_route, 1, api, err)) {
        err_set(err, ENOMEM, "no memory for the API");
        api_free(api);
        return NULL;
    }
    return api;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    route_table_free(api->routes);
    idempotency_free(api->idempotency);
    free(api->document);
    free(api);
}

int api_add_routes(struct api *api, const struct route *routes, unsigned count, void *context, struct err *err)
{
    free(api->document);
    api->document = NULL;
    return route_table_add(api->routes, routes, count, context, err);
}

struct route_table *api_routes(struct api *api)
{
    return api->routes;
}

unsigned api_calls_under_way(const struct api *api)
{
    return api->calls;
}

/* ---- the way in ---- */

static bool refuse_path(struct api_call *call)
{
    char allow[128] = "";
    size_t at = 0;
    if (!call->match.allowed) {
        api_error(call, 404, "path-unknown", NULL, "there is no such path; GET /v1/openapi.json lists them");
        return false;
    }
    for (enum http_method m = 0; m < HTTP_METHODS; m++)
        if (call->match.allowed & 1u << m)
            at += (size_t)snprintf(allow + at, sizeof allow - at, "%s%s", at ? ", " : "", http_method_name(m));
    static const char body[] =
        "{\"type\":\"about:blank\",\"title\":\"Method Not Allowed\",\"status\":405,"
        "\"code\":\"method-not-allowed\",\"detail\":\"the path has other methods: see Allow\"}\n";
    struct http_reply reply = {.status = 405,
                               .content_type = "application/problem+json",
                               .body = body,
                               .body_bytes = sizeof body - 1,
                               .allow = allow};
    api_finish(call, &reply, "method-not-allowed");
    return false;
}

static bool refuse_credential(struct api_call *call, const struct api_refusal *refusal)
{
    log_limited(&call->api->refusals, LOG_LEVEL_WARN, "%s: refused: %s", call->http->remote, refusal->detail);
    api_error(call, refusal->status, refusal->code, NULL, "%s", refusal->detail);
    return false;
}

static bool take_credential(struct api_call *call)
{
    struct api_refusal refusal;
    const struct route *route = call->match.route;
    if (route && route->flags & ROUTE_OPEN)
        return true;
    if (!api_identify(call->api, call->http, route, &call->who, &refusal))
        return refuse_credential(call, &refusal);
    return true;
}

static bool take_role(struct api_call *call)
{
    if (call->route->flags & ROUTE_OPEN || call->who.role >= call->route->role)
        return true;
    api_error(call, 403, "role-insufficient", NULL, "this needs the role %s; %s has %s", role_name(call->route->role),
              call->who.name, role_name(call->who.role));
    return false;
}

static bool take_accept(struct api_call *call)
{
    const char *type = call->route->text ? call->route->text : "application/json";
    const char *accept = call->http->field[HTTP_ACCEPT];
    if (call->route->flags & ROUTE_WEBSOCKET) {
        if (call->http->upgrade)
            return true;
        api_error(call, 426, "upgrade-required", NULL, "this is a WebSocket; ask for an upgrade");
        return false;
    }
    if (api_accepts(accept, type))
        return true;
    api_error(call, 406, "not-acceptable", NULL, "the answer is %s, which Accept does not allow", type);
    return false;
}

static bool take_if_match(struct api_call *call)
{
    const char *field = call->http->field[HTTP_IF_MATCH];
    if (field) {
        size_t len = strlen(field);
        if (strcmp(field, "*") != 0 &&
            (len < 2 || *field != '"' || field[len - 1] != '"' || strchr(field + 1, '"') != field + len - 1)) {
            api_error(call, 400, "bad-etag", NULL, "If-Match is one ETag in quotes, or *");
            return false;
        }
        call->if_match = field;
    } else if (call->route->flags & ROUTE_IF_MATCH) {
        api_error(call, 428, "if-match-missing", NULL,
                  "send If-Match with the ETag of the object that the change was made from, or *");
        return false;
    }
    return true;
}

static bool take_idempotency(struct api_call *call)
{
    const char *key = call->http->field[HTTP_IDEMPOTENCY_KEY];
    struct http_reply kept;
    if (!key || !api_changes(call->route) || call->dry_run)
        return true;
    if (!*key || strlen(key) > IDEMPOTENCY_KEY_MAX) {
        api_error(call, 400, "bad-idempotency-key", NULL, "Idempotency-Key has 1 to %d bytes", IDEMPOTENCY_KEY_MAX);
        return false;
    }
    switch (idempotency_begin(call->api->idempotency, call->who.name, key, call->http, api_now_s(call->api),
                              &call->idempotency, &kept)) {
    case IDEMPOTENCY_NEW:
        return true;
    case IDEMPOTENCY_KNOWN:
        api_finish(call, &kept, "idempotency-replayed");
        break;
    case IDEMPOTENCY_OTHER:
        api_error(call, 409, "idempotency-key-reused", NULL, "this Idempotency-Key came with another request before");
        break;
    case IDEMPOTENCY_UNDER_WAY:
        api_error(call, 409, "idempotency-under-way", NULL, "the first request with this Idempotency-Key is under way");
        break;
    default:
        api_unavailable(call, 1, "busy", "too many changes are under way");
        break;
    }
    return false;
}

static bool take_audit(struct api_call *call)
{
    if (!api_changes(call->route) || api_audit_ready(call->api))
        return true;
    api_unavailable(call, 10, "audit-unavailable", "the audit log takes no lines (%s); no change is made without one",
                    strerror(call->api->audit_failing));
    return false;
}

bool api_may_send(void *context, const struct http_request *request)
{
    struct api *api = context;
    struct route_match match;
    struct api_who who;
    struct api_refusal refusal;
    route_table_match(api->routes, request->method, request->path, &match);
    return (match.route && match.route->flags & ROUTE_OPEN) || api_identify(api, request, match.route, &who, &refusal);
}

void api_request(void *context, struct http_request *request)
{
    struct api *api = context;
    struct api_call *call = calloc(1, sizeof *call);
    if (!call) {
        http_reply(request, &(struct http_reply){.status = 503, .retry_after_s = 1});
        return;
    }
    call->api = api;
    call->http = request;
    call->reason = request->field[HTTP_REASON];
    api->calls++;
    route_table_match(api->routes, request->method, request->path, &call->match);
    if (!take_credential(call))
        return;
    if (!call->match.route) {
        refuse_path(call);
        return;
    }
    call->route = call->match.route;
    call->target = call->match.count ? call->match.value[0] : NULL;
    if (take_role(call) && take_accept(call) && api_take_query(call) && api_take_body(call) && take_if_match(call) &&
        take_audit(call) && take_idempotency(call))
        call->route->handle(route_table_context(api->routes, call->route), call);
}
