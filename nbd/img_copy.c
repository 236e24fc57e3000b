/* See img_copy.h.
 *
 * A slot:
 *                 +--------- next run of the piece ---------+
 *                 v                                         |
 *     IDLE -> READ -> [EDGE: read the destination's block] -> WRITE or ZERO -> IDLE
 *     IDLE -> ZERO (a piece known to be zeroes) ------------------------------> IDLE
 *
 * Positions are those of the destination; `delta` (modulo 2^64) leads to the source.
 *
 * Planning is one pass over the window. [begin, at) is data that belongs to the next piece; it
 * grows, run by run of the scout, until it fills a request or meets a zero run that starts on a
 * block of the destination. Only the first and the last piece can be an edge: one that fills no
 * whole block.
 *
 * Invariants
 *   1. begin <= at <= end, and everything before begin has been handed out exactly once.
 *   2. busy counts the slots that are not IDLE; done() is called when it is 0 and the scout is not
 * busy.
 *   3. the first error stays; after it, nothing new is started. */
#include "nbd/img_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk.h"
#include "nbd/img_scout.h"
#include "nbd/img_zeroes.h"
#include "node/base/buffer_pool.h"
#include "node/base/clock.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { GRAIN_AUTO = 64 << 10, GRAIN_ALWAYS = 4 << 10, ZERO_MAX_BYTES = 1 << 30 };

struct slot {
    struct img_copy *copy;
    struct blk_req req; /* a slot has one request out at a time */
    struct iovec iov;
    char *buffer;   /* room for a request with its surroundings, then a block for an edge */
    uint32_t shift; /* where the piece's data begins in the buffer */
    uint64_t at, length_bytes;
    uint64_t part_bytes; /* of the piece, what the request that is out will have done */
    STAILQ_ENTRY(slot) link;
};

STAILQ_HEAD(slots, slot);

struct img_copy {
    struct blk_env env;
    struct blk *source, *destination;
    struct img_copy_options options;
    struct img_copy_totals totals;
    void (*done)(void *context, int result, const struct err *err);
    void *context;

    uint64_t delta, begin, at, end;
    uint32_t source_align, block_bytes; /* block: the destination's alignment */
    uint32_t request_bytes, edge_at, buffer_bytes, grain_bytes;
    bool can_zero, find_zeroes, flushed, finished;
    int result;
    struct err err;

    char *zeroes; /* for a destination that cannot zero by itself */
    struct img_scout scout;
    struct loop_job finish;
    unsigned busy;
    struct slots idle;
    unsigned slot_count;
    struct slot slots[];
};

static void pump(struct img_copy *copy);
static void write_next(struct slot *slot);

static uint64_t align_down(uint64_t value, uint32_t align)
{
    return value & ~(uint64_t)(align - 1);
}

static uint64_t align_up(uint64_t value, uint32_t align)
{
    return align_down(value + align - 1, align);
}

/* ---- errors ---- */

static void fail(struct img_copy *copy, int result, const char *doing, const char *side, uint64_t offset)
{
    if (copy->result && copy->result != -ECANCELED)
        return;
    copy->result = err_set(&copy->err, -result, "%s the %s at offset %llu: %s", doing, side, (unsigned long long)offset,
                           strerror(-result));
    img_scout_stop(&copy->scout);
}

static bool failed(struct slot *slot, const char *doing, const char *side)
{
    if (slot->req.result)
        fail(slot->copy, slot->req.result, doing, side, slot->req.offset);
    return slot->copy->result != 0;
}

/* ---- slots ---- */

static void slot_idle(struct slot *slot)
{
    struct img_copy *copy = slot->copy;
    copy->busy--;
    STAILQ_INSERT_HEAD(&copy->idle, slot, link); /* the hottest buffer first */
    pump(copy);
}

static void submit(struct slot *slot, struct blk *blk, enum blk_op op, uint64_t offset, uint64_t length_bytes,
                   char *data, void (*done)(struct blk_req *req))
{
    slot->iov = (struct iovec){data, op == BLK_ZERO ? 0 : length_bytes};
    slot->req.op = op;
    slot->req.flags = 0;
    slot->req.offset = offset;
    slot->req.length_bytes = length_bytes;
    slot->req.iov = &slot->iov;
    slot->req.iov_count = 1;
    slot->req.done = done;
    blk_submit(blk, &slot->req);
}

/* ---- writing ---- */

static void account(struct slot *slot, uint64_t *total)
{
    *total += slot->part_bytes;
    slot->at += slot->part_bytes;
    slot->length_bytes -= slot->part_bytes;
    slot->shift += (uint32_t)slot->part_bytes;
}

static void written(struct blk_req *req)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    if (failed(slot, "writing", "destination")) {
        slot_idle(slot);
        return;
    }
    account(slot, &slot->copy->totals.copied_bytes);
    write_next(slot);
}

static void zeroed(struct blk_req *req)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    if (failed(slot, "writing zeroes to", "destination")) {
        slot_idle(slot);
        return;
    }
    account(slot, &slot->copy->totals.zero_bytes);
    write_next(slot);
}

/* Writes what is left of the piece in the buffer, run by run. */
static void write_next(struct slot *slot)
{
    struct img_copy *copy = slot->copy;
    bool zero = false;
    while (slot->length_bytes) {
        char *data = slot->buffer + slot->shift;
        slot->part_bytes = slot->length_bytes;
        if (copy->find_zeroes)
            slot->part_bytes = img_zeroes_run(data, slot->length_bytes, slot->at, copy->grain_bytes, &zero);
        if (zero && copy->options.destination_is_zero) {
            account(slot, &copy->totals.zero_bytes);
            continue;
        }
        if (zero)
            submit(slot, copy->destination, BLK_ZERO, slot->at, slot->part_bytes, NULL, zeroed);
        else
            submit(slot, copy->destination, BLK_WRITE, slot->at, slot->part_bytes, data, written);
        return;
    }
    slot_idle(slot);
}

/* ---- the first and the last block ---- */

static bool is_edge(const struct img_copy *copy, const struct slot *slot)
{
    return (slot->at | slot->length_bytes) & (copy->block_bytes - 1);
}

static char *edge_of(const struct slot *slot)
{
    return slot->buffer + slot->copy->edge_at;
}

static void edge_written(struct blk_req *req)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    if (!failed(slot, "writing", "destination")) {
        slot->part_bytes = slot->length_bytes;
        account(slot, &slot->copy->totals.copied_bytes);
    }
    slot_idle(slot);
}

static void edge_read(struct blk_req *req)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    struct img_copy *copy = slot->copy;
    if (failed(slot, "reading", "destination")) {
        slot_idle(slot);
        return;
    }
    memcpy(edge_of(slot) + (slot->at - req->offset), slot->buffer + slot->shift, slot->length_bytes);
    submit(slot, copy->destination, BLK_WRITE, req->offset, copy->block_bytes, edge_of(slot), edge_written);
}

static void read_done(struct blk_req *req)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    struct img_copy *copy = slot->copy;
    if (failed(slot, "reading", "source"))
        slot_idle(slot);
    else if (is_edge(copy, slot))
        submit(slot, copy->destination, BLK_READ, align_down(slot->at, copy->block_bytes), copy->block_bytes,
               edge_of(slot), edge_read);
    else
        write_next(slot);
}

/* ---- planning ---- */

struct piece {
    uint64_t at, length_bytes;
    bool zero;
};

/* Where the piece that begins at `begin` must end at the latest. */
static uint64_t piece_limit(const struct img_copy *copy)
{
    uint64_t limit = copy->begin + copy->request_bytes;
    uint64_t whole = align_down(copy->end, copy->block_bytes);
    if (copy->begin & (copy->block_bytes - 1))
        limit = align_up(copy->begin, copy->block_bytes);
    else if (copy->begin < whole && limit > whole)
        limit = whole;
    return limit < copy->end ? limit : copy->end;
}

static struct piece take(struct img_copy *copy, uint64_t end, bool zero)
{
    struct piece piece = {copy->begin, end - copy->begin, zero};
    copy->begin = copy->at = end;
    return piece;
}

static uint64_t zero_piece_end(const struct img_copy *copy, uint64_t run_end)
{
    uint64_t most = copy->can_zero ? ZERO_MAX_BYTES : copy->request_bytes;
    return run_end - copy->begin > most ? copy->begin + most : run_end;
}

/* The next piece. False: nothing is left, or the scout has to come back first. */
static bool plan(struct img_copy *copy, struct piece *piece)
{
    while (copy->begin < copy->end) {
        uint64_t limit = piece_limit(copy), run_bytes;
        bool zero;
        if (copy->at == limit) {
            *piece = take(copy, limit, false);
            return true;
        }
        if (!img_scout_look(&copy->scout, copy->at + copy->delta, &run_bytes, &zero))
            return false;
        uint64_t run_end = run_bytes < copy->end - copy->at ? copy->at + run_bytes : copy->end;
        uint64_t zero_begin = align_up(copy->at, copy->block_bytes);
        uint64_t zero_end = align_down(run_end, copy->block_bytes);
        if (!zero || zero_begin >= zero_end) {
            copy->at = run_end < limit ? run_end : limit;
        } else if (zero_begin > copy->begin) {
            *piece = take(copy, zero_begin, false);
            return true;
        } else if (copy->options.destination_is_zero) {
            copy->totals.zero_bytes += take(copy, zero_end, true).length_bytes;
        } else {
            *piece = take(copy, zero_piece_end(copy, zero_end), true);
            return true;
        }
    }
    return false;
}

static void start_piece(struct slot *slot, const struct piece *piece)
{
    struct img_copy *copy = slot->copy;
    slot->at = piece->at;
    slot->length_bytes = slot->part_bytes = piece->length_bytes;
    if (piece->zero && copy->can_zero) {
        submit(slot, copy->destination, BLK_ZERO, slot->at, slot->length_bytes, NULL, zeroed);
    } else if (piece->zero) {
        submit(slot, copy->destination, BLK_WRITE, slot->at, slot->length_bytes, copy->zeroes, zeroed);
    } else {
        uint64_t from = slot->at + copy->delta;
        uint64_t first = align_down(from, copy->source_align);
        uint64_t last = align_up(from + slot->length_bytes, copy->source_align);
        slot->shift = (uint32_t)(from - first);
        submit(slot, copy->source, BLK_READ, first, last - first, slot->buffer, read_done);
    }
}

/* ---- running ---- */

static void finish(struct loop_job *job)
{
    struct img_copy *copy = CONTAINER_OF(job, struct img_copy, finish);
    copy->totals.end_ns = clock_ns();
    copy->done(copy->context, copy->result, &copy->err);
}

static void flush_done(struct blk_req *req)
{
    struct slot *slot = CONTAINER_OF(req, struct slot, req);
    if (req->result)
        slot->copy->result =
            err_set(&slot->copy->err, -req->result, "flushing the destination: %s", strerror(-req->result));
    slot_idle(slot);
}

static void start_flush(struct img_copy *copy)
{
    struct slot *slot = STAILQ_FIRST(&copy->idle);
    STAILQ_REMOVE_HEAD(&copy->idle, link);
    copy->busy++;
    copy->flushed = true;
    submit(slot, copy->destination, BLK_FLUSH, 0, 0, NULL, flush_done);
}

static void pump(struct img_copy *copy)
{
    struct slot *slot;
    struct piece piece;
    if (copy->scout.result && !copy->result)
        fail(copy, copy->scout.result, "asking for the extents of", "source", copy->scout.next);
    while (!copy->result && (slot = STAILQ_FIRST(&copy->idle)) && plan(copy, &piece)) {
        STAILQ_REMOVE_HEAD(&copy->idle, link);
        copy->busy++;
        start_piece(slot, &piece);
    }
    if (copy->busy || copy->scout.busy)
        return;
    if (!copy->result && !copy->options.no_flush && !copy->flushed) {
        start_flush(copy);
    } else {
        copy->finished = true;
        loop_defer(copy->env.loop, &copy->finish);
    }
}

static void scout_ready(struct img_scout *scout)
{
    pump(CONTAINER_OF(scout, struct img_copy, scout));
}

/* ---- setting up ---- */

static int check_window(const char *side, uint64_t begin, uint64_t end, const struct blk *blk, struct err *err)
{
    uint64_t size = blk_size(blk);
    uint32_t align = blk_limits(blk)->align_bytes;
    if (end < begin || end > size)
        return err_set(err, EINVAL, "bytes %llu to %llu are not all inside the %s, which has %llu",
                       (unsigned long long)begin, (unsigned long long)end, side, (unsigned long long)size);
    if (align_up(end, align) > size)
        return err_set(err, EINVAL,
                       "the last %llu bytes of the %s cannot be reached: its size, %llu, is not a "
                       "multiple of its "
                       "alignment, %u",
                       (unsigned long long)(size - align_down(size, align)), side, (unsigned long long)size, align);
    return 0;
}

/* What both stacks take; a whole number of the destination's blocks, and of grains where it is
 * large enough. */
static uint32_t fit_request(const struct img_copy *copy, uint32_t wanted)
{
    uint32_t surroundings = copy->source_align > 1 ? 2 * copy->source_align : 0;
    uint32_t most_read = blk_limits(copy->source)->max_transfer_bytes;
    uint32_t most_write = blk_limits(copy->destination)->max_transfer_bytes;
    most_read -= surroundings < most_read ? surroundings : most_read;
    wanted = wanted ? wanted : IMG_COPY_REQUEST_BYTES;
    wanted = wanted < most_read ? wanted : most_read;
    wanted = wanted < most_write ? wanted : most_write;
    wanted -= wanted % copy->block_bytes;
    return wanted ? wanted : copy->block_bytes;
}

static void set_up(struct img_copy *copy)
{
    const struct img_copy_options *o = &copy->options;
    uint32_t grain = o->sparse == IMG_COPY_SPARSE_ALWAYS ? GRAIN_ALWAYS : GRAIN_AUTO;
    copy->delta = o->offset - o->to_offset;
    copy->begin = copy->at = o->to_offset;
    copy->end = o->to_offset + o->length_bytes;
    copy->source_align = blk_limits(copy->source)->align_bytes;
    copy->block_bytes = blk_limits(copy->destination)->align_bytes;
    copy->grain_bytes = grain > copy->block_bytes ? grain : copy->block_bytes;
    copy->request_bytes = fit_request(copy, o->request_bytes);
    copy->edge_at = (uint32_t)align_up(copy->request_bytes + 2 * copy->source_align, BUFFER_ALIGN_BYTES);
    copy->buffer_bytes = (copy->begin | copy->end) & (copy->block_bytes - 1)
                             ? copy->edge_at + copy->block_bytes
                             : copy->request_bytes + (copy->source_align > 1 ? 2 * copy->source_align : 0);
    copy->can_zero = blk_can(copy->destination) & BLK_CAN_ZERO;
    copy->find_zeroes = o->sparse != IMG_COPY_SPARSE_NEVER && (copy->can_zero || o->destination_is_zero);
    copy->finish.run = finish;
    STAILQ_INIT(&copy->idle);
}

static int get_buffers(struct img_copy *copy)
{
    copy->zeroes = calloc(1, copy->can_zero ? 1 : copy->request_bytes);
    for (; copy->slot_count < copy->options.requests; copy->slot_count++) {
        struct slot *slot = &copy->slots[copy->slot_count];
        slot->buffer = buffer_get(copy->env.buffers, copy->buffer_bytes);
        if (!slot->buffer)
            return -ENOMEM;
        slot->copy = copy;
        STAILQ_INSERT_TAIL(&copy->idle, slot, link);
    }
    return copy->zeroes ? 0 : -ENOMEM;
}

int img_copy_start(const struct blk_env *env, struct blk *source, struct blk *destination,
                   const struct img_copy_options *options,
                   void (*done)(void *context, int result, const struct err *err), void *context, struct img_copy **out,
                   struct err *err)
{
    unsigned requests = options->requests ? options->requests : IMG_COPY_REQUESTS;
    requests = requests < IMG_COPY_REQUESTS_MAX ? requests : IMG_COPY_REQUESTS_MAX;
    int rc = check_window("source", options->offset, options->offset + options->length_bytes, source, err);
    if (!rc)
        rc = check_window("destination", options->to_offset, options->to_offset + options->length_bytes, destination,
                          err);
    if (rc)
        return rc;
    struct img_copy *copy = calloc(1, sizeof *copy + requests * sizeof(struct slot));
    if (!copy)
        return err_set(err, ENOMEM, "no memory for %u requests", requests);
    copy->env = *env;
    copy->source = source;
    copy->destination = destination;
    copy->options = *options;
    copy->options.requests = requests;
    copy->done = done;
    copy->context = context;
    set_up(copy);
    if (get_buffers(copy)) {
        rc = err_set(err, ENOMEM, "no memory for %u requests of %u bytes", requests, copy->request_bytes);
        img_copy_free(copy);
        return rc;
    }
    *out = copy;
    copy->totals.begin_ns = clock_ns();
    img_scout_start(&copy->scout, source, options->offset, options->offset + options->length_bytes, copy->grain_bytes,
                    options->sparse == IMG_COPY_SPARSE_NEVER, scout_ready);
    pump(copy);
    return 0;
}

void img_copy_stop(struct img_copy *copy)
{
    if (copy->finished || copy->result)
        return;
    copy->result = err_set(&copy->err, ECANCELED, "stopped before the end");
    img_scout_stop(&copy->scout);
}

struct img_copy_totals img_copy_totals(const struct img_copy *copy)
{
    return copy->totals;
}

void img_copy_free(struct img_copy *copy)
{
    if (!copy)
        return;
    for (unsigned i = 0; i < copy->slot_count; i++)
        buffer_put(copy->env.buffers, copy->slots[i].buffer, copy->buffer_bytes);
    free(copy->zeroes);
    free(copy);
}
