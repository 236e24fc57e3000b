/* Where a LUKS header is read and written: any place with offsets. Calls wait for their end.
 *
 * Two kinds: a layer of a stack (luks_io_blk()), and whatever a test makes of it. Thread: the owner's. */
#ifndef NBD_LUKS_IO_H
#define NBD_LUKS_IO_H

#include <stddef.h>
#include <stdint.h>

struct blk;
struct err;

struct luks_io {
    uint64_t size_bytes;
    /* 0 or -errno. Ranges are inside size_bytes. */
    int (*read)(struct luks_io *io, uint64_t offset, void *data, size_t len_bytes);
    int (*write)(struct luks_io *io, uint64_t offset, const void *data, size_t len_bytes);
    int (*flush)(struct luks_io *io);
};

/* The same, checked against the size, and with a sentence about `what`. */
int luks_io_read(struct luks_io *io, const char *what, uint64_t offset, void *data, size_t len_bytes, struct err *err);
int luks_io_write(struct luks_io *io, const char *what, uint64_t offset, const void *data, size_t len_bytes,
                  struct err *err);
int luks_io_flush(struct luks_io *io, const char *what, struct err *err);

struct luks_io_blk {
    struct luks_io io;
    struct blk *blk;
};

/* Reads and writes of a layer; a range that is not aligned is rounded outwards. The calls turn the layer's loop. */
void luks_io_blk(struct blk *blk, struct luks_io_blk *io);

#endif
