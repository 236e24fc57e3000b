/* The two directions of a network card's queue pair: between a port and the guest's buffers, without a copy of ours.
 *
 * Packets are moved by plain system calls that never wait, and the loop is asked only when a port is to be waited for.
 * Reads left pending in io_uring would hold guest buffers across reset and pause, and several of them may complete out
 * of order, which costs TCP more than the system calls do.
 *
 * Receiving keeps a window of taken chains that holds the largest packet, and reads into all of it; what the packet did
 * not need stays in the window for the next one, and goes back untouched when the queue stops.
 *
 * Thread: the I/O thread of the queue. Source: virtio 1.2, 5.1.6. */
#ifndef HV_VIRTIO_NET_LANE_H
#define HV_VIRTIO_NET_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/virtio/net_filter.h"
#include "hv/virtio/net_port.h"
#include "hv/virtio/queue.h"
#include "node/base/loop.h"

struct virtio_queue;

enum { NET_WINDOW = 64, NET_PIECES = 64 };

struct net_counters {
    _Atomic uint64_t packets, bytes, dropped;
};

/* Waiting for a port to become ready. */
struct net_wait {
    struct loop_op op;
    bool armed;
};

struct net_rx {
    struct virtio_queue *vq;
    struct net_port *port;
    struct net_filter *filter;
    void (*gone)(struct net_rx *rx); /* the other side is; once */
    bool merges;                     /* MRG_RXBUF */
    _Atomic uint32_t largest_bytes;  /* packet, header included */
    struct net_counters counters;
    struct net_wait wait;
    bool is_gone;
    struct chain window[NET_WINDOW]; /* a ring */
    unsigned first, count;
    struct iovec *pieces; /* NET_WINDOW * NET_PIECES */
};

struct net_tx {
    struct virtio_queue *vq;
    struct net_port *port;
    struct net_counters counters;
    struct net_wait wait;
    struct iovec pieces[NET_PIECES];
};

bool net_rx_init(struct net_rx *rx); /* false: no memory */
void net_rx_fini(struct net_rx *rx);
void net_rx_start(struct net_rx *rx, bool merges, uint32_t largest_bytes);
void net_rx_run(struct net_rx *rx);
void net_rx_stop(struct net_rx *rx); /* says virtio_queue_stopped() */

void net_tx_init(struct net_tx *tx);
void net_tx_run(struct net_tx *tx);
void net_tx_stop(struct net_tx *tx); /* says virtio_queue_stopped() */

#endif
