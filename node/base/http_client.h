/* Requests over HTTP/1.1 and HTTPS, many at a time, on the loop: libcurl's multi interface behind io_uring's poll.
 *
 * Thread: the loop's. done() runs exactly once for each request, never inside the call that asked for it; received()
 * neither. Every function may be called from both. The request struct and what it points to stay valid until done().
 * Connections are kept and used again.
 *
 * What a client does not do unless asked: follow redirects, use a proxy, any scheme but http and https, send anything
 * twice. libcurl sends a request again by itself when a kept connection turns out to be dead; only GET and HEAD may be,
 * of any other the second sending is refused and the request ends with -ECONNRESET. Certificates are always checked.
 *
 * Writing to a socket whose peer is gone must not kill the process: http_client_new() ignores SIGPIPE if nobody has
 * decided otherwise. */
#ifndef NODE_BASE_HTTP_CLIENT_H
#define NODE_BASE_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "node/base/err.h"

struct http_client;
struct http_transfer;
struct loop;

enum {
    HTTP_REQUESTS_MAX = 256,  /* of one client at a time: more are refused with -EAGAIN */
    HTTP_HEAD_MAX = 64 << 10, /* bytes of an answer's headers */
};

struct http_client_options {
    const char *ca_file, *cert_file, *key_file; /* PEM; NULL: the system's authorities, no certificate of our own */
    bool environment_proxy;                     /* as http_proxy and so on say; otherwise none */
    bool files_once; /* they are read now and never again: for programs that give up their rights later */
};

enum http_receive {
    HTTP_GO,
    HTTP_PAUSE, /* these bytes were not taken: they come again after http_client_resume() */
    HTTP_STOP,  /* enough: the request ends with -ECANCELED */
};

struct http_client_request {
    const char *method; /* GET, HEAD, POST, PUT or DELETE */
    const char *url;
    const char *const *headers; /* "Name: value"; NULL at the end; NULL: none */
    const void *body;
    size_t body_len;
    /* The answer's body goes to received(), if that is set and the status is 2xx, or is collected. */
    enum http_receive (*received)(struct http_client_request *request, const void *bytes, size_t len);
    uint64_t answer_max; /* bytes of body; longer: -EMSGSIZE. Of a stream 0 means: any length */
    uint32_t connect_ms; /* until the connection is there, TLS included; 0: 5000 */
    uint32_t timeout_ms; /* of it all; 0: no limit */
    uint32_t silence_ms; /* without a byte of the answer, once connected; 0: no limit */
    uint32_t redirects;  /* followed; never from https to http */
    /* 0: there is an answer, whatever its status. -EHOSTUNREACH, -EACCES (TLS: certificate or key refused): nothing of
     * the request was sent. -ETIMEDOUT, -ECONNRESET: no full answer. -EMSGSIZE, -EPROTO: not such an answer. -ELOOP,
     * -EINVAL, -EAGAIN, -ENOMEM, -ECANCELED. err has the sentence, without the url's user and password. */
    void (*done)(struct http_client_request *request, int result);

    int status;         /* 0: none */
    const char *answer; /* collected, with a 0 byte behind; valid until done() returns */
    size_t answer_len;
    int64_t length; /* of the body, as the server says; -1: it does not. From the first received() on */
    bool sent;      /* part of it may have reached the server */
    struct err err;

    struct http_transfer *transfer; /* the client's */
};

struct http_client *http_client_new(struct loop *loop, const struct http_client_options *options, struct err *err);
/* Cancels what is under way and, when everything has come back, frees the client and calls closed() (may be NULL). */
void http_client_close(struct http_client *client, void (*closed)(void *context), void *context);

void http_client_send(struct http_client *client, struct http_client_request *request);
/* done(-ECANCELED) comes soon; received() does not any more. Does nothing once the request is done. */
void http_client_cancel(struct http_client *client, struct http_client_request *request);
/* After HTTP_PAUSE. */
void http_client_resume(struct http_client *client, struct http_client_request *request);

#endif
