/* An NBD server: exports, listeners, connections, and the limits that keep one client from hurting another.
 *
 * Thread: the loop's. Source: proto.md (see nbd_proto.h).
 *
 * Memory: a client can make the server hold at most max_memory_bytes of payload, or one request if that is larger, and
 * max_in_flight requests; past that its socket is simply not read. */
#ifndef NBD_NBD_SERVER_H
#define NBD_NBD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nbd/nbd_export.h"

struct blk_env;
struct nbd_server;
struct tls_context;

enum nbd_tls {
    NBD_TLS_OFF,     /* NOTLS */
    NBD_TLS_ON,      /* SELECTIVETLS: for those who ask, and for exports that are tls_only */
    NBD_TLS_REQUIRE, /* FORCEDTLS */
};

struct nbd_server_config {
    enum nbd_tls tls;
    struct tls_context *tls_context; /* borrowed; NULL with NBD_TLS_OFF */
    unsigned max_connections;
    unsigned max_in_flight;  /* requests per client */
    size_t max_memory_bytes; /* payload per client */
    uint32_t handshake_ms;   /* a client must be in transmission by then */
    uint32_t drain_ms;       /* nbd_server_drain() lets clients finish for so long */
    uint32_t stall_ms;       /* a client that takes no reply for so long is let go; 0 = never */
};

/* What a person would choose. */
extern const struct nbd_server_config nbd_server_defaults;

/* env is borrowed. NULL: no memory. */
struct nbd_server *nbd_server_new(const struct blk_env *env, const struct nbd_server_config *config);
/* After nbd_server_drain() only. Frees the exports. */
void nbd_server_free(struct nbd_server *server);

/* Takes over the export, whose stack is open. Errors: -EEXIST the name is taken. */
int nbd_server_add(struct nbd_server *server, struct nbd_export *export, struct err *err);
const struct nbd_export_list *nbd_server_exports(const struct nbd_server *server);

/* Takes over a listening socket. -ENOMEM. */
int nbd_server_listen(struct nbd_server *server, int fd);
/* Takes over a connected socket; ended(context), if not NULL, when that client is gone. */
void nbd_server_adopt(struct nbd_server *server, int fd, void (*ended)(void *context), void *context);

/* Accepts nobody any more, answers what is in flight, lets every client go (at once after drain_ms), flushes every
 * export; then drained(failed) from the loop, failed saying that a flush did. Once. */
void nbd_server_drain(struct nbd_server *server, void (*drained)(void *context, bool failed), void *context);

unsigned nbd_server_connections(const struct nbd_server *server);

#endif
