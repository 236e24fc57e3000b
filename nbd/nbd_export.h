/* An export: a stack under a name, and who may use it. Thread: the loop's. */
#ifndef NBD_NBD_EXPORT_H
#define NBD_NBD_EXPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct blk;
struct err;
struct fence;
struct stream;

enum { NBD_ALLOW_MAX = 64 };

struct nbd_export {
    char *name;          /* UTF-8, up to 4096 bytes; "" is the default export */
    char *description;   /* may be NULL */
    struct blk *blk;     /* owned */
    bool tls_only;       /* SELECTIVETLS: only over TLS */
    bool can_resize;     /* offer RESIZE */
    struct fence *fence; /* of the stack; NULL: none. Set by nbd_server_add() */
    unsigned allow_count;
    char *allow[NBD_ALLOW_MAX]; /* names of peers; none: everybody */
    unsigned users;             /* connections in transmission */
    unsigned departed;          /* requests still in the stack whose connection has ended */
    STAILQ_ENTRY(nbd_export) link;
};

STAILQ_HEAD(nbd_export_list, nbd_export);

/* Copies the texts. Errors: -EINVAL a name or description longer than the protocol allows. */
int nbd_export_new(const char *name, struct nbd_export **export, struct err *err);
/* Closes the stack: nothing may be in flight. NULL is accepted. */
void nbd_export_free(struct nbd_export *export);

int nbd_export_describe(struct nbd_export *export, const char *description, struct err *err);
int nbd_export_allow(struct nbd_export *export, const char *peer, struct err *err);
bool nbd_export_allows(const struct nbd_export *export, const struct stream *peer);

/* Transmission flags for a client that negotiated these. */
uint16_t nbd_export_flags(const struct nbd_export *export, bool structured, bool extended, bool has_contexts);

#endif
