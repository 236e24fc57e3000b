/* TLS credentials: what a side shows and what it accepts. TLS 1.2 and 1.3, by OpenSSL.
 *
 * X.509: a directory as QEMU, nbdkit and libvirt use it: ca-cert.pem, ca-crl.pem (optional), and server-cert.pem with
 * server-key.pem or client-cert.pem with client-key.pem. Pre-shared keys: a file with lines IDENTITY:HEXKEY, as
 * psktool writes it. A server with X.509 asks for a client certificate and refuses a client without one.
 *
 * A key file that others may read is refused. Thread: contexts are made once and then only read. */
#ifndef NODE_BASE_TLS_H
#define NODE_BASE_TLS_H

#include <stdbool.h>

struct err;
struct tls_context;

enum tls_side { TLS_SERVER, TLS_CLIENT };

/* identity is a client's: which line of the file to use; NULL for a server, or for the first line. */
struct tls_context *tls_context_psk(enum tls_side side, const char *file, const char *identity, struct err *err);
/* verify_peer false: a server takes clients without certificate, a client takes any server. A client's certificate is
 * optional in the directory. */
struct tls_context *tls_context_x509(enum tls_side side, const char *directory, bool verify_peer, struct err *err);
/* A client that trusts the system's certificate authorities and shows nothing. */
struct tls_context *tls_context_system(struct err *err);
void tls_context_free(struct tls_context *context);

#endif
