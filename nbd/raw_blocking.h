/* What a raw driver does on a worker thread: system calls that wait.
 *
 * Thread: any. All return 0 or -errno, and have done everything or report the failure. */
#ifndef NBD_RAW_BLOCKING_H
#define NBD_RAW_BLOCKING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct blk_extent;

/* Moves the bytes of iov from or to fd at offset, the first `done_bytes` of them having been moved already. The end of
 * the file inside the range: -EIO (the file shrank under us). */
int raw_transfer(int fd, bool write, const struct iovec *iov, int count, uint64_t offset, uint64_t done_bytes);

/* The same through a bounce buffer of `align` alignment (O_DIRECT and a caller's odd address). */
int raw_transfer_bounced(int fd, bool write, const struct iovec *iov, int count, uint64_t offset,
                         uint64_t length_bytes);

/* Writes zeroes, without asking the file system for anything cleverer. */
int raw_write_zeroes(int fd, uint64_t offset, uint64_t length_bytes);

/* Fills extents from SEEK_DATA/SEEK_HOLE; *count of them, 1 to max. */
int raw_extents(int fd, uint64_t offset, uint64_t length_bytes, struct blk_extent *extents, uint32_t max,
                uint32_t *count);

#endif
