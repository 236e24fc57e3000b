/* Requests are cut into pieces that lie in one region each, and a piece runs when nothing that it may not meet is under
 * way there:
 *
 *     request -> pieces (a window of them at a time) -> waiting in the region -> active -> done
 *                                                                                  |  ^
 *                                                                                  v  |
 *                                     held: a member failed, and what that means is being recorded; or too few are left
 *
 * Two pieces may not meet if their ranges do and one of them writes. Who waits is not overtaken by whom it must not
 * meet. A piece of the volume's own (resync, scrub) takes the same way. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/log.h"
#include "replication/checksum.h"
#include "replication/volume_core.h"

enum { WINDOW = 16 };

static void begin_request(struct volume *v, struct blk_req *req);

struct piece *piece_get(struct volume *v, enum piece_kind kind)
{
    struct piece *p = TAILQ_FIRST(&v->idle_pieces);
    if (p) {
        TAILQ_REMOVE(&v->idle_pieces, p, link);
    } else if (!(p = malloc(sizeof *p))) {
        log_error("no memory for a part of a request");
        abort(); /* Rule Zero: the request was accepted and could never complete */
    }
    *p = (struct piece){.volume = v, .kind = kind};
    v->pieces++;
    return p;
}

/* ---- data ---- */

void piece_copy(const struct piece *p, uint64_t at, uint8_t *bytes, uint64_t length_bytes)
{
    const struct blk_req *req = p->req;
    for (int i = 0; i < req->iov_count && length_bytes; i++) {
        if (at >= req->iov[i].iov_len) {
            at -= req->iov[i].iov_len;
            continue;
        }
        uint8_t *there = (uint8_t *)req->iov[i].iov_base + at;
        uint64_t n = req->iov[i].iov_len - at < length_bytes ? req->iov[i].iov_len - at : length_bytes;
        if (req->op == BLK_WRITE)
            memcpy(bytes, there, n);
        else
            memcpy(there, bytes, n);
        at = 0;
        bytes += n;
        length_bytes -= n;
    }
}

unsigned piece_slice(const struct piece *p, uint64_t at, uint64_t length_bytes, struct iovec *iov, unsigned max)
{
    const struct blk_req *req = p->req;
    unsigned n = 0;
    for (int i = 0; i < req->iov_count && length_bytes; i++) {
        if (at >= req->iov[i].iov_len) {
            at -= req->iov[i].iov_len;
            continue;
        }
        uint64_t there = req->iov[i].iov_len - at < length_bytes ? req->iov[i].iov_len - at : length_bytes;
        if (n == max || there % BLOCK_BYTES)
            return 0;
        iov[n++] = (struct iovec){(uint8_t *)req->iov[i].iov_base + at, there};
        at = 0;
        length_bytes -= there;
    }
    return n;
}

bool piece_right(const struct iovec *iov, unsigned count, const uint32_t *sums)
{
    for (unsigned i = 0; i < count; i++)
        for (size_t at = 0; at < iov[i].iov_len; at += BLOCK_BYTES)
            if (*sums++ != htobe32(checksum_block((const uint8_t *)iov[i].iov_base + at)))
                return false;
    return true;
}

/* ---- turns ---- */

static bool writes(const struct piece *p)
{
    return p->kind != PIECE_READ;
}

static bool meets(const struct piece *a, const struct piece *b)
{
    return (writes(a) || writes(b)) && a->lock_from < b->lock_to && b->lock_from < a->lock_to;
}

static bool blocked(const struct region *r, const struct piece *p)
{
    const struct piece *other;
    TAILQ_FOREACH (other, &r->active, link)
        if (meets(p, other))
            return true;
    TAILQ_FOREACH (other, &r->waiting, link) {
        if (other == p)
            return false;
        if (meets(p, other))
            return true;
    }
    return false;
}

static void begin(struct piece *p)
{
    bool parity = p->volume->parity.parity;
    switch (p->kind) {
    case PIECE_READ:
        parity ? stripe_read(p) : mirror_read(p);
        break;
    case PIECE_RESYNC:
        parity ? stripe_resync(p) : mirror_resync(p);
        break;
    default:
        parity ? stripe_write(p) : mirror_write(p);
    }
}

static bool needs_heat(const struct piece *p)
{
    return p->kind == PIECE_WRITE || p->kind == PIECE_ZERO;
}

static struct piece *next_ready(struct region *r)
{
    struct piece *p;
    TAILQ_FOREACH (p, &r->waiting, link) {
        if (needs_heat(p) && r->state == REGION_COLD) {
            region_heat(p->volume, r);
            if (r->state == REGION_HOT) /* at once: then what waits was kicked meanwhile, and p may be over */
                return next_ready(r);
        }
        if ((!needs_heat(p) || r->state == REGION_HOT) && !blocked(r, p))
            return p;
    }
    return NULL;
}

static void fail_waiting(struct region *r)
{
    struct piece *p;
    while ((p = TAILQ_FIRST(&r->waiting))) {
        TAILQ_REMOVE(&r->waiting, p, link);
        p->region = NULL;
        piece_finish(p, p->volume->dead);
    }
}

void piece_kick(struct region *r)
{
    struct piece *p = TAILQ_FIRST(&r->waiting);
    if (p && p->volume->dead)
        fail_waiting(r);
    while (r->state != REGION_LOADING && (p = next_ready(r))) {
        TAILQ_REMOVE(&r->waiting, p, link);
        TAILQ_INSERT_TAIL(&r->active, p, link);
        p->active = true;
        r->used_ns = loop_now_ns(p->volume->loop);
        begin(p);
    }
}

void piece_enter(struct piece *p, uint64_t region)
{
    struct volume *v = p->volume;
    p->lock_from = UINT64_MAX;
    p->lock_to = 0;
    for (unsigned i = 0; i < p->part_count; i++) {
        const struct geometry_part *part = &p->parts[i];
        p->lock_from = part->offset < p->lock_from ? part->offset : p->lock_from;
        p->lock_to = part->offset + part->length_bytes > p->lock_to ? part->offset + part->length_bytes : p->lock_to;
        p->part_at[i] = i ? p->part_at[i - 1] + p->parts[i - 1].length_bytes : 0;
    }
    p->region = v->dead ? NULL : region_get(v, region);
    if (!p->region) {
        piece_finish(p, v->dead ? v->dead : -ENOMEM);
        return;
    }
    TAILQ_INSERT_TAIL(&p->region->waiting, p, link);
    piece_kick(p->region);
}

/* ---- waiting for the set ---- */

void piece_hold(struct piece *p, void (*resume)(struct piece *p))
{
    p->resume = resume;
    p->waits = true;
    TAILQ_INSERT_TAIL(&p->volume->held, p, held);
    piece_release_held(p->volume);
}

void piece_release_held(struct volume *v)
{
    struct piece_list ready = TAILQ_HEAD_INITIALIZER(ready);
    struct piece *p;
    if (!v->dead && !change_settled(v))
        return;
    TAILQ_CONCAT(&ready, &v->held, held);
    while ((p = TAILQ_FIRST(&ready))) {
        TAILQ_REMOVE(&ready, p, held);
        p->waits = false;
        if (v->dead)
            piece_finish(p, v->dead);
        else
            p->resume(p);
    }
}

/* ---- the end ---- */

static void piece_put(struct piece *p)
{
    TAILQ_INSERT_HEAD(&p->volume->idle_pieces, p, link);
    p->volume->pieces--;
}

static void request_progress(struct volume *v, struct blk_req *req, int result)
{
    if (result)
        req->scratch[1].u64 = (uint64_t)-result;
    req->scratch[0].u64--;
    begin_request(v, req);
}

void piece_finish(struct piece *p, int result)
{
    struct volume *v = p->volume;
    struct region *r = p->region;
    struct blk_req *req = p->req;
    if (p->active)
        TAILQ_REMOVE(&r->active, p, link);
    p->active = false;
    p->region = NULL;
    volume_buffer_put(v, p->buffer, p->length_bytes);
    p->buffer = NULL;
    volume_buffer_put(v, p->slice, PIECE_SLICES * sizeof *p->slice);
    p->slice = NULL;
    image_put(p);
    p->error = result;
    if (r)
        piece_kick(r);
    if (p->finished) {
        p->finished(p);
        piece_put(p);
        return;
    }
    piece_put(p);
    v->foreground_ns = loop_now_ns(v->loop);
    request_progress(v, req, result);
}

/* ---- requests: scratch is {pieces under way, errno, bytes begun} ---- */

static enum piece_kind kind_of(const struct blk_req *req)
{
    return req->op == BLK_READ ? PIECE_READ : req->op == BLK_WRITE ? PIECE_WRITE : PIECE_ZERO;
}

static struct piece *cut(struct volume *v, struct blk_req *req)
{
    struct piece *p = piece_get(v, kind_of(req));
    uint64_t span = geometry_span_bytes(&v->geometry), at = req->offset + req->scratch[2].u64;
    uint64_t left = req->length_bytes - req->scratch[2].u64, to_end = span - at % span;
    uint64_t max = req->op == BLK_READ || req->op == BLK_WRITE ? PIECE_MAX_BYTES : UINT32_MAX;
    left = left < to_end ? left : to_end;
    p->req = req;
    p->flags = req->flags & BLK_FUA;
    p->req_at = req->scratch[2].u64;
    p->offset = at;
    p->length_bytes = (uint32_t)(left < max ? left : max);
    if (v->parity.parity)
        stripe_cut(p, at, left);
    else
        p->part_count = geometry_parts(&v->geometry, at, p->length_bytes, p->parts);
    req->scratch[2].u64 += p->length_bytes;
    req->scratch[0].u64++;
    return p;
}

/* Goes on with a request, or completes it. An error ends it early. A piece may be over before piece_enter() returns, so
 * the request is counted once more meanwhile. */
static void begin_request(struct volume *v, struct blk_req *req)
{
    req->scratch[0].u64++;
    while (req->scratch[0].u64 <= WINDOW && req->scratch[2].u64 < req->length_bytes && !req->scratch[1].u64) {
        struct piece *p = cut(v, req);
        piece_enter(p, p->offset / geometry_span_bytes(&v->geometry));
    }
    if (--req->scratch[0].u64 == 0)
        blk_complete(req, -(int)req->scratch[1].u64);
}

static void flush_over(struct piece *p)
{
    piece_finish(p, p->volume->flush_error);
}

static void send_flush(struct piece *p);

/* A member that cannot be done without was away for a while: it has not flushed yet. */
static void flush_again(struct piece *p)
{
    if (p->volume->flush_error)
        flush_over(p);
    else
        send_flush(p);
}

static void flushed(struct fan *fan)
{
    struct piece *p = CONTAINER_OF(fan, struct piece, fan);
    struct volume *v = p->volume;
    member_set failed = member_judge_flush(v, fan);
    if (!failed)
        journal_flush_end(v, p->number);
    piece_hold(p, failed & v->in_sync ? flush_again : flush_over);
}

static void send_flush(struct piece *p)
{
    struct volume *v = p->volume;
    fan_begin(&p->fan, v, flushed);
    for (unsigned m = 0; m < v->geometry.members; m++)
        if (volume_targets(v) & member_bit(m))
            fan_add(&p->fan, m, BLK_FLUSH, 0, 0, NULL, 0);
    fan_end(&p->fan);
}

static void flush(struct volume *v, struct blk_req *req)
{
    struct piece *p = piece_get(v, PIECE_FLUSH);
    p->req = req;
    req->scratch[0].u64 = 1;
    req->scratch[2].u64 = req->length_bytes;
    p->number = journal_flush_begin(v);
    send_flush(p);
}

void volume_submit(struct blk *blk, struct blk_req *req)
{
    struct volume *v = blk_state(blk);
    memset(req->scratch, 0, sizeof req->scratch);
    bool durable = req->op == BLK_FLUSH || req->flags & BLK_FUA;
    if (v->dead || (durable && v->flush_error))
        blk_complete(req, v->dead ? v->dead : v->flush_error);
    else if (req->op == BLK_FLUSH)
        flush(v, req);
    else if (req->op == BLK_RESIZE)
        grow_begin(v, req);
    else
        begin_request(v, req);
}
