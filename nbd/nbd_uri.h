/* NBD URIs: where an export is and how to reach it.
 *
 *     nbd://HOST[:PORT]/EXPORT                  TCP, port 10809 if none is given; [IPv6] in brackets
 *     nbds://[IDENTITY@]HOST[:PORT]/EXPORT      the same under TLS; IDENTITY chooses a pre-shared key
 *     nbd+unix:///EXPORT?socket=PATH            a Unix socket
 *     nbds+unix://[IDENTITY@]/EXPORT?socket=PATH
 *
 * Query: socket=PATH, and for TLS tls-certificates=DIRECTORY, tls-psk-file=FILE, tls-hostname=NAME,
 * tls-verify-peer=0|1. All parts may be percent-encoded. The empty export is the server's default.
 * Source: uri.md of the NetworkBlockDevice project; RFC 3986. Threads: any. */
#ifndef NBD_NBD_URI_H
#define NBD_NBD_URI_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/nbd_proto.h"

struct err;

enum { NBD_PORT = 10809, NBD_URI_NAME_MAX = 256, NBD_URI_SOCKET_MAX = 108, NBD_URI_PATH_MAX = 1024 };

struct nbd_uri {
    bool tls;
    bool local;                      /* a Unix socket */
    char host[NBD_URI_NAME_MAX];     /* without brackets; empty for a Unix socket */
    uint16_t port;                   /* 0 for a Unix socket */
    char socket[NBD_URI_SOCKET_MAX]; /* empty for TCP */
    char export[NBD_STRING_MAX_BYTES + 1];
    char identity[NBD_URI_NAME_MAX]; /* empty: none */
    char tls_certificates[NBD_URI_PATH_MAX];
    char tls_psk_file[NBD_URI_PATH_MAX];
    char tls_hostname[NBD_URI_NAME_MAX];
    bool tls_verify_peer; /* true unless the URI says 0 */
};

/* Errors: -EINVAL and a text that names the part at fault and what would be right; *uri untouched
 * then. */
int nbd_uri_parse(const char *text, struct nbd_uri *uri, struct err *err);

#endif
