/* Keys that are let in no more, whatever certificate they show: a file with a line for each, the SHA-256 of the
 * certificate's SubjectPublicKeyInfo (RFC 5280, 4.1; what RFC 7469 calls a pin) in hex, and maybe a space and words for
 * people behind it. It needs no authority that is at hand and never runs out, as a CRL does, and holds for all
 * certificates that were made for a key.
 *
 * Thread: made once and then only read. */
#ifndef NODE_BASE_TLS_REFUSED_H
#define NODE_BASE_TLS_REFUSED_H

#include <openssl/x509.h>
#include <stdbool.h>

struct err;
struct tls_refused;

enum { TLS_REFUSED_MAX = 65536, TLS_KEY_DIGEST_TEXT = 65 };

/* 0 with *refused NULL: there is no such file. -EINVAL: a line that is none, with its number; -EFBIG: over
 * TLS_REFUSED_MAX lines. */
int tls_refused_load(const char *path, struct tls_refused **refused, struct err *err);
void tls_refused_free(struct tls_refused *refused);
/* NULL: holds nobody. */
bool tls_refused_has(const struct tls_refused *refused, X509 *certificate);
/* As it stands in the file. -ENOMEM. */
int tls_key_digest(X509 *certificate, char text[TLS_KEY_DIGEST_TEXT]);

#endif
