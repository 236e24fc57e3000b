/* A network card: virtio-net between a guest and taps or datagram sockets (net_port.h).
 *
 * Queue pair i uses fds[i] and is served by ios[i modulo io_count]; the control queue by ios[0]. A tap brings checksum
 * and segmentation offloads; several pairs need a tap with IFF_MULTI_QUEUE, of which the guest's driver turns on as
 * many as it wants.
 *
 * Threads: new and free main; announce, set_link and stats any. Source: virtio 1.2, 5.1. */
#ifndef HV_VIRTIO_VIRTIO_NET_H
#define HV_VIRTIO_VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct io_thread;
struct memory;
struct virtio_device;
struct virtio_net;

enum { VIRTIO_NET_PAIRS_MAX = 16, VIRTIO_NET_QUEUE_SIZE = 256 };

struct virtio_net_options {
    uint8_t mac[6];
    uint16_t mtu; /* told to the guest; 0: not, and frames are those of 1500 */
    bool tap;     /* fds are queues of one tap; else datagram sockets */
    unsigned pairs;
    const int *fds; /* the caller's, open until virtio_net_free() */
    struct io_thread *const *ios;
    unsigned io_count;
    uint16_t queue_size; /* 0: VIRTIO_NET_QUEUE_SIZE */
};

struct virtio_net_stats {
    uint64_t received_packets, received_bytes, received_dropped; /* by the guest */
    uint64_t sent_packets, sent_bytes, sent_dropped;
};

int virtio_net_new(struct memory *memory, const struct virtio_net_options *options, struct virtio_net **vn,
                   struct err *err);
void virtio_net_free(struct virtio_net *vn); /* NULL is accepted */
struct virtio_device *virtio_net_device(struct virtio_net *vn);

/* Asks the guest to announce itself to its neighbours, as after a move. */
void virtio_net_announce(struct virtio_net *vn);
/* The same, said for it: a frame (RARP) from its address, so that switches learn where it is now, whatever its driver
 * does. */
void virtio_net_announce_for(struct virtio_net *vn);
void virtio_net_set_link(struct virtio_net *vn, bool up);
void virtio_net_stats(const struct virtio_net *vn, struct virtio_net_stats *stats);

#endif
