/* The stream of one connection and who uses it just now: the handshake, then the link. Thread: the
 * loop's. */
#ifndef NBD_NBD_WIRE_H
#define NBD_NBD_WIRE_H

#include "node/base/container.h"
#include "node/base/stream.h"

struct nbd_wire {
    struct stream stream;
    void *user; /* found back by the callbacks of the stream */
};

static inline void *nbd_wire_user(struct stream *stream)
{
    return CONTAINER_OF(stream, struct nbd_wire, stream)->user;
}

#endif
