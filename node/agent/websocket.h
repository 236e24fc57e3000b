/* A WebSocket on a connection of the HTTP server (RFC 6455): messages both ways, bounded, with back-pressure.
 *
 * Thread: the loop's. No callback runs inside the call that caused it.
 *
 *      OPEN --websocket_close(), peer's close frame, error, server's end--> CLOSING --> closed() --> gone
 *
 * Received text is checked for UTF-8; fragments are joined; ping is answered; extensions are not offered. */
#ifndef NODE_AGENT_WEBSOCKET_H
#define NODE_AGENT_WEBSOCKET_H

#include <stdbool.h>
#include <stddef.h>

struct http_request;
struct websocket;

enum websocket_code {
    WEBSOCKET_NORMAL = 1000,
    WEBSOCKET_GOING_AWAY = 1001,
    WEBSOCKET_PROTOCOL_ERROR = 1002,
    WEBSOCKET_UNSUPPORTED = 1003,
    WEBSOCKET_NO_CODE = 1005,  /* closed without a code; never sent */
    WEBSOCKET_ABNORMAL = 1006, /* the connection broke; never sent */
    WEBSOCKET_NOT_UTF8 = 1007,
    WEBSOCKET_POLICY = 1008,
    WEBSOCKET_TOO_BIG = 1009,
    WEBSOCKET_INTERNAL = 1011,
    WEBSOCKET_TRY_AGAIN = 1013,
};

struct websocket_events {
    /* One whole message; data is terminated, and valid during the call only. */
    void (*message)(struct websocket *websocket, void *context, bool text, const char *data, size_t len_bytes);
    /* After websocket_send() said -EAGAIN: there is room again. May be NULL. */
    void (*drained)(struct websocket *websocket, void *context);
    /* The last call, always made; code as in enum websocket_code or the peer's own. The websocket is gone afterwards.
     */
    void (*closed)(struct websocket *websocket, void *context, unsigned code);
};

/* Answers a request whose `upgrade` is set with 101 and frees it. events is lent, as is protocol (the subprotocol to
 * confirm, one of those that the client offers; NULL: none). NULL if the client has gone: closed() is not called then.
 */
struct websocket *http_accept_websocket(struct http_request *request, const char *protocol,
                                        const struct websocket_events *events, void *context);
/* True if the client offers that subprotocol. */
bool http_offers_protocol(const struct http_request *request, const char *protocol);

/* Copies and queues a message. Errors: -EAGAIN the queue is full (drained() says when it is not), -EMSGSIZE, -EPIPE it
 * is closing. Text must be UTF-8. */
int websocket_send(struct websocket *websocket, bool text, const void *data, size_t len_bytes);
/* Stops and restarts reading: the peer feels it through TCP. Pings are not answered meanwhile. */
void websocket_pause(struct websocket *websocket, bool paused);
/* Sends what is queued, then the close frame; reason up to 123 bytes, may be NULL. closed() follows. */
void websocket_close(struct websocket *websocket, unsigned code, const char *reason);

#endif
