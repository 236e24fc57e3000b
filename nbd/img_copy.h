/* Copies a window of one stack onto another: the engine behind `drover-img copy`.
 *
 * N slots, each with a buffer; a slot reads a piece, writes it, and takes the next. Pieces that the
 * source reports as zeroes are never read; data that turns out to be zeroes is not written
 * (img_copy_sparse). Data is not copied in user space. The first error stops everything; what is in
 * flight is waited for.
 *
 * Alignment: a piece that is not a multiple of the source's alignment is read with its
 * surroundings; one that does not fill the destination's first or last block is put into what is
 * there (read, changed, written).
 *
 * Thread: the loop's. The two stacks belong to the caller and outlive the copy. */
#ifndef NBD_IMG_COPY_H
#define NBD_IMG_COPY_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct blk_env;
struct err;
struct img_copy;

enum img_copy_sparse {
    IMG_COPY_SPARSE_AUTO,   /* skip what the source reports as zeroes; look for zeroes in blocks of 64
                               KiB */
    IMG_COPY_SPARSE_ALWAYS, /* the same in blocks of 4 KiB */
    IMG_COPY_SPARSE_NEVER,  /* read and write every byte */
};

enum { IMG_COPY_REQUESTS = 16, IMG_COPY_REQUESTS_MAX = 1024, IMG_COPY_REQUEST_BYTES = 256 << 10 };

struct img_copy_options {
    uint64_t offset, to_offset, length_bytes;
    unsigned requests;      /* in flight, 1 to IMG_COPY_REQUESTS_MAX; 0: the default */
    uint32_t request_bytes; /* 0: the default; cut down to what both stacks take */
    enum img_copy_sparse sparse;
    bool destination_is_zero; /* it reads as zeroes all over: zeroes need not be written at all */
    bool no_flush;
};

struct img_copy_totals {
    uint64_t copied_bytes;     /* read and written */
    uint64_t zero_bytes;       /* reported as zeroes and not read, or found to be and not written as data */
    uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC; end 0: still running */
};

/* Starts. done(context, 0 or -errno, text) is called once, from the loop, when nothing is in flight
 * any more; the text names what failed, where and why. Errors: -EINVAL a window that does not fit,
 * or an alignment that cannot be kept; -ENOMEM. */
int img_copy_start(const struct blk_env *env, struct blk *source, struct blk *destination,
                   const struct img_copy_options *options,
                   void (*done)(void *context, int result, const struct err *err), void *context,
                   struct img_copy **copy, struct err *err);
/* Ends early: done() gets -ECANCELED unless something failed or it had all been done. */
void img_copy_stop(struct img_copy *copy);
struct img_copy_totals img_copy_totals(const struct img_copy *copy);
/* After done(), not inside it. NULL is accepted. */
void img_copy_free(struct img_copy *copy);

#endif
