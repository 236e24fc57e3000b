/* The data of a LUKS volume: requests to ciphered requests of the layer below.
 *
 *     READ                 below, straight into the caller's buffers -> decrypted there
 *     WRITE, ZERO, growth  parts, each: encrypted into a buffer of the pool -> below
 *
 * A request of one part is ciphered at once, on the loop's thread; the parts of a longer one by the worker, so that the
 * loop is not held up. At most LUKS_PARTS_MAX parts of a request exist at a time, so a ZERO of any length takes little
 * memory.
 *
 * The size of a part, measured: requests of 128 KiB cost 43 to 69 % more CPU time in parts of 64 KiB on workers than at
 * once. Of 1 MiB, four at a time, parts of 256 KiB on two workers are 3 to 16 % faster than at once for up to 12 % more
 * CPU time, and the loop is free meanwhile; one at a time they are slower to read (20 %). Thread: the loop's. */
#ifndef NBD_LUKS_TRANSFER_H
#define NBD_LUKS_TRANSFER_H

#include "nbd/blk_driver.h"
#include "nbd/luks_cipher.h"

enum {
    LUKS_PART_BYTES = 256 << 10,
    LUKS_PARTS_MAX = 8,
};

struct luks_part;

struct luks_transfer {
    struct blk *blk;
    struct luks_cipher *cipher;
    uint64_t payload_offset, iv_tweak;
    size_t part_bytes; /* LUKS_PART_BYTES, or what the layer below takes */
    SLIST_HEAD(, luks_part) idle;
};

/* cipher becomes the transfer's. */
void luks_transfer_init(struct luks_transfer *t, struct blk *blk, struct luks_cipher *cipher, uint64_t payload_offset,
                        uint64_t iv_tweak);
void luks_transfer_fini(struct luks_transfer *t);

/* Each completes req. */
void luks_transfer_read(struct luks_transfer *t, struct blk_req *req);
void luks_transfer_write(struct luks_transfer *t, struct blk_req *req);
/* [from, to) reads as zeroes then, for a ZERO or a RESIZE. */
void luks_transfer_zero(struct luks_transfer *t, struct blk_req *req, uint64_t from, uint64_t to);

#endif
