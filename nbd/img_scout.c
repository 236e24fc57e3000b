#include "nbd/img_scout.h"

#include <errno.h>

#include "node/base/container.h"

static void ask(struct img_scout *scout);

/* The empty batch that is to be filled next, or NULL. */
static struct img_scout_batch *room(struct img_scout *scout)
{
    struct img_scout_batch *b = &scout->batch[scout->current];
    if (b->count)
        b = &scout->batch[scout->current ^ 1];
    return b->count ? NULL : b;
}

/* Short zeroes become data and neighbours that are alike become one. */
static void fill(struct img_scout_batch *b, uint64_t at, const struct blk_req *req, uint64_t grain_bytes)
{
    b->at = b->count = 0;
    for (uint32_t i = 0; i < req->extent_count; i++) {
        const struct blk_extent *e = &req->extents[i];
        bool zero = e->flags & BLK_EXTENT_ZERO && e->length_bytes >= grain_bytes;
        at += e->length_bytes;
        if (!b->count || b->run[b->count - 1].zero != zero)
            b->run[b->count++].zero = zero;
        b->run[b->count - 1].end = at;
    }
}

static void answered(struct blk_req *req)
{
    struct img_scout *scout = CONTAINER_OF(req, struct img_scout, req);
    scout->busy = false;
    if (req->result == -EOPNOTSUPP) {
        scout->blind = true;
    } else if (req->result) {
        scout->result = req->result;
    } else {
        struct img_scout_batch *b = room(scout);
        fill(b, req->offset, req, scout->grain_bytes);
        uint64_t end = b->run[b->count - 1].end;
        scout->result = end > scout->next ? 0 : -EPROTO; /* or it would ask for ever */
        scout->next = end;
        ask(scout);
    }
    scout->ready(scout);
}

static void ask(struct img_scout *scout)
{
    if (scout->busy || scout->blind || scout->result || scout->next >= scout->end || !room(scout))
        return;
    uint64_t mask = blk_limits(scout->blk)->align_bytes - 1;
    scout->busy = true;
    scout->req.op = BLK_EXTENTS;
    scout->req.offset = scout->next & ~mask;
    scout->req.length_bytes = ((scout->end + mask) & ~mask) - scout->req.offset;
    scout->req.extents = scout->extents;
    scout->req.extent_max = IMG_SCOUT_EXTENTS;
    scout->req.done = answered;
    blk_submit(scout->blk, &scout->req);
}

void img_scout_start(struct img_scout *scout, struct blk *blk, uint64_t offset, uint64_t end, uint64_t grain_bytes,
                     bool blind, void (*ready)(struct img_scout *scout))
{
    scout->blk = blk;
    scout->next = offset;
    scout->end = end;
    scout->grain_bytes = grain_bytes;
    scout->blind = blind || !(blk_can(blk) & BLK_CAN_EXTENTS);
    scout->ready = ready;
    ask(scout);
}

bool img_scout_look(struct img_scout *scout, uint64_t offset, uint64_t *length_bytes, bool *zero)
{
    for (struct img_scout_batch *b; (b = &scout->batch[scout->current])->count;) {
        while (b->at < b->count && b->run[b->at].end <= offset)
            b->at++;
        if (b->at < b->count) {
            *length_bytes = b->run[b->at].end - offset;
            *zero = b->run[b->at].zero;
            return true;
        }
        b->count = 0;
        scout->current ^= 1;
        ask(scout);
    }
    *length_bytes = scout->end - offset;
    *zero = false;
    return scout->blind;
}

void img_scout_stop(struct img_scout *scout)
{
    scout->end = scout->next;
}
