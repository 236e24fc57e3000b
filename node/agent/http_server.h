/* The HTTP/1.1 server of the agent: TLS (1.2 and later, a client certificate is optional) on TCP, in clear on a unix
 * socket, WebSockets (RFC 6455) by upgrade. Sources: RFC 9110, 9112, 6455.
 *
 * Thread: the loop's, all of it (docs/decisions/0007-http-server.md says why not libwebsockets).
 *
 *      accept --limits--> HEAD --parsed--> BODY --whole--> [handler] ... http_reply() --> SEND --> HEAD (kept alive)
 *
 * One request of a connection is under way at a time; what a client sends ahead waits in the socket. Everything is
 * bounded: see struct http_limits. What breaks the protocol is answered once (400, 408, 411, 413, 414, 431, 501, 505)
 * as application/problem+json, and the connection ends.
 *
 * The handler gets a whole request and answers it exactly once, inside the call or later, also when the client has gone
 * meanwhile (the answer is then dropped). The request is the handler's until it answers. */
#ifndef NODE_AGENT_HTTP_SERVER_H
#define NODE_AGENT_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct http_conn;
struct http_server;
struct loop;
struct tls_context;
struct websocket;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_METHODS };

/* Header fields that are kept; all others are checked for their form and forgotten. */
enum http_field {
    HTTP_ACCEPT,
    HTTP_AUTHORIZATION,
    HTTP_CONTENT_TYPE,
    HTTP_HOST,
    HTTP_IDEMPOTENCY_KEY,
    HTTP_IF_MATCH,
    HTTP_IF_NONE_MATCH,
    HTTP_ORIGIN,
    HTTP_REASON, /* X-Drover-Reason: why somebody changes something */
    HTTP_USER_AGENT,
    HTTP_FIELDS,
};

enum { HTTP_QUERY_MAX = 32, HTTP_REMOTE_MAX = 80, HTTP_PEER_MAX = 256 };

struct http_parameter {
    const char *name, *value;
};

/* A whole request. All text is terminated, free of control bytes, and valid as long as the request. */
struct http_request {
    enum http_method method;
    const char *path; /* decoded; starts with '/'; a coded '/' or NUL was refused */
    struct http_parameter query[HTTP_QUERY_MAX];
    unsigned query_count;
    const char *field[HTTP_FIELDS]; /* NULL: not there */
    const char *body;               /* terminated; may hold NUL bytes, if the client sent such */
    size_t body_bytes;
    bool upgrade; /* asks for a WebSocket: answer with http_accept_websocket() or with an error */

    char remote[HTTP_REMOTE_MAX]; /* "192.0.2.7:41000", "[2001:db8::1]:41000", "uid 1000" on a unix socket */
    char peer[HTTP_PEER_MAX];     /* common name of the verified client certificate; "": none */
    bool local;                   /* came through a unix socket, from a process of user `uid` */
    uid_t uid;
    bool gone;      /* the client went away; the answer is still owed */
    void *user;     /* the handler's */
    uint64_t at_ns; /* monotonic, when the head was whole */

    struct http_conn *conn; /* the server's; NULL once gone */
};

/* An answer; everything is copied. Text that is NULL is left out. */
struct http_reply {
    int status;
    const char *content_type;
    const char *body;
    size_t body_bytes;
    const char *etag; /* with its quotes */
    const char *location;
    const char *allow;
    const char *www_authenticate;
    const char *link;       /* Link: pagination */
    unsigned retry_after_s; /* 0: left out */
    bool replayed;          /* Idempotency-Replayed: true */
    bool end;               /* end the connection afterwards */
};

struct http_limits {
    unsigned connections;             /* over all: further ones are closed at once */
    unsigned connections_per_address; /* TCP only; an IPv6 /64 counts as one */
    unsigned head_bytes;              /* request line and fields: 431, 414 */
    unsigned body_bytes;              /* 413 */
    unsigned body_total_bytes;        /* all bodies that wait or are worked on: 503 */
    unsigned handshake_ms;            /* TLS */
    unsigned head_ms, body_ms;        /* from the first byte to the last: 408 */
    unsigned idle_ms;                 /* kept alive without a request */
    unsigned send_ms;                 /* for the client to take an answer */
    unsigned message_bytes;           /* one WebSocket message, both ways: 1009 */
    unsigned queue_bytes;             /* WebSocket messages that wait for the client: -EAGAIN */
    unsigned ping_ms;                 /* a silent WebSocket is asked, and closed after as long again */
};

extern const struct http_limits http_limits_default;

/* limits NULL: the default. The handler is called with `context` for each whole request. */
struct http_server *http_server_new(struct loop *loop, const struct http_limits *limits,
                                    void (*handler)(void *context, struct http_request *request), void *context,
                                    struct err *err);
/* A request's head says enough to refuse its body: where may_send() says no (path, fields, remote and peer of the
 * request are there), the body is not read, the handler is called at once without it, and the connection ends with the
 * answer. So nobody unknown holds memory. Before http_server_listen(). */
void http_server_gate(struct http_server *server, bool (*may_send)(void *context, const struct http_request *request));
/* Whoever comes from now on is shown these, by listeners that have TLS. tls is lent as below, and what was there before
 * is no longer used. */
void http_server_credentials(struct http_server *server, struct tls_context *tls);
/* address: unix:PATH (created with `mode`, 0600 or 0660) or tcp:HOST:PORT. tls is lent for the server's life; NULL is
 * in clear, which is for unix sockets and tests. Errors: those of listen_open(), -ENOSPC over 16 listeners. */
int http_server_listen(struct http_server *server, const char *address, mode_t mode, struct tls_context *tls,
                       struct err *err);
/* Where the listener number `index` listens, as listen_describe() says it; NULL: there is none. */
const char *http_server_address(const struct http_server *server, unsigned index);
/* Ends listeners at once and connections when their request is answered, WebSockets with 1001; then calls
 * closed(context). */
void http_server_close(struct http_server *server, void (*closed)(void *context), void *context);
void http_server_free(struct http_server *server); /* after closed() */

struct http_counts {
    uint64_t accepted, refused, requests, broken; /* refused: by a limit; broken: answered by the server itself */
    unsigned connections, websockets;
    uint64_t body_bytes; /* held now */
};
struct http_counts http_server_counts(const struct http_server *server);

/* Answers and frees the request. */
void http_reply(struct http_request *request, const struct http_reply *reply);

/* "GET", ... */
const char *http_method_name(enum http_method method);
/* Value of a query parameter, or NULL. */
const char *http_query(const struct http_request *request, const char *name);
/* "Not Found", ...; "" for a status that is not in use. */
const char *http_reason(int status);

#endif
