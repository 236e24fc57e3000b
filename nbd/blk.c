/* The wrapper: the one place where a request is checked, counted, timed and completed.
 *
 * State of a request:   IDLE --blk_submit--> BUSY --blk_complete--> DONE --delivered--> IDLE
 *
 * Invariants
 *   1. done() runs exactly once per blk_submit(): blk_complete() aborts on a request that is not BUSY.
 *   2. done() never runs while any blk_submit() is on the stack of this thread (submit_depth); such a completion
 *      waits in the loop's job list.
 *   3. in_flight counts BUSY and DONE requests; drained() runs after the done() of the last one. */
#include "nbd/blk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "nbd/blk_driver.h"
#include "nbd/blk_node.h"
#include "node/base/container.h"
#include "node/base/log.h"

enum req_state { REQ_IDLE, REQ_BUSY, REQ_DONE };

static _Thread_local unsigned submit_depth;

/* ---- completion ---- */

static void deliver(struct blk_req *req)
{
    struct blk *blk = req->blk;
    struct blk_op_stats *s = &blk->stats[req->op];
    s->ops++;
    if (req->result)
        s->errors++;
    else
        s->bytes += req->op == BLK_RESIZE ? 0 : req->length_bytes;
    histogram_add(&s->latency_ns, loop_now_ns(blk->env.loop) - req->begin_ns);
    if (req->op == BLK_RESIZE && !req->result)
        blk->size_bytes = req->offset;
    req->state = REQ_IDLE;
    if (--blk->in_flight == 0 && blk->drained)
        loop_defer(blk->env.loop, &blk->drain_job);
    req->done(req);
}

static void deliver_job(struct loop_job *job)
{
    deliver(CONTAINER_OF(job, struct blk_req, deliver));
}

void blk_complete(struct blk_req *req, int result)
{
    if (req->state != REQ_BUSY) {
        log_error("%s completed a request twice", req->blk ? req->blk->driver->name : "a driver");
        abort(); /* Rule Zero: the buffer may be somebody else's by now */
    }
    req->state = REQ_DONE;
    req->result = result;
    if (submit_depth)
        loop_defer(req->blk->env.loop, &req->deliver);
    else
        deliver(req);
}

/* ---- checks ---- */

static bool changes_data(enum blk_op op)
{
    return op == BLK_WRITE || op == BLK_TRIM || op == BLK_ZERO || op == BLK_RESIZE;
}

static uint32_t flags_allowed(enum blk_op op)
{
    switch (op) {
    case BLK_WRITE:
    case BLK_TRIM:
    case BLK_RESIZE:
        return BLK_FUA;
    case BLK_ZERO:
        return BLK_FUA | BLK_NO_HOLE | BLK_FAST;
    case BLK_EXTENTS:
        return BLK_ONE_EXTENT;
    default:
        return 0;
    }
}

static uint32_t needed_can(const struct blk_req *req)
{
    switch (req->op) {
    case BLK_TRIM:
        return BLK_CAN_TRIM;
    case BLK_ZERO:
        return BLK_CAN_ZERO | (req->flags & BLK_FAST ? BLK_CAN_FAST_ZERO : 0);
    case BLK_CACHE:
        return BLK_CAN_CACHE;
    case BLK_EXTENTS:
        return BLK_CAN_EXTENTS;
    case BLK_RESIZE:
        return BLK_CAN_RESIZE;
    default:
        return 0;
    }
}

static bool vector_adds_up(const struct blk_req *req)
{
    uint64_t total = 0;
    for (int i = 0; i < req->iov_count; i++)
        if (__builtin_add_overflow(total, req->iov[i].iov_len, &total))
            return false;
    return total == req->length_bytes;
}

static int check_range(const struct blk *blk, const struct blk_req *req)
{
    uint64_t mask = blk->limits.align_bytes - 1;
    uint64_t end;
    if ((req->offset | req->length_bytes) & mask)
        return -EINVAL;
    if (__builtin_add_overflow(req->offset, req->length_bytes, &end) || end > blk->size_bytes)
        return req->op == BLK_WRITE || req->op == BLK_ZERO ? -ENOSPC : -EINVAL;
    return 0;
}

int blk_check(const struct blk *blk, const struct blk_req *req)
{
    if ((unsigned)req->op >= BLK_OP_COUNT || req->flags & ~flags_allowed(req->op))
        return -EINVAL;
    if (changes_data(req->op) && blk->read_only)
        return -EPERM;
    if (needed_can(req) & ~blk->can)
        return -EOPNOTSUPP;
    if (req->op == BLK_FLUSH)
        return 0;
    if (req->op == BLK_RESIZE)
        return req->offset & (blk->limits.align_bytes - 1) || req->offset > INT64_MAX ? -EINVAL : 0;
    int rc = check_range(blk, req);
    if (rc)
        return rc;
    bool transfer = req->op == BLK_READ || req->op == BLK_WRITE;
    return transfer && req->length_bytes > blk->limits.max_transfer_bytes ? -EOVERFLOW : 0;
}

static int check_room(const struct blk_req *req)
{
    if (req->op == BLK_READ || req->op == BLK_WRITE)
        return vector_adds_up(req) ? 0 : -EINVAL;
    return req->op == BLK_EXTENTS && !req->extent_max ? -EINVAL : 0;
}

static bool is_empty(const struct blk_req *req)
{
    return req->length_bytes == 0 && req->op != BLK_FLUSH && req->op != BLK_RESIZE;
}

void blk_submit(struct blk *blk, struct blk_req *req)
{
    loop_assert_owner(blk->env.loop);
    assert(req->state == REQ_IDLE);
    req->blk = blk;
    req->state = REQ_BUSY;
    req->begin_ns = loop_now_ns(blk->env.loop);
    req->deliver.run = deliver_job;
    req->deliver.queued = false;
    req->extent_count = 0;
    blk->in_flight++;
    submit_depth++;
    int rc = blk_check(blk, req);
    if (!rc)
        rc = check_room(req);
    if (rc || is_empty(req))
        blk_complete(req, rc);
    else
        blk->driver->submit(blk, req);
    submit_depth--;
}

void *blk_place(struct blk *blk, const struct blk_req *req)
{
    return blk->driver->place ? blk->driver->place(blk, req) : NULL;
}

void blk_abandon(struct blk *blk)
{
    for (; blk; blk = blk->below)
        if (blk->driver->abandon)
            blk->driver->abandon(blk);
}

void blk_make_patient(struct blk *blk)
{
    for (; blk; blk = blk->below)
        if (blk->driver->make_patient)
            blk->driver->make_patient(blk);
}

/* ---- waiting ---- */

struct awaited {
    struct blk_req req;
    bool done;
};

static void came_back(struct blk_req *req)
{
    CONTAINER_OF(req, struct awaited, req)->done = true;
}

static int await_one(struct blk *blk, enum blk_op op, uint32_t flags, uint64_t offset, void *data,
                     uint64_t length_bytes)
{
    struct iovec iov = {data, length_bytes};
    struct awaited a = {.req = {.op = op,
                                .flags = flags,
                                .offset = offset,
                                .length_bytes = length_bytes,
                                .iov = &iov,
                                .iov_count = 1,
                                .done = came_back}};
    blk_submit(blk, &a.req);
    while (!a.done)
        loop_step(blk->env.loop);
    return a.req.result;
}

int blk_now(struct blk *blk, enum blk_op op, uint32_t flags, uint64_t offset, void *data, uint64_t length_bytes)
{
    bool moves = op == BLK_READ || op == BLK_WRITE;
    uint64_t max = moves ? blk->limits.max_transfer_bytes & ~(blk->limits.align_bytes - 1) : length_bytes;
    uint8_t *at = data;
    int rc;
    do {
        uint64_t n = length_bytes < max ? length_bytes : max;
        rc = await_one(blk, op, flags, offset, at, n);
        offset += n;
        length_bytes -= n;
        at = at ? at + n : NULL;
    } while (length_bytes && !rc);
    return rc;
}

/* ---- draining ---- */

static void drain_job(struct loop_job *job)
{
    struct blk *blk = CONTAINER_OF(job, struct blk, drain_job);
    if (blk->in_flight || !blk->drained)
        return; /* something was submitted meanwhile: its own completion comes back here */
    void (*drained)(void *) = blk->drained;
    blk->drained = NULL;
    drained(blk->drain_context);
}

void blk_drain(struct blk *blk, void (*drained)(void *context), void *context)
{
    assert(!blk->drained);
    blk->drained = drained;
    blk->drain_context = context;
    blk->drain_job.run = drain_job;
    if (!blk->in_flight)
        loop_defer(blk->env.loop, &blk->drain_job);
}

/* ---- children ---- */

struct blk_req *blk_child(struct blk *blk, struct blk_req *parent)
{
    struct blk_req *child = STAILQ_FIRST(&blk->children);
    if (child) {
        STAILQ_REMOVE_HEAD(&blk->children, link);
    } else if (!(child = calloc(1, sizeof *child))) {
        log_error("no memory for a block request");
        abort(); /* Rule Zero: the parent was accepted and could never complete */
    }
    child->parent = parent;
    return child;
}

void blk_child_put(struct blk *blk, struct blk_req *child)
{
    STAILQ_INSERT_HEAD(&blk->children, child, link);
}

static void forwarded(struct blk_req *child)
{
    struct blk_req *req = child->parent;
    int result = child->result;
    req->extent_count = child->extent_count;
    blk_child_put(req->blk, child);
    blk_complete(req, result);
}

void blk_forward(struct blk *blk, struct blk_req *req)
{
    blk_forward_at(blk, req, req->offset);
}

void blk_forward_at(struct blk *blk, struct blk_req *req, uint64_t offset)
{
    struct blk_req *child = blk_child(blk, req);
    child->op = req->op;
    child->flags = req->flags;
    child->offset = offset;
    child->length_bytes = req->length_bytes;
    child->iov = req->iov;
    child->iov_count = req->iov_count;
    child->extents = req->extents;
    child->extent_max = req->extent_max;
    child->done = forwarded;
    blk_submit(blk->below, child);
}

/* ---- facts ---- */

uint64_t blk_size(const struct blk *blk)
{
    return blk->size_bytes;
}

const struct blk_limits *blk_limits(const struct blk *blk)
{
    return &blk->limits;
}

uint32_t blk_can(const struct blk *blk)
{
    return blk->can;
}

uint32_t blk_needs(const struct blk *blk)
{
    return blk->needs;
}

void blk_set_needs(struct blk *blk, uint32_t needs)
{
    blk->needs |= needs;
}

bool blk_read_only(const struct blk *blk)
{
    return blk->read_only;
}

const char *blk_driver_name(const struct blk *blk)
{
    return blk->driver->name;
}

const struct blk_op_stats *blk_stats(const struct blk *blk, enum blk_op op)
{
    return &blk->stats[op];
}

struct blk *blk_below(const struct blk *blk)
{
    return blk->below;
}

const char *blk_op_name(enum blk_op op)
{
    static const char *const names[BLK_OP_COUNT] = {"read", "write", "flush",   "trim",
                                                    "zero", "cache", "extents", "resize"};
    return (unsigned)op < BLK_OP_COUNT ? names[op] : "unknown";
}

void *blk_state(const struct blk *blk)
{
    return blk->state;
}

bool blk_is_patient(const struct blk *blk)
{
    return blk->patient;
}

const struct blk_env *blk_environment(const struct blk *blk)
{
    return &blk->env;
}

unsigned blk_in_flight(const struct blk *blk)
{
    return blk->in_flight;
}

void blk_set_size(struct blk *blk, uint64_t size_bytes)
{
    blk->size_bytes = size_bytes;
}

void blk_set_limits(struct blk *blk, const struct blk_limits *limits)
{
    blk->limits = *limits;
}

void blk_set_can(struct blk *blk, uint32_t can)
{
    blk->can = can;
}

void blk_set_read_only(struct blk *blk)
{
    blk->read_only = true;
}
