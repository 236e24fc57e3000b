/* Randomness for the guest, from the host's kernel: virtio-rng. A guest gets VIRTIO_RNG_BYTES_PER_SECOND at the most,
 * or what it was given, so that it cannot keep a processor of the host busy with it. Threads: main. Source:
 * virtio 1.2, 5.4. */
#ifndef HV_VIRTIO_VIRTIO_RNG_H
#define HV_VIRTIO_VIRTIO_RNG_H

#include <stdint.h>

struct err;
struct io_thread;
struct memory;
struct virtio_device;
struct virtio_rng;

enum { VIRTIO_RNG_BYTES_PER_SECOND = 1 << 20 };

/* bytes_per_second 0: VIRTIO_RNG_BYTES_PER_SECOND. */
int virtio_rng_new(struct memory *memory, struct io_thread *io, uint64_t bytes_per_second, struct virtio_rng **rng,
                   struct err *err);
void virtio_rng_free(struct virtio_rng *rng); /* NULL is accepted */
struct virtio_device *virtio_rng_device(struct virtio_rng *rng);

#endif
