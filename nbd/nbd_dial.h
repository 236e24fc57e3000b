/* Getting a connected socket to a server: the only place of the NBD client that makes sockets, so
 * that a process which must not make any can have them handed over instead.
 *
 * Names are resolved once, by nbd_peer_resolve(), which may block and read files; dialling needs
 * neither and works in a sealed process. Thread: the loop's. */
#ifndef NBD_NBD_DIAL_H
#define NBD_NBD_DIAL_H

#include <stdbool.h>
#include <sys/socket.h>

#include "node/base/err.h"
#include "node/base/loop.h"

struct nbd_uri;

enum { NBD_PEER_ADDRESSES_MAX = 8 };

struct nbd_peer {
    struct nbd_address {
        struct sockaddr_storage socket_address;
        socklen_t len;
    } address[NBD_PEER_ADDRESSES_MAX];
    unsigned count;
};

/* Errors: -ENOENT and a text if the host has no address. */
int nbd_peer_resolve(const struct nbd_uri *uri, struct nbd_peer *peer, struct err *err);

struct nbd_dial {
    void (*done)(struct nbd_dial *dial, int fd);
    struct err err; /* why it failed */

    const struct nbd_peer *peer;
    struct loop *loop;
    struct loop_job job;
    struct loop_op poll;
    unsigned next; /* address to be tried */
    int fd;        /* being connected; -1: none */
    bool busy, cancelled;
};

/* Tries the peer's addresses one after the other. done(), later: a blocking connected socket that
 * is the caller's now, or -errno with dial->err. One at a time per dial. */
void nbd_dial_start(struct nbd_dial *dial, struct loop *loop, const struct nbd_peer *peer,
                    void (*done)(struct nbd_dial *dial, int fd));
/* done() comes soon, with -ECANCELED or with what was there already. Nothing happens if the dial is
 * not busy. */
void nbd_dial_cancel(struct nbd_dial *dial);

#endif
