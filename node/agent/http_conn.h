/* A client's connection to the HTTP server; shared by http_server.c, http_conn.c and websocket.c only.
 *
 *      HANDSHAKE -> HEAD <-> BODY
 *                    ^ \      |
 *                    |  v     v
 *                   SEND <-- WORK -> WEBSOCKET          any state -> [LINGER] -> ENDED
 *
 * LINGER: an answer that ends the connection is out, and what the client still sends is thrown away for a moment, so
 * that the kernel does not answer it with a reset that would overtake the answer. */
#ifndef NODE_AGENT_HTTP_CONN_H
#define NODE_AGENT_HTTP_CONN_H

#include <netinet/in.h>
#include <sys/queue.h>

#include "node/agent/http_parse.h"
#include "node/agent/http_server.h"
#include "node/base/listen.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/stream.h"

enum { HTTP_LISTENERS_MAX = 16, HTTP_ADDRESS_MAX = 160 };

enum http_conn_state {
    HTTP_CONN_HANDSHAKE,
    HTTP_CONN_HEAD,
    HTTP_CONN_BODY,
    HTTP_CONN_WORK,
    HTTP_CONN_SEND,
    HTTP_CONN_LINGER,
    HTTP_CONN_WEBSOCKET,
    HTTP_CONN_ENDED,
};

struct http_listener {
    struct http_server *server;
    int fd;
    struct tls_context *tls;
    struct loop_op op;
    struct loop_timer again;
    bool accepting;
    char address[HTTP_ADDRESS_MAX];
};

struct http_server {
    struct loop *loop;
    struct http_limits limits;
    void (*handler)(void *context, struct http_request *request);
    void *context;
    bool (*may_send)(void *context, const struct http_request *request); /* NULL: everybody */
    struct http_listener *listeners[HTTP_LISTENERS_MAX];
    unsigned listener_count;
    LIST_HEAD(, http_conn) conns;
    struct http_counts counts;
    struct log_limit complaints;
    bool closing;
    void (*closed)(void *context);
    void *closed_context;
    struct loop_job close_job;
};

/* A request with what the server needs of it. Its texts lie in `text`. */
struct http_pending {
    struct http_request request; /* first */
    struct http_server *server;
    struct http_head head;
    char *text, *body;
    size_t text_bytes;
    size_t body_want; /* counted in server->counts.body_bytes */
};

struct http_conn {
    struct http_server *server;
    LIST_ENTRY(http_conn) link;
    struct stream stream;
    enum http_conn_state state;
    struct loop_timer deadline;
    char *in; /* limits.head_bytes: what came and is not used yet */
    size_t in_len, scanned;
    struct iovec rx, tx;
    bool rx_to_body;  /* the outstanding receive goes to the body and not to `in` */
    char *abandoned;  /* a body that is not wanted any more while a receive into it is outstanding */
    char *out;        /* what is being sent */
    bool end_after;   /* this answer is the connection's last */
    bool half_closed; /* the client sends no more; it may still read */
    size_t lingered_bytes;
    struct http_pending *pending;
    struct websocket *websocket;
    struct in6_addr address; /* of the peer, for the limit; unspecified: a unix socket */
    char remote[HTTP_REMOTE_MAX];
    bool local;
    uid_t uid;
};

void http_conn_new(struct http_server *server, int fd, struct tls_context *tls);
/* Ends it now; the owner's last words are made from the loop. */
void http_conn_end(struct http_conn *conn);
/* The last answer is out: LINGER. */
void http_conn_linger(struct http_conn *conn);
/* The server closes: at once if nothing is under way, else when it is answered. */
void http_conn_leave(struct http_conn *conn);
void http_conn_deadline(struct http_conn *conn, unsigned ms);

/* For websocket.c: reads into in[in_len...]; websocket_received() is called. */
void http_conn_read(struct http_conn *conn);
void websocket_received(struct websocket *websocket);
void websocket_due(struct websocket *websocket);
void websocket_gone(struct websocket *websocket); /* the connection has closed: closed() and free */

void http_server_conn_gone(struct http_server *server);

/* Wipes and frees a request. */
void http_pending_free(struct http_pending *pending);
static inline struct http_pending *http_pending_of(struct http_request *request)
{
    return (struct http_pending *)request;
}

/* The text of an answer's head, in one allocation with room for body_bytes behind it; NULL: no memory. */
char *http_reply_text(const struct http_reply *reply, enum http_method method, bool keep_alive, size_t *len_bytes);

#endif
