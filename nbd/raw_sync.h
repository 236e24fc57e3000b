/* Making a raw file's changes durable: flushes that arrive together share an fdatasync, a few of those run side by
 * side, and a failure is never forgotten.
 *
 * Thread: the loop's. Each fdatasync that runs beside others has an open file description of its own: the kernel
 * reports a write-back error once to each description, so one that returns success has seen none, whatever the others
 * saw. */
#ifndef NBD_RAW_SYNC_H
#define NBD_RAW_SYNC_H

#include <stdbool.h>

#include "nbd/blk_driver.h"

enum { RAW_SYNC_LANES = 8 };

struct raw_sync_lane {
    struct raw_sync *sync;
    int fd;
    bool busy;
    struct blk_req_list requests; /* covered by the fdatasync that is running */
    struct loop_op op;
};

struct raw_sync {
    struct loop *loop;
    bool dirty; /* something changed since the newest fdatasync began */
    int failed; /* 0, or -EIO for ever */
    struct raw_sync_lane lanes[RAW_SYNC_LANES], *newest;
    unsigned lane_count;
    struct blk_req_list waiting;
};

/* fd stays the caller's. Lanes that cannot be opened are done without. */
void raw_sync_init(struct raw_sync *sync, struct loop *loop, int fd, bool writable);
void raw_sync_fini(struct raw_sync *sync); /* nothing may be waiting */

/* A change of the file has completed; to be called before the request that made it completes. */
void raw_sync_changed(struct raw_sync *sync);

/* Completes req once everything changed so far is durable; with -EIO if any fdatasync has ever failed. */
void raw_sync_flush(struct raw_sync *sync, struct blk_req *req);

/* Is an fdatasync running? */
bool raw_sync_running(const struct raw_sync *sync);

#endif
