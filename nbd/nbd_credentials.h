/* TLS credentials of NBD clients. A process that gives up its rights and opens a disk later cannot read them then: it
 * keeps them before, and whoever opens a stack is given the kept ones.
 *
 * Threads: any. */
#ifndef NBD_NBD_CREDENTIALS_H
#define NBD_NBD_CREDENTIALS_H

#include "nbd/nbd_uri.h"

struct err;
struct json_t;
struct tls_context;

/* What a layer of a stack says of where its server is, NULL where it says nothing; the options win over the URI. */
struct nbd_place {
    const char *uri, *export, *tls_certificates, *tls_psk_file, *tls_hostname;
};
/* -EINVAL with a text. */
int nbd_place_uri(const struct nbd_place *place, struct nbd_uri *uri, struct err *err);

/* *tls: the caller's to free; NULL without TLS. Errors: what reading the files may meet, -EINVAL for what does not fit
 * together. */
int nbd_credentials_open(const struct nbd_uri *uri, struct tls_context **tls, struct err *err);
/* Those of every nbd layer in a stack, also of members within, for as long as the process lives. */
int nbd_credentials_keep(const struct json_t *layers, struct err *err);

#endif
