/* A disk: virtio-blk on a stack of the block layer.
 *
 * Data goes between the stack and the guest's memory without a copy of ours. Requests of all queues are served by the
 * stack's own I/O thread. A stack that waits (its server is away) makes the guest wait; an error reaches the guest only
 * if the stack reports one.
 *
 * Write cache: a guest that negotiated FLUSH has a volatile one, which it empties by FLUSH and may turn off
 * (CONFIG_WCE); for any other, and while it is off, each write is durable when it is done (BLK_FUA).
 *
 * Threads: main; the stack's is the I/O thread's. Source: virtio 1.2, 5.2. */
#ifndef HV_VIRTIO_VIRTIO_BLK_H
#define HV_VIRTIO_VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/blk.h"

struct err;
struct io_thread;
struct memory;
struct virtio_blk;
struct virtio_device;

enum { VIRTIO_BLK_QUEUE_SIZE = 256, VIRTIO_BLK_QUEUES_MAX = 16 };

struct virtio_blk_options {
    const char *serial;  /* up to 20 characters; NULL: none */
    unsigned queues;     /* 0: one */
    uint16_t queue_size; /* 0: VIRTIO_BLK_QUEUE_SIZE; a power of two, 4 to QUEUE_SIZE_MAX */
    bool write_through;  /* the cache begins turned off */
};

/* What a guest has been told of its disk, and relies on. */
struct virtio_blk_shape {
    uint64_t size_bytes, features;
    uint32_t block_bytes, segments, segment_bytes;
};

/* blk: opened on io's thread, by the caller, who closes it there after virtio_blk_free(); NULL: it is attached later,
 * before the guest runs. Errors: -EINVAL (a stack
 * whose alignment no guest takes; options), -ENOMEM, with a text. */
int virtio_blk_new(struct memory *memory, struct io_thread *io, struct blk *blk,
                   const struct virtio_blk_options *options, struct virtio_blk **vb, struct err *err);
void virtio_blk_free(struct virtio_blk *vb); /* waits for requests in flight; NULL is accepted */
struct virtio_device *virtio_blk_device(struct virtio_blk *vb);

/* While the device is paused and no vCPU runs: another stack, or the first. told: what the guest knows, NULL: nothing
 * yet. -EINVAL: it cannot be that disk. */
int virtio_blk_attach(struct virtio_blk *vb, struct blk *blk, const struct virtio_blk_shape *told, struct err *err);
/* The caller closes the stack; one is attached before the guest runs again. */
void virtio_blk_detach(struct virtio_blk *vb, struct virtio_blk_shape *told);

/* Resizes the stack and tells the guest. done is posted to loop; result: 0 or -errno. */
struct virtio_blk_resize {
    uint64_t size_bytes;
    struct loop *loop;
    struct loop_message done;
    int result;
    /* the device's */
    struct virtio_blk *vb;
    struct loop_message start;
    struct blk_req req;
};
void virtio_blk_resize(struct virtio_blk *vb, struct virtio_blk_resize *resize);

#endif
