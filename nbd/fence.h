/* The driver "fence": only the newest owner may use what lies below. It keeps the epoch of that owner in front of the
 * data, so that an export of such a stack can refuse whoever comes with an older one, also after a crash:
 *
 *     [{"driver":"fence"},{"driver":"raw","file":"member.img"}]        the export is asked for as NAME@EPOCH
 *
 *     0        record, 512 bytes, written in turn with the other, so that a torn one loses nothing:
 *     4096     record                magic "DROVERFE" (8), version 1 (4), 0 (4), sequence (8), epoch (8),
 *                                    SHA-256 of those 32 bytes (32); integers big-endian, the rest 0
 *     65536    data
 *
 * A place that is all zeroes in front is a new one: epoch 0. Whatever else is no record is somebody's data, and is
 * refused. The server (nbd_server.c) does what the epoch means; this keeps it. Thread: the loop's. */
#ifndef NBD_FENCE_H
#define NBD_FENCE_H

#include <stdint.h>
#include <sys/queue.h>

struct blk;
struct blk_driver;
struct fence;

enum { FENCE_BYTES = 64 << 10 };

extern const struct blk_driver fence_driver;

/* That of a stack, wherever in it; NULL: it has none. */
struct fence *fence_of(struct blk *top);

/* What is on stable storage. */
uint64_t fence_epoch(const struct fence *fence);

struct fence_raise {
    uint64_t epoch;
    /* Later, once. 0: that epoch, or a greater one, is on stable storage; -errno: it could not be written. */
    void (*done)(struct fence_raise *raise, int result);
    STAILQ_ENTRY(fence_raise) link;
};

/* The caller has filled epoch and done. */
void fence_raise(struct fence *fence, struct fence_raise *raise);

#endif
