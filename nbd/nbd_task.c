/* See nbd_task.h. */
#include "nbd/nbd_task.h"

#include <assert.h>

enum { COMPACT_PIECE_BYTES = 1 << 30 };

static bool needs_flush(const struct nbd_task *task, const struct nbd_offer *offer)
{
    const struct blk_req *req = task->req;
    if (!(offer->flags & NBD_FLAG_SEND_FLUSH))
        return false;
    return req->op == BLK_RESIZE || (req->flags & BLK_FUA && !(offer->flags & NBD_FLAG_SEND_FUA));
}

static uint16_t flags_for(const struct blk_req *req, const struct nbd_offer *offer)
{
    unsigned flags = 0;
    if (req->flags & BLK_FUA && offer->flags & NBD_FLAG_SEND_FUA && req->op != BLK_RESIZE)
        flags |= NBD_CMD_FLAG_FUA;
    if (req->flags & BLK_NO_HOLE)
        flags |= NBD_CMD_FLAG_NO_HOLE;
    if (req->flags & BLK_FAST)
        flags |= NBD_CMD_FLAG_FAST_ZERO;
    if (req->flags & BLK_ONE_EXTENT)
        flags |= NBD_CMD_FLAG_REQ_ONE;
    return (uint16_t)flags;
}

static enum nbd_cmd type_for(enum blk_op op)
{
    static const enum nbd_cmd types[BLK_OP_COUNT] = {
        [BLK_READ] = NBD_CMD_READ,     [BLK_WRITE] = NBD_CMD_WRITE,          [BLK_FLUSH] = NBD_CMD_FLUSH,
        [BLK_TRIM] = NBD_CMD_TRIM,     [BLK_ZERO] = NBD_CMD_WRITE_ZEROES,    [BLK_CACHE] = NBD_CMD_CACHE,
        [BLK_RESIZE] = NBD_CMD_RESIZE, [BLK_EXTENTS] = NBD_CMD_BLOCK_STATUS,
    };
    return types[op];
}

static bool comes_in_pieces(enum blk_op op)
{
    return op == BLK_TRIM || op == BLK_ZERO || op == BLK_CACHE || op == BLK_EXTENTS;
}

void nbd_task_prepare(struct nbd_task *task, const struct nbd_offer *offer, struct nbd_unflushed *log, unsigned losses)
{
    const struct blk_req *req = task->req;
    struct nbd_command *c = &task->command;
    if (task->flushing && task->losses != losses) {
        task->flushing = false; /* what was to be flushed may be gone: the whole again */
        task->done_bytes = 0;
    }
    task->losses = losses;
    c->iov = NULL;
    c->iov_count = 0;
    c->flags = 0;
    if (task->flushing || req->op == BLK_FLUSH) {
        c->type = NBD_CMD_FLUSH;
        c->offset = c->length_bytes = 0;
        task->mark = nbd_unflushed_mark(log);
        return;
    }
    uint64_t left = req->length_bytes - task->done_bytes;
    c->type = type_for(req->op);
    c->flags = flags_for(req, offer);
    c->offset = req->offset + task->done_bytes;
    c->length_bytes = req->op == BLK_RESIZE ? 0 : left;
    if (comes_in_pieces(req->op) && !offer->extended && left > COMPACT_PIECE_BYTES)
        c->length_bytes = COMPACT_PIECE_BYTES;
    if (req->op == BLK_READ || req->op == BLK_WRITE) {
        c->iov = req->iov;
        c->iov_count = req->iov_count;
    }
    if (req->op == BLK_EXTENTS) {
        c->extents = req->extents;
        c->extent_max = req->flags & BLK_ONE_EXTENT ? 1 : req->extent_max;
    }
}

static void log_change(const struct nbd_task *task, const struct nbd_offer *offer, struct nbd_unflushed *log)
{
    const struct nbd_command *c = &task->command;
    if (c->type != NBD_CMD_WRITE && c->type != NBD_CMD_WRITE_ZEROES && c->type != NBD_CMD_TRIM)
        return;
    if (!(offer->flags & NBD_FLAG_SEND_FLUSH))
        return;
    struct nbd_change change = {
        .offset = c->offset,
        .length_bytes = c->length_bytes,
        .type = c->type,
        .flags = c->flags & NBD_CMD_FLAG_NO_HOLE,
    };
    nbd_unflushed_add(log, &change, c->flags & NBD_CMD_FLAG_FUA, c->iov, c->iov_count);
}

bool nbd_task_advance(struct nbd_task *task, const struct nbd_offer *offer, struct nbd_unflushed *log, int *result)
{
    struct blk_req *req = task->req;
    const struct nbd_command *c = &task->command;
    *result = c->result;
    if (c->result)
        return true;
    if (c->type == NBD_CMD_FLUSH) {
        nbd_unflushed_settle(log, task->mark);
        return true;
    }
    log_change(task, offer, log);
    req->extent_count = c->extent_count;
    if (req->op == BLK_EXTENTS)
        return true;
    task->done_bytes += c->length_bytes;
    if (req->op != BLK_RESIZE && task->done_bytes < req->length_bytes)
        return false;
    task->flushing = needs_flush(task, offer);
    return !task->flushing;
}
