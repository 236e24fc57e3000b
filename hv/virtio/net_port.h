/* The other end of a network card's queue pair: a queue of a tap, or a datagram socket, opened by somebody else.
 *
 * A tap exchanges frames behind the guest's own header (struct virtio_net_hdr_v1), which carries checksum and
 * segmentation offloads through the host's stack. A socket exchanges bare frames.
 *
 * System calls here never wait. Thread: the queue's I/O thread; init from the main one. */
#ifndef HV_VIRTIO_NET_PORT_H
#define HV_VIRTIO_NET_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct err;

enum { NET_HEADER_BYTES = 12, NET_VECTOR_MAX = 256 };

struct net_port {
    int fd; /* the caller's */
    bool tap;
};

/* Makes fd fit: not blocking; a tap: with our header. Errors: -errno with a text. */
int net_port_init(struct net_port *port, int fd, bool tap, struct err *err);

/* One packet into the vector, whose first NET_HEADER_BYTES are the header's place. Its length, header included; or
 * -EAGAIN, -EMSGSIZE (it did not fit and is gone), 0 or another -errno (the other side is gone). */
ssize_t net_port_receive(const struct net_port *port, const struct iovec *iov, int count);
/* One packet, header first. 0, -EAGAIN, or -errno: it is dropped. */
int net_port_send(const struct net_port *port, const struct iovec *iov, int count);

/* What a tap may hand to the guest: bits of VIRTIO_NET_F_GUEST_*. */
int net_port_set_offloads(const struct net_port *port, uint64_t features);
/* A queue of a tap takes part, or not. */
int net_port_attach(const struct net_port *port, bool attached);

#endif
