/* One connection of a vsock device: its socket, its credit, and what it has to tell the guest.
 *
 *     GREETS (a client is writing "CONNECT P") -> ASKS (the guest has not answered) -> OPEN -> DYING -> free
 *     (dialled by the guest)                                                         OPEN
 *
 * DYING: the socket is closed, and a poll of it is still to come back. Thread: the I/O thread. */
#ifndef HV_VIRTIO_VSOCK_LINK_H
#define HV_VIRTIO_VSOCK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "node/base/loop.h"

struct io_thread;
struct virtio_vsock;
struct vsock_link;

enum vsock_phase { VSOCK_FREE, VSOCK_GREETS, VSOCK_ASKS, VSOCK_OPEN, VSOCK_DYING };

/* What is to be said to the guest, one packet each, in this order. */
enum vsock_wish {
    VSOCK_WISH_RESET = 1,
    VSOCK_WISH_REQUEST = 2,
    VSOCK_WISH_RESPONSE = 4,
    VSOCK_WISH_CREDIT_UPDATE = 8,
    VSOCK_WISH_CREDIT_REQUEST = 16,
    VSOCK_WISH_DATA = 32, /* the socket has something, or has ended */
    VSOCK_WISH_SHUTDOWN = 64,
};

enum { VSOCK_GREETING_BYTES = 20 };

struct vsock_watch {
    struct loop_op op;
    bool armed;
};

struct vsock_link {
    struct io_thread *io;
    struct virtio_vsock *owner;
    void (*changed)(struct vsock_link *link); /* wishes, or a phase: the device looks */
    enum vsock_phase phase;
    int fd;
    uint32_t host_port, guest_port;
    bool greeted;                          /* a client that waits for "OK" */
    bool guest_is_done;                    /* sends no more */
    bool guest_is_deaf;                    /* takes no more */
    bool host_is_done;                     /* the socket has ended */
    bool waits_credit;                     /* for sending to the guest */
    unsigned wishes;                       /* enum vsock_wish */
    uint32_t peer_alloc, peer_taken, sent; /* the guest's buffer, what it took, what we sent: modulo 2^32 */
    uint32_t received, taken, taken_told;  /* from the guest; by the socket; as we said */
    uint8_t *ring;                         /* what the socket has not taken; NULL: nothing waits */
    size_t ring_first, ring_count;
    struct vsock_watch in, out;
    char greeting[VSOCK_GREETING_BYTES + 1];
    size_t greeting_bytes;
    bool listed;
    TAILQ_ENTRY(vsock_link) ready; /* the device's: those with wishes */
    LIST_ENTRY(vsock_link) place;  /* the device's: all of one hash */
};

void vsock_link_init(struct vsock_link *link, struct io_thread *io, struct virtio_vsock *owner,
                     void (*changed)(struct vsock_link *));
/* From free to a phase. */
void vsock_link_open(struct vsock_link *link, int fd, enum vsock_phase phase);
/* Closes the socket; free at once or soon. */
void vsock_link_drop(struct vsock_link *link);

void vsock_link_watch_in(struct vsock_link *link);
/* Reads on until the line is there. 1: guest_port is set; 0: not yet; -errno: nonsense, or the client is gone. */
int vsock_link_greet(struct vsock_link *link);

/* How much may be sent to the guest now. */
uint32_t vsock_link_credit(const struct vsock_link *link);
/* From the guest: all of it is taken, by the socket or into the ring. -ENOBUFS: more than the guest's credit; -errno of
 * the socket. */
int vsock_link_write(struct vsock_link *link, const struct iovec *iov, int count, size_t bytes);
/* Towards the guest, into its buffers: bytes, 0 at the end, -EAGAIN, or -errno. */
ssize_t vsock_link_read(struct vsock_link *link, const struct iovec *iov, int count);
/* The guest sends no more: the socket learns it when it has taken everything. */
void vsock_link_finish(struct vsock_link *link);
bool vsock_link_is_flushed(const struct vsock_link *link);

#endif
