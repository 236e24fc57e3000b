/* A scout runs ahead of a reader and asks a stack where its data is, so that the reader never waits
 * for the answer.
 *
 * It keeps two batches of answers: the reader is in one while the other is being filled. The reader
 * moves forward only: asking about an offset forgets everything before it.
 *
 * Thread: the loop's. Embedded in its owner. */
#ifndef NBD_IMG_SCOUT_H
#define NBD_IMG_SCOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd/blk.h"

enum { IMG_SCOUT_EXTENTS = 512 };

struct img_scout_batch {
    unsigned count, at;
    struct {
        uint64_t end;
        bool zero;
    } run[IMG_SCOUT_EXTENTS];
};

struct img_scout {
    struct blk *blk;
    uint64_t next, end;   /* what has not been asked yet */
    uint64_t grain_bytes; /* zeroes shorter than this count as data */
    bool blind;           /* the stack does not tell: all is data */
    bool busy;
    int result; /* -errno of the query that failed; nothing is known from there on */
    void (*ready)(struct img_scout *scout);

    unsigned current; /* the batch the reader is in */
    struct img_scout_batch batch[2];
    struct blk_req req;
    struct blk_extent extents[IMG_SCOUT_EXTENTS];
};

/* Over [offset, end) of blk; blind: do not ask, all is data. ready() is called after each answer,
 * from the loop. Sends the first query at once. */
void img_scout_start(struct img_scout *scout, struct blk *blk, uint64_t offset, uint64_t end, uint64_t grain_bytes,
                     bool blind, void (*ready)(struct img_scout *scout));

/* What is at offset (in the range, and not before an earlier one), and for how long it stays so.
 * False: not known yet, ready() will follow; or never, see result. */
bool img_scout_look(struct img_scout *scout, uint64_t offset, uint64_t *length_bytes, bool *zero);

/* No more queries; the one that is out (busy) still comes back, with ready(). */
void img_scout_stop(struct img_scout *scout);

#endif
