/* See align.h. Every change is a job, kept in `running` from its first request to its last. A job waits as long as one
 * before it touches one of its blocks and one of the two is ragged (begins or ends within a block); those that wait are
 * looked at in their order, so that none is overtaken for ever.
 *
 *     aligned    --> PASS -------------------------------------------> done
 *     ragged     --> HEAD read, written --> MIDDLE --> TAIL read, written --> done      each only if there is one
 *
 * A job's steps are at most three: the block it begins in, the blocks it covers, the block it ends in. */
#include "nbd/align.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "node/base/buffer_pool.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { SECTOR_BYTES = 512, STEPS_MAX = 3 };

/* Part of a request: bytes [from, from + length) of the disk. whole: only whole blocks. */
struct align_step {
    uint64_t from, length_bytes;
    bool whole;
};

struct align_job {
    struct blk_req *req;
    uint64_t first, end; /* of the blocks that it touches, in bytes */
    bool ragged;
    struct align_step steps[STEPS_MAX];
    unsigned step, step_count;
    uint8_t *buffer; /* of one step */
    size_t buffer_bytes;
    struct iovec iov;
    TAILQ_ENTRY(align_job) link;
};

TAILQ_HEAD(align_jobs, align_job);

struct align {
    struct blk *blk;
    uint32_t block_bytes;
    struct align_jobs running, waiting, idle;
    unsigned ragged; /* jobs that run or wait */
};

static void run_step(struct align *a, struct align_job *job);

static uint64_t floor_of(const struct align *a, uint64_t at)
{
    return at / a->block_bytes * a->block_bytes;
}

static uint64_t ceiling_of(const struct align *a, uint64_t at)
{
    return floor_of(a, at + a->block_bytes - 1);
}

/* ---- bytes of a vector ---- */

/* Between a buffer and the vector's bytes from `skip` on. */
static void copy(const struct blk_req *req, uint64_t skip, uint8_t *buffer, size_t bytes, bool to_vector)
{
    for (int i = 0; i < req->iov_count && bytes; i++) {
        size_t len = req->iov[i].iov_len;
        if (skip >= len) {
            skip -= len;
            continue;
        }
        uint8_t *at = (uint8_t *)req->iov[i].iov_base + skip;
        size_t n = len - skip < bytes ? len - skip : bytes;
        if (to_vector)
            memcpy(at, buffer, n);
        else
            memcpy(buffer, at, n);
        buffer += n;
        bytes -= n;
        skip = 0;
    }
}

static bool take_buffer(struct align *a, struct align_job *job, size_t bytes)
{
    job->buffer = buffer_get(blk_environment(a->blk)->buffers, bytes);
    job->buffer_bytes = bytes;
    job->iov = (struct iovec){job->buffer, bytes};
    return job->buffer;
}

static void drop_buffer(struct align *a, struct align_job *job)
{
    if (job->buffer)
        buffer_put(blk_environment(a->blk)->buffers, job->buffer, job->buffer_bytes);
    job->buffer = NULL;
}

/* ---- jobs ---- */

static struct align_job *job_new(struct align *a, struct blk_req *req)
{
    struct align_job *job = TAILQ_FIRST(&a->idle);
    if (job)
        TAILQ_REMOVE(&a->idle, job, link);
    else if (!(job = malloc(sizeof *job))) {
        log_error("align: no memory for a request");
        abort(); /* Rule Zero: the request was accepted and could never complete */
    }
    *job = (struct align_job){
        .req = req, .first = floor_of(a, req->offset), .end = ceiling_of(a, req->offset + req->length_bytes)};
    req->scratch[0].ptr = job;
    job->ragged = job->first != req->offset || job->end != req->offset + req->length_bytes;
    return job;
}

static bool collides(const struct align_job *a, const struct align_job *b)
{
    return (a->ragged || b->ragged) && a->first < b->end && b->first < a->end;
}

/* One that runs, or one that came before and waits. */
static bool must_wait(const struct align *a, const struct align_job *job)
{
    const struct align_job *other;
    TAILQ_FOREACH (other, &a->running, link)
        if (collides(job, other))
            return true;
    TAILQ_FOREACH (other, &a->waiting, link) {
        if (other == job)
            return false;
        if (collides(job, other))
            return true;
    }
    return false;
}

static void begin_job(struct align *a, struct align_job *job)
{
    TAILQ_INSERT_TAIL(&a->running, job, link);
    run_step(a, job);
}

static void begin_waiting(struct align *a)
{
    struct align_job *job, *next;
    for (job = TAILQ_FIRST(&a->waiting); job; job = next) {
        next = TAILQ_NEXT(job, link);
        if (must_wait(a, job))
            continue;
        TAILQ_REMOVE(&a->waiting, job, link);
        begin_job(a, job);
    }
}

static void end_job(struct align *a, struct align_job *job, int result)
{
    struct blk_req *req = job->req;
    drop_buffer(a, job);
    TAILQ_REMOVE(&a->running, job, link);
    TAILQ_INSERT_HEAD(&a->idle, job, link);
    if (job->ragged)
        a->ragged--;
    begin_waiting(a);
    blk_complete(req, result);
}

/* ---- steps ---- */

static void submit(struct align *a, struct align_job *job, enum blk_op op, uint64_t offset, uint64_t length_bytes,
                   void (*done)(struct blk_req *))
{
    struct blk_req *child = blk_child(a->blk, job->req);
    child->op = op;
    child->flags = op == BLK_READ ? 0 : job->req->flags;
    if (op == BLK_WRITE)
        child->flags &= BLK_FUA;
    child->offset = offset;
    child->length_bytes = length_bytes;
    child->iov = &job->iov;
    child->iov_count = 1;
    child->done = done;
    blk_submit(blk_below(a->blk), child);
}

/* Also the end of the last one. */
static void step_done(struct blk_req *child)
{
    struct align_job *job = child->parent->scratch[0].ptr;
    struct align *a = blk_state(job->req->blk);
    int result = child->result;
    blk_child_put(a->blk, child);
    drop_buffer(a, job);
    if (result || ++job->step >= job->step_count)
        end_job(a, job, result);
    else
        run_step(a, job);
}

/* The block is here: the request's bytes go into it, and it goes back. */
static void edge_read(struct blk_req *child)
{
    struct align_job *job = child->parent->scratch[0].ptr;
    struct align *a = blk_state(job->req->blk);
    const struct blk_req *req = job->req;
    const struct align_step *s = &job->steps[job->step];
    uint64_t block = child->offset;
    int result = child->result;
    blk_child_put(a->blk, child);
    if (result) {
        end_job(a, job, result);
        return;
    }
    uint8_t *at = job->buffer + (s->from - block);
    if (req->op == BLK_WRITE)
        copy(req, s->from - req->offset, at, s->length_bytes, false);
    else
        memset(at, 0, s->length_bytes);
    submit(a, job, BLK_WRITE, block, a->block_bytes, step_done);
}

/* The request as it is. */
static void pass(struct align *a, struct align_job *job)
{
    const struct blk_req *req = job->req;
    struct blk_req *child = blk_child(a->blk, job->req);
    child->op = req->op;
    child->flags = req->flags;
    child->offset = req->offset;
    child->length_bytes = req->length_bytes;
    child->iov = req->iov;
    child->iov_count = req->iov_count;
    child->done = step_done;
    blk_submit(blk_below(a->blk), child);
}

static void run_step(struct align *a, struct align_job *job)
{
    const struct blk_req *req = job->req;
    const struct align_step *s = &job->steps[job->step];
    if (!job->ragged) {
        pass(a, job);
        return;
    }
    bool needs_buffer = !s->whole || req->op == BLK_WRITE;
    if (needs_buffer && !take_buffer(a, job, s->whole ? (size_t)s->length_bytes : a->block_bytes)) {
        end_job(a, job, -ENOMEM);
        return;
    }
    if (!s->whole) {
        submit(a, job, BLK_READ, floor_of(a, s->from), a->block_bytes, edge_read);
        return;
    }
    if (req->op == BLK_WRITE)
        copy(req, s->from - req->offset, job->buffer, s->length_bytes, false);
    submit(a, job, req->op, s->from, s->length_bytes, step_done);
}

static void add_step(struct align_job *job, uint64_t from, uint64_t end, bool whole)
{
    if (from < end)
        job->steps[job->step_count++] = (struct align_step){from, end - from, whole};
}

/* A ragged job's steps. A TRIM has only the middle one. */
static void plan(const struct align *a, struct align_job *job)
{
    const struct blk_req *req = job->req;
    uint64_t from = req->offset, end = from + req->length_bytes;
    uint64_t inner = ceiling_of(a, from), inner_end = floor_of(a, end);
    bool trims = req->op == BLK_TRIM;
    if (inner > inner_end) { /* within one block */
        if (!trims)
            add_step(job, from, end, false);
        return;
    }
    if (!trims)
        add_step(job, from, inner, false);
    add_step(job, inner, inner_end, true);
    if (!trims)
        add_step(job, inner_end, end, false);
}

static void change(struct align *a, struct blk_req *req)
{
    struct align_job *job = job_new(a, req);
    if (job->ragged) {
        plan(a, job);
        if (!job->step_count) {
            TAILQ_INSERT_HEAD(&a->idle, job, link);
            blk_complete(req, 0);
            return;
        }
        a->ragged++;
    }
    if (a->ragged && must_wait(a, job))
        TAILQ_INSERT_TAIL(&a->waiting, job, link);
    else
        begin_job(a, job);
}

/* ---- what changes nothing ---- */

static void read_done(struct blk_req *child)
{
    struct align_job *job = child->parent->scratch[0].ptr;
    struct blk_req *req = job->req;
    struct align *a = blk_state(req->blk);
    int result = child->result;
    if (!result)
        copy(req, 0, job->buffer + (req->offset - job->first), req->length_bytes, true);
    drop_buffer(a, job);
    blk_child_put(a->blk, child);
    TAILQ_INSERT_HEAD(&a->idle, job, link);
    blk_complete(req, result);
}

/* A read is a job that is in no list: it keeps nobody waiting. */
static void read_ragged(struct align *a, struct blk_req *req)
{
    struct align_job *job = job_new(a, req);
    if (take_buffer(a, job, job->end - job->first)) {
        submit(a, job, BLK_READ, job->first, job->end - job->first, read_done);
        return;
    }
    TAILQ_INSERT_HEAD(&a->idle, job, link);
    blk_complete(req, -ENOMEM);
}

/* Where an extent begins is asked for in blocks, and cut to what was wanted. */
static void extents_done(struct blk_req *child)
{
    struct blk_req *req = child->parent;
    struct align *a = blk_state(req->blk);
    uint64_t skip = req->offset - child->offset, room = req->length_bytes;
    uint32_t count = 0;
    for (uint32_t i = 0; i < child->extent_count && !child->result && room; i++) {
        struct blk_extent e = req->extents[i];
        uint64_t cut = e.length_bytes < skip ? e.length_bytes : skip;
        skip -= cut;
        e.length_bytes -= cut;
        e.length_bytes = e.length_bytes < room ? e.length_bytes : room;
        room -= e.length_bytes;
        if (e.length_bytes)
            req->extents[count++] = e;
    }
    int result = child->result;
    if (!result && !count) { /* none reached so far: nothing is said of it */
        req->extents[0] = (struct blk_extent){.length_bytes = req->length_bytes};
        count = 1;
    }
    req->extent_count = count;
    blk_child_put(a->blk, child);
    blk_complete(req, result);
}

static void hint_done(struct blk_req *child)
{
    struct blk_req *req = child->parent;
    int result = child->result;
    blk_child_put(req->blk, child);
    blk_complete(req, result);
}

/* The same for the blocks that it touches. */
static void widen(struct align *a, struct blk_req *req)
{
    uint64_t first = floor_of(a, req->offset), end = ceiling_of(a, req->offset + req->length_bytes);
    struct blk_req *child = blk_child(a->blk, req);
    child->op = req->op;
    child->flags = req->flags;
    child->offset = first;
    child->length_bytes = end - first;
    child->done = req->op == BLK_EXTENTS ? extents_done : hint_done;
    child->extents = req->extents;
    child->extent_max = req->extent_max;
    blk_submit(blk_below(a->blk), child);
}

/* ---- the driver ---- */

static void align_submit(struct blk *blk, struct blk_req *req)
{
    struct align *a = blk_state(blk);
    bool ragged = req->offset % a->block_bytes || req->length_bytes % a->block_bytes;
    switch (req->op) {
    case BLK_WRITE:
    case BLK_ZERO:
    case BLK_TRIM:
        change(a, req);
        return;
    case BLK_READ:
        if (ragged)
            read_ragged(a, req);
        else
            blk_forward(blk, req);
        return;
    case BLK_EXTENTS:
    case BLK_CACHE:
        if (ragged)
            widen(a, req);
        else
            blk_forward(blk, req);
        return;
    default:
        blk_forward(blk, req);
        return;
    }
}

static int align_open(struct blk *blk, const void *config, struct err *err)
{
    struct align *a = blk_state(blk);
    struct blk_limits limits = *blk_limits(blk_below(blk));
    (void)config;
    if (limits.align_bytes > SECTOR_BYTES && limits.max_transfer_bytes <= 2 * limits.align_bytes)
        return err_set(err, EINVAL, "the layer below takes no three blocks at once");
    a->blk = blk;
    a->block_bytes = limits.align_bytes;
    TAILQ_INIT(&a->running);
    TAILQ_INIT(&a->waiting);
    TAILQ_INIT(&a->idle);
    if (limits.align_bytes > SECTOR_BYTES) {
        if (limits.preferred_bytes < limits.align_bytes)
            limits.preferred_bytes = limits.align_bytes;
        limits.max_transfer_bytes -= 2 * limits.align_bytes; /* room for both edges of a read */
        limits.align_bytes = SECTOR_BYTES;
    }
    blk_set_limits(blk, &limits);
    return 0;
}

static void align_close(struct blk *blk)
{
    struct align *a = blk_state(blk);
    struct align_job *job;
    while ((job = TAILQ_FIRST(&a->idle))) {
        TAILQ_REMOVE(&a->idle, job, link);
        free(job);
    }
}

static const struct blk_option align_options[] = {{.name = NULL}};

const struct blk_driver align_driver = {
    .name = "align",
    .filter = true,
    .options = align_options,
    .state_bytes = sizeof(struct align),
    .open = align_open,
    .close = align_close,
    .submit = align_submit,
};
