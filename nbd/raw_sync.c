/* See raw_sync.h.
 *
 * Invariants
 *   1. A request completes with 0 only if an fdatasync that began after it arrived, or after the last change before it,
 *      has succeeded. (When nothing changed since the newest one began, that one covers it.)
 *   2. `dirty` starts true: a predecessor may have left pages behind that it acknowledged.
 *   3. Once `failed` is set, nothing completes with 0 any more: the kernel may have dropped the pages. */
#include "nbd/raw_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/base/container.h"
#include "node/base/log.h"

static void start(struct raw_sync *sync, struct raw_sync_lane *lane)
{
    STAILQ_CONCAT(&lane->requests, &sync->waiting);
    lane->busy = true;
    sync->newest = lane;
    sync->dirty = false;
    struct io_uring_sqe *sqe = loop_sqe(sync->loop, &lane->op);
    io_uring_prep_fsync(sqe, lane->fd, IORING_FSYNC_DATASYNC);
}

static void complete_all(struct blk_req_list *list, int result)
{
    struct blk_req *req;
    while ((req = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        blk_complete(req, result);
    }
}

static void synced(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct raw_sync_lane *lane = CONTAINER_OF(op, struct raw_sync_lane, op);
    struct raw_sync *sync = lane->sync;
    (void)cqe_flags;
    lane->busy = false;
    if (result < 0 && !sync->failed) {
        log_error("raw: fdatasync failed: %s; nothing is reported durable any more until the image is reopened",
                  strerror(-result));
        sync->failed = -EIO;
    }
    struct blk_req_list done = STAILQ_HEAD_INITIALIZER(done);
    STAILQ_CONCAT(&done, &lane->requests);
    if (sync->failed)
        STAILQ_CONCAT(&done, &sync->waiting);
    else if (!STAILQ_EMPTY(&sync->waiting))
        start(sync, lane);
    complete_all(&done, sync->failed);
}

void raw_sync_changed(struct raw_sync *sync)
{
    sync->dirty = true;
}

static struct raw_sync_lane *free_lane(struct raw_sync *sync)
{
    for (unsigned i = 0; i < sync->lane_count; i++)
        if (!sync->lanes[i].busy)
            return &sync->lanes[i];
    return NULL;
}

void raw_sync_flush(struct raw_sync *sync, struct blk_req *req)
{
    if (sync->failed) {
        blk_complete(req, sync->failed);
    } else if (!sync->dirty && !sync->newest->busy) {
        blk_complete(req, 0);
    } else if (!sync->dirty) {
        STAILQ_INSERT_TAIL(&sync->newest->requests, req, link);
    } else {
        struct raw_sync_lane *lane = free_lane(sync);
        STAILQ_INSERT_TAIL(&sync->waiting, req, link);
        if (lane)
            start(sync, lane);
    }
}

bool raw_sync_running(const struct raw_sync *sync)
{
    for (unsigned i = 0; i < sync->lane_count; i++)
        if (sync->lanes[i].busy)
            return true;
    return false;
}

/* The same file with an error cursor of its own. */
static int reopen(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDWR | O_CLOEXEC);
}

void raw_sync_init(struct raw_sync *sync, struct loop *loop, int fd, bool writable)
{
    *sync = (struct raw_sync){.loop = loop, .dirty = true};
    STAILQ_INIT(&sync->waiting);
    for (unsigned i = 0; i < RAW_SYNC_LANES; i++) {
        int own = i == 0 ? fd : writable ? reopen(fd) : -1;
        if (own < 0)
            break;
        struct raw_sync_lane *lane = &sync->lanes[sync->lane_count++];
        lane->sync = sync;
        lane->fd = own;
        lane->op.done = synced;
        STAILQ_INIT(&lane->requests);
    }
    sync->newest = &sync->lanes[0];
}

void raw_sync_fini(struct raw_sync *sync)
{
    for (unsigned i = 1; i < sync->lane_count; i++)
        close(sync->lanes[i].fd);
}
