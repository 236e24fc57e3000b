/* See luks_transfer.h.
 *
 * In a request's scratch: [0] where its next part begins, [1] how many parts there are, [2] its end. Its result holds
 * the first error until it is completed.
 *
 *     part, writing    [worker:] encrypt -> child below -> gone
 *     part, reading    [worker:] decrypt -> gone            (the child below came first, for all of them) */
#include "nbd/luks_transfer.h"

#include <errno.h>
#include <stdlib.h>

#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/log.h"

enum { IV_UNIT_BYTES = 512 };

struct luks_part {
    SLIST_ENTRY(luks_part) link;
    struct luks_transfer *t;
    struct blk_req *req;
    uint64_t at; /* of the volume */
    struct iovec iov;
    struct worker_task work;
    int result;
};

enum { NEXT, PARTS, END };

/* ---- parts ---- */

static struct luks_part *part_get(struct luks_transfer *t)
{
    struct luks_part *part = SLIST_FIRST(&t->idle);
    if (part)
        SLIST_REMOVE_HEAD(&t->idle, link);
    else if (!(part = calloc(1, sizeof *part)))
        return NULL;
    part->t = t;
    return part;
}

static void proceed(struct luks_transfer *t, struct blk_req *req);

static void part_over(struct luks_part *part, int result)
{
    struct luks_transfer *t = part->t;
    struct blk_req *req = part->req;
    if (part->iov.iov_base)
        buffer_put(blk_environment(t->blk)->buffers, part->iov.iov_base, part->iov.iov_len);
    SLIST_INSERT_HEAD(&t->idle, part, link);
    req->scratch[PARTS].u64--;
    req->result = req->result ? req->result : result;
    proceed(t, req);
}

static uint64_t iv_of(const struct luks_transfer *t, uint64_t at)
{
    return t->iv_tweak + at / IV_UNIT_BYTES;
}

static void cipher_part(struct luks_part *part)
{
    const struct blk_req *req = part->req;
    struct luks_transfer *t = part->t;
    bool has_data = req->op == BLK_WRITE;
    if (req->op == BLK_READ)
        part->result = luks_cipher_decrypt(t->cipher, iv_of(t, part->at), req->iov, req->iov_count,
                                           part->at - req->offset, part->iov.iov_len);
    else
        part->result =
            luks_cipher_encrypt(t->cipher, iv_of(t, part->at), has_data ? req->iov : NULL, req->iov_count,
                                has_data ? part->at - req->offset : 0, part->iov.iov_base, part->iov.iov_len);
}

static void written(struct blk_req *child)
{
    struct luks_part *part = CONTAINER_OF((uintptr_t)child->iov, struct luks_part, iov); /* is our own */
    int result = child->result;
    blk_child_put(part->t->blk, child);
    part_over(part, result);
}

static void ciphered(struct luks_part *part)
{
    struct luks_transfer *t = part->t;
    if (part->result || part->req->op == BLK_READ) {
        part_over(part, part->result);
        return;
    }
    struct blk_req *child = blk_child(t->blk, part->req);
    child->op = BLK_WRITE;
    child->flags = part->req->flags & BLK_FUA;
    child->offset = t->payload_offset + part->at;
    child->length_bytes = part->iov.iov_len;
    child->iov = &part->iov;
    child->iov_count = 1;
    child->done = written;
    blk_submit(blk_below(t->blk), child);
}

static void part_run(struct worker_task *task)
{
    cipher_part(CONTAINER_OF(task, struct luks_part, work));
}

static void part_worked(struct worker_task *task)
{
    ciphered(CONTAINER_OF(task, struct luks_part, work));
}

/* False: there is no memory. */
static bool start_part(struct luks_transfer *t, struct blk_req *req)
{
    uint64_t left = req->scratch[END].u64 - req->scratch[NEXT].u64;
    size_t len_bytes = left < t->part_bytes ? (size_t)left : t->part_bytes;
    struct luks_part *part = part_get(t);
    if (!part)
        return false;
    part->req = req;
    part->at = req->scratch[NEXT].u64;
    part->iov = (struct iovec){NULL, len_bytes};
    if (req->op != BLK_READ && !(part->iov.iov_base = buffer_get(blk_environment(t->blk)->buffers, len_bytes))) {
        SLIST_INSERT_HEAD(&t->idle, part, link);
        return false;
    }
    req->scratch[NEXT].u64 += len_bytes;
    req->scratch[PARTS].u64++;
    part->work.run = part_run;
    part->work.done = part_worked;
    worker_submit(blk_environment(t->blk)->worker, &part->work);
    return true;
}

/* Starts what may be started, or ends the request. */
static void proceed(struct luks_transfer *t, struct blk_req *req)
{
    while (!req->result && req->scratch[NEXT].u64 < req->scratch[END].u64 && req->scratch[PARTS].u64 < LUKS_PARTS_MAX)
        if (!start_part(t, req))
            req->result = -ENOMEM;
    if (!req->scratch[PARTS].u64)
        blk_complete(req, req->result);
}

static void begin(struct luks_transfer *t, struct blk_req *req, uint64_t from, uint64_t to)
{
    req->result = 0;
    req->scratch[NEXT].u64 = from;
    req->scratch[PARTS].u64 = 0;
    req->scratch[END].u64 = to;
    proceed(t, req);
}

/* ---- requests ---- */

static void read_done(struct blk_req *child)
{
    struct blk_req *req = child->parent;
    struct luks_transfer *t = blk_state(req->blk);
    int result = child->result;
    blk_child_put(req->blk, child);
    if (result) {
        blk_complete(req, result);
    } else if (req->length_bytes > t->part_bytes) {
        begin(t, req, req->offset, req->offset + req->length_bytes);
    } else {
        blk_complete(
            req, luks_cipher_decrypt(t->cipher, iv_of(t, req->offset), req->iov, req->iov_count, 0, req->length_bytes));
    }
}

void luks_transfer_read(struct luks_transfer *t, struct blk_req *req)
{
    struct blk_req *child = blk_child(t->blk, req);
    child->op = BLK_READ;
    child->flags = 0;
    child->offset = t->payload_offset + req->offset;
    child->length_bytes = req->length_bytes;
    child->iov = req->iov;
    child->iov_count = req->iov_count;
    child->done = read_done;
    blk_submit(blk_below(t->blk), child);
}

/* One part, ciphered here and now. */
static void write_at_once(struct luks_transfer *t, struct blk_req *req, uint64_t from, uint64_t to)
{
    struct luks_part *part = part_get(t);
    void *buffer = part ? buffer_get(blk_environment(t->blk)->buffers, to - from) : NULL;
    if (!buffer) {
        if (part)
            SLIST_INSERT_HEAD(&t->idle, part, link);
        blk_complete(req, -ENOMEM);
        return;
    }
    part->req = req;
    part->at = from;
    part->iov = (struct iovec){buffer, to - from};
    req->result = 0;
    req->scratch[NEXT].u64 = req->scratch[END].u64 = to;
    req->scratch[PARTS].u64 = 1;
    cipher_part(part);
    ciphered(part);
}

static void change(struct luks_transfer *t, struct blk_req *req, uint64_t from, uint64_t to)
{
    if (to > from && to - from <= t->part_bytes)
        write_at_once(t, req, from, to);
    else
        begin(t, req, from, to);
}

void luks_transfer_write(struct luks_transfer *t, struct blk_req *req)
{
    change(t, req, req->offset, req->offset + req->length_bytes);
}

void luks_transfer_zero(struct luks_transfer *t, struct blk_req *req, uint64_t from, uint64_t to)
{
    change(t, req, from, to);
}

void luks_transfer_init(struct luks_transfer *t, struct blk *blk, struct luks_cipher *cipher, uint64_t payload_offset,
                        uint64_t iv_tweak)
{
    const struct blk_limits *below = blk_limits(blk_below(blk));
    uint32_t most = below->max_transfer_bytes / LUKS_SECTOR_MAX * LUKS_SECTOR_MAX;
    *t = (struct luks_transfer){.blk = blk,
                                .cipher = cipher,
                                .payload_offset = payload_offset,
                                .iv_tweak = iv_tweak,
                                .part_bytes = most < LUKS_PART_BYTES ? most : LUKS_PART_BYTES};
    SLIST_INIT(&t->idle);
}

void luks_transfer_fini(struct luks_transfer *t)
{
    for (struct luks_part *part; (part = SLIST_FIRST(&t->idle));) {
        SLIST_REMOVE_HEAD(&t->idle, link);
        free(part);
    }
    luks_cipher_free(t->cipher);
    t->cipher = NULL;
}
