/* The API: from an HTTP request to a call of a handler and back. In this order, each step with its error:
 *
 *     credential (401) -> route (404, 405) -> role (403) -> Accept (406) -> query (400) -> body (415, 400, 422)
 *       -> If-Match there (428) -> Idempotency-Key (409, or the kept answer) -> handler -> audit -> answer
 *
 * Who shows no credential learns nothing, not even which paths there are. Errors are application/problem+json (RFC
 * 9457) with a stable `code`. Every change that was let in, and every one that was refused for its role, is in the
 * audit log.
 *
 * Thread: the loop's. */
#ifndef NODE_AGENT_API_H
#define NODE_AGENT_API_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "node/agent/route.h"

struct api;
struct audit;
struct err;
struct loop;
struct token_table;

enum { API_WHO_MAX = 80, API_ETAG_MAX = 64, API_PAGE_MAX = 1000, API_PAGE_DEFAULT = 100 };

struct api_config {
    struct loop *loop;
    const char *version;        /* of the program, for the document */
    struct token_table *tokens; /* lent */
    struct audit *audit;        /* lent; NULL: none (tests) */
    /* A certificate of the cluster's authority makes its owner ROLE_NODE; this may refuse one that has left. NULL: none
     * is refused. */
    bool (*node_is_member)(void *context, const char *common_name);
    void *context;
    int64_t (*now_s)(void); /* NULL: the system's clock */
    bool local_group; /* unix socket: users other than root and our own are admins, too (the mode keeps others out) */
};

struct api *api_new(const struct api_config *config, struct err *err);
void api_free(struct api *api); /* no call may be under way */
/* Routes of the agent; those of the API itself (openapi.json) are there already. */
int api_add_routes(struct api *api, const struct route *routes, unsigned count, void *context, struct err *err);
struct route_table *api_routes(struct api *api);
/* For http_server_new(): context is the struct api. */
void api_request(void *api, struct http_request *request);
/* For http_server_gate(): who asks is known, or the route is open. */
bool api_may_send(void *api, const struct http_request *request);
unsigned api_calls_under_way(const struct api *api);

struct api_who {
    char name[API_WHO_MAX]; /* "token:alice", "node:n1", "local:root"; "": nobody (open routes) */
    enum role role;
};

/* One call. Valid until it is answered, exactly once. */
struct api_call {
    struct api *api;
    const struct route *route;
    struct http_request *http;
    struct api_who who;
    json_t *body;  /* checked, with defaults; NULL: the route takes none */
    json_t *query; /* checked parameters of the route's own, an object */
    bool dry_run;
    unsigned limit;       /* ROUTE_PAGED */
    const char *after;    /* ROUTE_PAGED: the last name of the page before; NULL: from the beginning */
    const char *if_match; /* without quotes; "*" any; NULL */
    const char *reason;   /* X-Drover-Reason; NULL */
    const char *target;   /* for the audit log: the first path parameter, or the body's name */
    void *user;           /* the handler's */
    struct route_match match;
    struct idempotency_entry *idempotency; /* ours */
};

/* The route changes something: it is audited, and takes an Idempotency-Key and a reason. */
bool api_changes(const struct route *route);

/* Path parameter by its name in the template. */
const char *api_parameter(const struct api_call *call, const char *name);

/* True: go on. False: answered with 412 (or 428); the call is gone. etag: of the object now, without quotes. */
bool api_if_match(struct api_call *call, const char *etag);

/* Answers. Each frees the call; json_t arguments are taken over (also NULL: 500). */
void api_reply(struct api_call *call, int status, json_t *body);
void api_reply_etag(struct api_call *call, int status, json_t *body,
                    const char *etag); /* 304 if If-None-Match has it */
void api_reply_created(struct api_call *call, json_t *body, const char *etag, const char *location);
void api_reply_empty(struct api_call *call); /* 204 */
void api_reply_text(struct api_call *call, const char *content_type, const char *text, size_t len_bytes);
/* {"items":[...],"next":NAME or null}; next: what to give as ?after, NULL: this was the last page. */
void api_reply_page(struct api_call *call, json_t *items, const char *next);

/* code: small letters and '-', stable ("guest-not-found"); field: path in the body, or NULL. */
__attribute__((format(printf, 5, 6))) void api_error(struct api_call *call, int status, const char *code,
                                                     const char *field, const char *format, ...);
/* As above, from an err: its errno decides the status (ENOENT 404, EEXIST 409, EINVAL 422, EBUSY 409, EAGAIN 503,
 * ENOSPC 507, else 500). */
void api_error_err(struct api_call *call, const char *code, const struct err *err);
/* 503 with Retry-After. */
__attribute__((format(printf, 4, 5))) void api_unavailable(struct api_call *call, unsigned retry_after_s,
                                                           const char *code, const char *format, ...);

/* A ROUTE_WEBSOCKET call becomes a WebSocket; the call is gone. NULL: the client was gone already. */
struct websocket;
struct websocket_events;
struct websocket *api_accept_websocket(struct api_call *call, const struct websocket_events *events, void *context);

#endif
