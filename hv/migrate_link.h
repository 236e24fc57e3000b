/* One connection of a migration: a socket under TLS, used by a thread that may wait.
 *
 * Every call ends: when the other side moves no byte for the link's patience, when it hangs up, or when `wake` becomes
 * readable because this side gives up. The error sticks, so that a caller may look at the last call alone.
 *
 * The process ignores SIGPIPE. Threads: one at a time; the counters may be read by any. */
#ifndef HV_MIGRATE_LINK_H
#define HV_MIGRATE_LINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/migrate_wire.h"

struct err;
struct ssl_st;
struct tls_context;

struct migrate_link {
    int fd, wake;
    struct ssl_st *ssl;
    uint64_t patience_ns;
    uint8_t *out;                /* what is collected before it is encrypted */
    size_t out_bytes;            /* ... of which nothing has left */
    int failed;                  /* 0, or the error that ended it */
    uint64_t waited_ns;          /* for the other side to take bytes */
    _Atomic uint64_t sent_bytes; /* before encryption */
};

/* Takes fd, a connected stream socket, on failure, too. wake: see above. -EACCES: the other side has another key, or
 * none. */
int migrate_link_open(struct migrate_link *link, int fd, int wake, uint64_t patience_ns, struct tls_context *context,
                      struct err *err);
void migrate_link_close(struct migrate_link *link); /* one that was never opened (all zero) is accepted */
bool migrate_link_is_open(const struct migrate_link *link);
/* The PSK identity the peer showed (a server's link). */
const char *migrate_link_peer(const struct migrate_link *link);

/* Collects; leaves when there is enough of it, or with _flush. Errors: -EPIPE, -ETIMEDOUT, -ECANCELED. */
int migrate_link_put(struct migrate_link *link, const struct migrate_frame *frame, const void *body, struct err *err);
/* The same with a body in two parts: `first`, and what is left of frame->bytes. */
int migrate_link_put_parts(struct migrate_link *link, const struct migrate_frame *frame, const void *first,
                           size_t first_bytes, const void *rest, struct err *err);
int migrate_link_flush(struct migrate_link *link, struct err *err);
int migrate_link_get(struct migrate_link *link, void *to, size_t bytes, struct err *err);
/* Something has come, or the other side has hung up: a get would not begin to wait. */
bool migrate_link_has_input(const struct migrate_link *link);
/* No more than little is on its way in our kernel, so that what is urgent does not queue behind what is not. */
void migrate_link_keep_short(struct migrate_link *link);
/* A header; its body is to be got next. */
int migrate_link_get_frame(struct migrate_link *link, struct migrate_frame *frame, struct err *err);

#endif
