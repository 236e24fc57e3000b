/* Reading and writing what a chain's buffers hold, wherever the guest has cut them. Whatever is judged is copied out
 * here first. Thread: the one that holds the chain. */
#ifndef HV_VIRTIO_CHAIN_H
#define HV_VIRTIO_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "hv/virtio/queue.h"

/* How much was copied: less than n where the part ends. at: bytes from the beginning of the part. */
size_t chain_read(const struct chain *c, uint64_t at, void *to, size_t n);          /* the readable part */
size_t chain_write(const struct chain *c, uint64_t at, const void *from, size_t n); /* the writable part */

/* The pieces of [at, at + n) of the readable or writable part, as a vector of their own. Returns their number, or -1
 * if the part is shorter or `max` too small. */
int chain_slice_readable(const struct chain *c, uint64_t at, uint64_t n, struct iovec *to, int max);
int chain_slice_writable(const struct chain *c, uint64_t at, uint64_t n, struct iovec *to, int max);

#endif
