/* Stream sockets between guest and host: virtio-vsock. The host's side of a connection is a stream socket that somebody
 * else connected or accepted.
 *
 *     guest connects to port P of the host     -> host->dial(P) gives a connected socket, or an error
 *     a client of the listening socket writes
 *     "CONNECT P\n"                            -> the guest's port P; "OK N\n" comes back when it has accepted
 *     virtio_vsock_connect(fd, P)              -> the same, without the words
 *
 * Bounded: VIRTIO_VSOCK_LINKS connections; for each, VIRTIO_VSOCK_BUFFER_BYTES that the guest may have sent and the
 * host not yet taken (its credit); nothing is buffered in the other direction, where bytes go from the socket straight
 * into the guest's buffers. Connections end where a guest is saved or moved: the driver is told by an event.
 *
 * Threads: main; dial on the I/O thread. Source: virtio 1.2, 5.10. */
#ifndef HV_VIRTIO_VIRTIO_VSOCK_H
#define HV_VIRTIO_VIRTIO_VSOCK_H

#include <stdint.h>

struct err;
struct io_thread;
struct memory;
struct virtio_device;
struct virtio_vsock;

enum { VIRTIO_VSOCK_LINKS = 256, VIRTIO_VSOCK_BUFFER_BYTES = 64 << 10, VIRTIO_VSOCK_HOST_CID = 2 };

struct virtio_vsock_host {
    /* A connected stream socket, which becomes the device's, or -errno: the guest's connection is refused. Does not
     * wait. I/O thread. */
    int (*dial)(struct virtio_vsock_host *host, uint32_t port);
};

struct virtio_vsock_options {
    uint32_t cid;                   /* the guest's: 3 or more */
    int listen_fd;                  /* a listening stream socket, the caller's; -1: none */
    struct virtio_vsock_host *host; /* NULL: the guest finds nobody */
};

int virtio_vsock_new(struct memory *memory, struct io_thread *io, const struct virtio_vsock_options *options,
                     struct virtio_vsock **vs, struct err *err);
void virtio_vsock_free(struct virtio_vsock *vs); /* ends all connections; NULL is accepted */
struct virtio_device *virtio_vsock_device(struct virtio_vsock *vs);

/* fd: a connected stream socket; the device's from here on, if 0. -EBUSY: too many connections. */
int virtio_vsock_connect(struct virtio_vsock *vs, int fd, uint32_t port);

#endif
