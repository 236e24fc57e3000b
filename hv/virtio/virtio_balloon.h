/* The balloon: the guest lends memory to the host, and reports what it has free.
 *
 * Pages that the guest gives away, or reports as free, leave the host's memory at once (holes in the memfd, in runs as
 * long as the guest's pages allow); when it touches them again they are there, empty. A guest in need takes them back
 * by itself (DEFLATE_ON_OOM).
 *
 * Threads: main; set_target with the bus locked. Source: virtio 1.2, 5.5. */
#ifndef HV_VIRTIO_VIRTIO_BALLOON_H
#define HV_VIRTIO_VIRTIO_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct io_thread;
struct memory;
struct virtio_balloon;
struct virtio_device;

/* Bytes, or counts of faults; what a guest did not say is UINT64_MAX. */
struct virtio_balloon_stats {
    uint64_t swapped_in, swapped_out, major_faults, minor_faults, free, total, available, caches;
    uint64_t updates;                 /* how often the guest has answered */
    uint64_t target, inflated;        /* bytes: what we want it to lend, what it says it lends */
    uint64_t given_bytes, free_bytes; /* bytes since power-on: by inflating, by reporting */
};

int virtio_balloon_new(struct memory *memory, struct io_thread *io, struct virtio_balloon **vb, struct err *err);
void virtio_balloon_free(struct virtio_balloon *vb); /* NULL is accepted */
struct virtio_device *virtio_balloon_device(struct virtio_balloon *vb);

/* How much the guest shall lend. More than its memory is all of it; a guest lends what it can. */
void virtio_balloon_set_target(struct virtio_balloon *vb, uint64_t bytes);
/* Asks the guest for new figures, which come when it has them (updates counts). */
void virtio_balloon_ask_stats(struct virtio_balloon *vb);
void virtio_balloon_stats(struct virtio_balloon *vb, struct virtio_balloon_stats *stats);

#endif
