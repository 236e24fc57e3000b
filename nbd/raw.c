/* See raw.h.
 *
 * Where a request goes
 *     READ, WRITE   io_uring, or worker (no NOWAIT support, odd address under O_DIRECT, rest of a short transfer)
 *     TRIM, ZERO    io_uring FALLOCATE; falls back to worker, which writes zeroes
 *     FLUSH         fdatasync by io_uring, shared by all that wait for it
 *     EXTENTS, CACHE, RESIZE   worker
 *
 * A transfer for the worker is done at once, on the loop's thread, as long as that is quick: raw_inline.h.
 *
 * Durability is raw_sync.c's. */
#include "nbd/raw.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <liburing.h>
#include <string.h>
#include <unistd.h>

#include "nbd/blk_driver.h"
#include "nbd/raw_blocking.h"
#include "nbd/raw_file.h"
#include "nbd/raw_inline.h"
#include "nbd/raw_sync.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

struct raw {
    struct blk *blk;
    struct raw_file file;
    enum { WRITE_NOWAIT_UNKNOWN, WRITE_NOWAIT_YES, WRITE_NOWAIT_NO } write_nowait;
    int discard;
    bool no_punch, no_zero_range; /* the file system said so */
    struct raw_sync sync;
    struct raw_inline at_once;
};

static struct raw *raw_of(struct blk_req *req)
{
    return blk_state(req->blk);
}

/* The end of every request that changes the file. */
static void change_done(struct blk_req *req, int result)
{
    struct raw *raw = raw_of(req);
    raw_sync_changed(&raw->sync);
    if (result || !(req->flags & BLK_FUA))
        blk_complete(req, result);
    else
        raw_sync_flush(&raw->sync, req);
}

/* ---- read and write ---- */

static void finish_transfer(struct blk_req *req, int result)
{
    if (req->op == BLK_WRITE)
        change_done(req, result);
    else
        blk_complete(req, result);
}

static void transfer_run(struct worker_task *task)
{
    struct blk_req *req = CONTAINER_OF(task, struct blk_req, work);
    struct raw *raw = raw_of(req);
    bool bounce = req->scratch[1].u64;
    int rc = bounce ? raw_transfer_bounced(raw->file.fd, req->op == BLK_WRITE, req->iov, req->iov_count, req->offset,
                                           req->length_bytes)
                    : raw_transfer(raw->file.fd, req->op == BLK_WRITE, req->iov, req->iov_count, req->offset,
                                   req->scratch[0].u64);
    req->result = rc;
}

static void transfer_worked(struct worker_task *task)
{
    struct blk_req *req = CONTAINER_OF(task, struct blk_req, work);
    finish_transfer(req, req->result);
}

static void transfer_by_worker(struct blk_req *req, uint64_t done_bytes, bool bounce)
{
    req->scratch[0].u64 = done_bytes;
    req->scratch[1].u64 = bounce;
    req->work.run = transfer_run;
    req->work.done = transfer_worked;
    worker_submit(blk_environment(req->blk)->worker, &req->work);
}

/* The whole of a transfer that may wait. */
static void transfer_waiting(struct raw *raw, struct blk_req *req)
{
    uint64_t now_ns = loop_now_ns(blk_environment(req->blk)->loop);
    if (!raw_inline_may(&raw->at_once, &raw->sync, req->length_bytes, now_ns)) {
        transfer_by_worker(req, 0, false);
        return;
    }
    uint64_t start_ns = clock_ns();
    int rc = raw_transfer(raw->file.fd, req->op == BLK_WRITE, req->iov, req->iov_count, req->offset, 0);
    raw_inline_done(&raw->at_once, start_ns, clock_ns());
    finish_transfer(req, rc);
}

static void transfer_done(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct blk_req *req = CONTAINER_OF(op, struct blk_req, io);
    (void)cqe_flags;
    if (result == -EAGAIN || result == -EINTR)
        transfer_by_worker(req, 0, false);
    else if (result >= 0 && (uint64_t)result < req->length_bytes)
        transfer_by_worker(req, (uint64_t)result, false);
    else
        finish_transfer(req, result < 0 ? result : 0);
}

static bool memory_aligned(const struct raw *raw, const struct blk_req *req)
{
    uintptr_t mask = raw->file.memory_align_bytes - 1, all = 0;
    if (!mask)
        return true;
    for (int i = 0; i < req->iov_count; i++)
        all |= (uintptr_t)req->iov[i].iov_base | req->iov[i].iov_len;
    return !(all & mask);
}

/* Whether a file system can write to its cache without waiting (xfs and btrfs can, ext4 and tmpfs cannot) is only known
 * by asking with a real write: the first one. True: that did it, done_bytes of it. */
static bool first_write(struct raw *raw, struct blk_req *req, uint64_t *done_bytes)
{
    int count = req->iov_count < IOV_MAX ? req->iov_count : IOV_MAX;
    ssize_t n = pwritev2(raw->file.fd, req->iov, count, (off_t)req->offset, RWF_NOWAIT);
    raw->write_nowait = n < 0 && errno == EOPNOTSUPP ? WRITE_NOWAIT_NO : WRITE_NOWAIT_YES;
    *done_bytes = n > 0 ? (uint64_t)n : 0;
    return n > 0;
}

static void transfer(struct raw *raw, struct blk_req *req)
{
    bool write = req->op == BLK_WRITE;
    uint64_t done_bytes;
    if (!memory_aligned(raw, req)) {
        transfer_by_worker(req, 0, true);
    } else if (write && raw->write_nowait == WRITE_NOWAIT_UNKNOWN && first_write(raw, req, &done_bytes)) {
        transfer_by_worker(req, done_bytes, false); /* the rest, if there is one */
    } else if (!(write ? raw->write_nowait == WRITE_NOWAIT_YES : raw->file.read_nowait)) {
        transfer_waiting(raw, req);
    } else {
        struct io_uring_sqe *sqe = loop_sqe(blk_environment(raw->blk)->loop, &req->io);
        req->io.done = transfer_done;
        const struct iovec *iov = req->iov;
        if (req->iov_count == 1 && write)
            io_uring_prep_write(sqe, raw->file.fd, iov->iov_base, (unsigned)iov->iov_len, req->offset);
        else if (req->iov_count == 1)
            io_uring_prep_read(sqe, raw->file.fd, iov->iov_base, (unsigned)iov->iov_len, req->offset);
        else if (write)
            io_uring_prep_writev(sqe, raw->file.fd, iov, (unsigned)req->iov_count, req->offset);
        else
            io_uring_prep_readv(sqe, raw->file.fd, iov, (unsigned)req->iov_count, req->offset);
    }
}

/* ---- trim and zero ---- */

static void zero_run(struct worker_task *task)
{
    struct blk_req *req = CONTAINER_OF(task, struct blk_req, work);
    req->result = raw_write_zeroes(raw_of(req)->file.fd, req->offset, req->length_bytes);
}

static void changed_by_worker(struct worker_task *task)
{
    struct blk_req *req = CONTAINER_OF(task, struct blk_req, work);
    change_done(req, req->result);
}

static void run_change(struct blk_req *req, void (*run)(struct worker_task *))
{
    req->work.run = run;
    req->work.done = changed_by_worker;
    worker_submit(blk_environment(req->blk)->worker, &req->work);
}

static void deallocate(struct raw *raw, struct blk_req *req);

static bool unsupported(int result)
{
    return result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV || result == -ENOTTY;
}

static void deallocated(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct blk_req *req = CONTAINER_OF(op, struct blk_req, io);
    struct raw *raw = raw_of(req);
    bool *refused = req->scratch[0].u64 & FALLOC_FL_PUNCH_HOLE ? &raw->no_punch : &raw->no_zero_range;
    (void)cqe_flags;
    if (result == -EINTR) {
        deallocate(raw, req);
    } else if (unsupported(result)) {
        *refused = true;
        deallocate(raw, req); /* what is left to try */
    } else if (result == -EINVAL && req->op == BLK_ZERO && !(req->flags & BLK_FAST)) {
        run_change(req, zero_run); /* a device that wants whole sectors */
    } else {
        change_done(req, result);
    }
}

/* A hole where one is wanted and can be had; else zeroes that the file system makes; else written ones. */
static void deallocate(struct raw *raw, struct blk_req *req)
{
    int mode = 0;
    if (!raw->no_punch && !(req->flags & BLK_NO_HOLE))
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    else if (!raw->no_zero_range && req->op == BLK_ZERO)
        mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
    if (mode) {
        struct io_uring_sqe *sqe = loop_sqe(blk_environment(raw->blk)->loop, &req->io);
        req->io.done = deallocated;
        req->scratch[0].u64 = (uint64_t)mode;
        /* liburing 2.3 takes off_t here, and a length over 2^63 cannot come: the wrapper checked the range */
        io_uring_prep_fallocate(sqe, raw->file.fd, mode, (off_t)req->offset, (off_t)req->length_bytes);
    } else if (req->op == BLK_TRIM) {
        blk_complete(req, 0); /* a hint that cannot be taken */
    } else if (req->flags & BLK_FAST) {
        blk_complete(req, -EOPNOTSUPP);
    } else {
        run_change(req, zero_run);
    }
}

/* ---- the rest ---- */

static void extents_run(struct worker_task *task)
{
    struct blk_req *req = CONTAINER_OF(task, struct blk_req, work);
    uint32_t max = req->flags & BLK_ONE_EXTENT ? 1 : req->extent_max;
    req->result =
        raw_extents(raw_of(req)->file.fd, req->offset, req->length_bytes, req->extents, max, &req->extent_count);
}

static void cache_run(struct worker_task *task)
{
    struct blk_req *req = CONTAINER_OF(task, struct blk_req, work);
    req->result =
        -posix_fadvise(raw_of(req)->file.fd, (off_t)req->offset, (off_t)req->length_bytes, POSIX_FADV_WILLNEED);
}

static void resize_run(struct worker_task *task)
{
    struct blk_req *req = CONTAINER_OF(task, struct blk_req, work);
    const struct raw *raw = raw_of(req);
    /* a device is made larger by somebody else: the size it has now is looked at; lseek() may be called in a jail */
    off_t has = raw->file.block_device ? lseek(raw->file.fd, 0, SEEK_END) : 0;
    if (raw->file.block_device)
        req->result = has < 0 ? -errno : (off_t)req->offset > has ? -ENOSPC : 0;
    else
        req->result = ftruncate(raw->file.fd, (off_t)req->offset) < 0 ? -errno : 0;
}

static void completed_by_worker(struct worker_task *task)
{
    struct blk_req *req = CONTAINER_OF(task, struct blk_req, work);
    blk_complete(req, req->result);
}

static void extents(struct raw *raw, struct blk_req *req)
{
    if (raw->file.block_device) { /* devices do not tell */
        *req->extents = (struct blk_extent){.length_bytes = req->length_bytes, .depth = 1};
        req->extent_count = 1;
        blk_complete(req, 0);
        return;
    }
    req->work.run = extents_run;
    req->work.done = completed_by_worker;
    worker_submit(blk_environment(req->blk)->worker, &req->work);
}

static bool changes(enum blk_op op)
{
    return op == BLK_WRITE || op == BLK_TRIM || op == BLK_ZERO || op == BLK_RESIZE;
}

static void raw_submit(struct blk *blk, struct blk_req *req)
{
    struct raw *raw = blk_state(blk);
    int rc = raw->file.unclaimed && changes(req->op) ? raw_file_claim(&raw->file) : 0;
    if (rc) {
        blk_complete(req, rc);
        return;
    }
    switch (req->op) {
    case BLK_READ:
    case BLK_WRITE:
        transfer(raw, req);
        return;
    case BLK_FLUSH:
        raw_sync_flush(&raw->sync, req);
        return;
    case BLK_TRIM:
        if (raw->discard == RAW_DISCARD_IGNORE) {
            blk_complete(req, 0);
            return;
        }
        deallocate(raw, req);
        return;
    case BLK_ZERO:
        deallocate(raw, req);
        return;
    case BLK_EXTENTS:
        extents(raw, req);
        return;
    case BLK_CACHE:
        req->work.run = cache_run;
        req->work.done = completed_by_worker;
        worker_submit(blk_environment(blk)->worker, &req->work);
        return;
    case BLK_RESIZE:
        run_change(req, resize_run);
        return;
    case BLK_OP_COUNT:
        break;
    }
    blk_complete(req, -EINVAL);
}

static int raw_open(struct blk *blk, const void *config, struct err *err)
{
    const struct raw_config *c = config;
    struct raw *raw = blk_state(blk);
    int rc = raw_file_open(c, blk_read_only(blk) || c->read_only, &raw->file, err);
    if (rc)
        return rc;
    raw->blk = blk;
    raw->discard = c->discard;
    raw_sync_init(&raw->sync, blk_environment(blk)->loop, raw->file.fd, raw->file.writable);
    raw->write_nowait = raw->file.direct ? WRITE_NOWAIT_YES : WRITE_NOWAIT_UNKNOWN;
    if (!raw->file.writable)
        blk_set_read_only(blk);
    blk_set_size(blk, raw->file.size_bytes);
    blk_set_limits(blk, &(struct blk_limits){.align_bytes = raw->file.align_bytes,
                                             .preferred_bytes = 4096,
                                             .max_transfer_bytes = 64u << 20});
    blk_set_can(blk, BLK_CAN_TRIM | BLK_CAN_ZERO | BLK_CAN_FAST_ZERO | BLK_CAN_CACHE | BLK_CAN_MULTI_CONN |
                         BLK_CAN_EXTENTS | (c->size_bytes ? 0 : BLK_CAN_RESIZE) |
                         (raw->file.rotational ? BLK_IS_ROTATIONAL : 0));
    return 0;
}

static void raw_close(struct blk *blk)
{
    struct raw *raw = blk_state(blk);
    raw_sync_fini(&raw->sync);
    raw_file_close(&raw->file);
}

static const char *const discard_choices[] = {"unmap", "ignore", NULL};

static const struct blk_option raw_options[] = {
    {.name = "file",
     .type = BLK_OPTION_STRING,
     .field = offsetof(struct raw_config, file),
     .help = "image file or block device"},
    {.name = "fd",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct raw_config, fd),
     .min = 3,
     .max = 65535,
     .help = "an open file that this process was handed; `file` is its name, for messages"},
    {.name = "direct",
     .type = BLK_OPTION_BOOL,
     .field = offsetof(struct raw_config, direct),
     .help = "O_DIRECT: past the page cache"},
    {.name = "read-only",
     .type = BLK_OPTION_BOOL,
     .field = offsetof(struct raw_config, read_only),
     .help = "refuse changes"},
    {.name = "no-lock",
     .type = BLK_OPTION_BOOL,
     .field = offsetof(struct raw_config, no_lock),
     .help = "do not claim the image: another writer is kept out by other means"},
    {.name = "lock-late",
     .type = BLK_OPTION_BOOL,
     .field = offsetof(struct raw_config, lock_late),
     .help = "claim the image before the first change instead of when it is opened; changes fail with EBUSY while "
             "somebody else has it"},
    {.name = "discard",
     .type = BLK_OPTION_CHOICE,
     .field = offsetof(struct raw_config, discard),
     .choices = discard_choices,
     .help = "what a trim does"},
    {.name = "size",
     .type = BLK_OPTION_SIZE,
     .field = offsetof(struct raw_config, size_bytes),
     .help = "use only the first bytes"},
    {.name = NULL},
};

const struct blk_driver raw_driver = {
    .name = "raw",
    .short_option = "file",
    .options = raw_options,
    .config_bytes = sizeof(struct raw_config),
    .state_bytes = sizeof(struct raw),
    .open = raw_open,
    .close = raw_close,
    .submit = raw_submit,
};
