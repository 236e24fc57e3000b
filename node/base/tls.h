/* TLS credentials: what a side shows and what it accepts. TLS 1.2 and 1.3, by OpenSSL.
 *
 * X.509: a directory as QEMU, nbdkit and libvirt use it: ca-cert.pem, ca-crl.pem (optional), and server-cert.pem with
 * server-key.pem or client-cert.pem with client-key.pem; beside these, refused-keys (optional; tls_refused.h).
 * Pre-shared keys: a file with lines IDENTITY:HEXKEY, as psktool writes it. A server with X.509 asks for a client
 * certificate and refuses a client without one.
 *
 * A key file that others may read is refused. Thread: contexts are made once and then only read. */
#ifndef NODE_BASE_TLS_H
#define NODE_BASE_TLS_H

#include <limits.h>
#include <stdbool.h>

struct err;
struct tls_context;

enum tls_side { TLS_SERVER, TLS_CLIENT };

/* identity is a client's: which line of the file to use; NULL for a server, or for the first line. */
struct tls_context *tls_context_psk(enum tls_side side, const char *file, const char *identity, struct err *err);
/* Keys that were handed over rather than read: a server knows all of them, a client shows itself with the first.
 * TLS 1.3 only. The secrets are copied, and wiped with the context. Errors: -EINVAL (a key that is not 16 to 64 bytes,
 * an identity of over 128), -ENOMEM. */
struct tls_secret {
    const char *identity;
    const unsigned char *key;
    unsigned key_bytes;
};
struct tls_context *tls_context_secrets(enum tls_side side, const struct tls_secret *secrets, unsigned count,
                                        struct err *err);
/* verify_peer false: a server takes clients without certificate, a client takes any server. A client's certificate is
 * optional in the directory. */
struct tls_context *tls_context_x509(enum tls_side side, const char *directory, bool verify_peer, struct err *err);
/* The names of a client's files in such a directory, for libraries that want names. */
struct tls_client_files {
    char ca[PATH_MAX], certificate[PATH_MAX], key[PATH_MAX];
};
void tls_client_files(const char *directory, struct tls_client_files *files);
/* This server takes clients without a certificate, too; one that is shown must still be right. */
void tls_context_peer_optional(struct tls_context *context);
/* A client that trusts the system's certificate authorities and shows nothing. */
struct tls_context *tls_context_system(struct err *err);
/* The same once more: each is to be freed. */
struct tls_context *tls_context_share(struct tls_context *context);
void tls_context_free(struct tls_context *context);

#endif
