/* What stream_tls.c needs of a tls_context. */
#ifndef NODE_BASE_TLS_CONTEXT_H
#define NODE_BASE_TLS_CONTEXT_H

#include <openssl/ssl.h>

#include "node/base/tls.h"
#include "node/base/tls_refused.h"

struct tls_context {
    _Atomic unsigned shares; /* beside the first */
    SSL_CTX *ssl;
    enum tls_side side;
    bool verify_peer;
    struct tls_key *keys; /* pre-shared */
    unsigned key_count;
    struct tls_refused *refused; /* NULL: nobody */
};

/* The reason of OpenSSL's last error in words; clears the queue. */
const char *tls_reason(void);

#endif
