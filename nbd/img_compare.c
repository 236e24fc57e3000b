/* See img_compare.h.
 *
 * Both sides have a scout; a piece is a range in which neither side changes between data and
 * zeroes, at most a request long. A side that is zeroes there, by its scout or by having ended, is
 * not read.
 *
 * Pieces are handed out in order and come back in any. Once one differs no more are handed out, but
 * those before it are still waited for: the smallest offset wins. */
#include "nbd/img_compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk.h"
#include "nbd/img_scout.h"
#include "nbd/zeroes.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { SLOTS = 8, REQUEST_BYTES = 256 << 10, GRAIN_BYTES = 64 << 10 };

struct slot;

struct side {
    struct slot *slot;
    struct blk_req req;
    struct iovec iov;
    char *buffer;
    uint32_t shift; /* where the piece begins in the buffer */
    bool data;      /* it is read; else it is zeroes */
};

struct slot {
    struct img_compare *compare;
    struct side side[2];
    unsigned outstanding;
    uint64_t at, length_bytes;
    STAILQ_ENTRY(slot) link;
};

struct img_compare {
    struct blk_env env;
    struct blk *blk[2];
    void (*done)(void *context, int result, const struct err *err);
    void *context;
    struct img_compare_result totals;
    uint64_t at, end;
    uint32_t request_bytes, buffer_bytes;
    int result;
    struct err err;
    struct img_scout scout[2];
    struct loop_job finish;
    unsigned busy;
    STAILQ_HEAD(, slot) idle;
    struct slot slots[SLOTS];
};

static const char *const names[2] = {"first", "second"};

static void pump(struct img_compare *c);

static void fail(struct img_compare *c, int result, const char *doing, unsigned side, uint64_t offset)
{
    if (!c->result)
        c->result = err_set(&c->err, -result, "%s the %s image at offset %llu: %s", doing, names[side],
                            (unsigned long long)offset, strerror(-result));
    img_scout_stop(&c->scout[0]);
    img_scout_stop(&c->scout[1]);
}

/* ---- a piece ---- */

static const char *bytes_of(const struct side *side)
{
    return side->data ? side->buffer + side->shift : NULL;
}

/* The first offset that differs, or length_bytes. A side without bytes is zeroes. */
static uint64_t first_difference(const char *a, const char *b, uint64_t length_bytes)
{
    if (a && b ? memcmp(a, b, length_bytes) == 0 : zeroes(a ? a : b, length_bytes))
        return length_bytes;
    uint64_t i = 0;
    while ((a ? a[i] : 0) == (b ? b[i] : 0))
        i++;
    return i;
}

static void judge(struct slot *slot)
{
    struct img_compare *c = slot->compare;
    uint64_t same = first_difference(bytes_of(&slot->side[0]), bytes_of(&slot->side[1]), slot->length_bytes);
    c->totals.compared_bytes += same;
    if (same == slot->length_bytes)
        return;
    if (!c->totals.differ || slot->at + same < c->totals.first_offset)
        c->totals.first_offset = slot->at + same;
    c->totals.differ = true;
    img_scout_stop(&c->scout[0]);
    img_scout_stop(&c->scout[1]);
}

static void read_done(struct blk_req *req)
{
    struct side *side = CONTAINER_OF(req, struct side, req);
    struct slot *slot = side->slot;
    struct img_compare *c = slot->compare;
    if (req->result)
        fail(c, req->result, "reading", side == &slot->side[1], req->offset);
    if (--slot->outstanding)
        return;
    if (!c->result)
        judge(slot);
    c->busy--;
    STAILQ_INSERT_HEAD(&c->idle, slot, link);
    pump(c);
}

static void read_side(struct slot *slot, unsigned i)
{
    struct side *side = &slot->side[i];
    struct blk *blk = slot->compare->blk[i];
    uint64_t mask = blk_limits(blk)->align_bytes - 1;
    uint64_t first = slot->at & ~mask, last = (slot->at + slot->length_bytes + mask) & ~mask;
    side->shift = (uint32_t)(slot->at - first);
    side->iov = (struct iovec){side->buffer, last - first};
    side->req.op = BLK_READ;
    side->req.offset = first;
    side->req.length_bytes = last - first;
    side->req.iov = &side->iov;
    side->req.iov_count = 1;
    side->req.done = read_done;
    slot->outstanding++;
    blk_submit(blk, &side->req);
}

/* ---- planning ---- */

/* What side i has at c->at; false: not known yet. */
static bool look(struct img_compare *c, unsigned i, uint64_t *length_bytes, bool *data)
{
    uint64_t size = blk_size(c->blk[i]);
    bool zero = true;
    if (c->at >= size) {
        *length_bytes = c->end - c->at;
    } else {
        if (!img_scout_look(&c->scout[i], c->at, length_bytes, &zero))
            return false;
        if (*length_bytes > size - c->at)
            *length_bytes = size - c->at;
    }
    *data = !zero;
    return true;
}

/* Puts the next piece that has to be read into slot. False: nothing is left, or a scout has to come
 * back first. */
static bool plan(struct img_compare *c, struct slot *slot)
{
    while (c->at < c->end) {
        uint64_t length[2];
        for (unsigned i = 0; i < 2; i++)
            if (!look(c, i, &length[i], &slot->side[i].data))
                return false;
        slot->at = c->at;
        slot->length_bytes = length[0] < length[1] ? length[0] : length[1];
        if (!slot->side[0].data && !slot->side[1].data) {
            c->at += slot->length_bytes;
            c->totals.zero_bytes += slot->length_bytes;
            continue;
        }
        if (slot->length_bytes > c->request_bytes)
            slot->length_bytes = c->request_bytes;
        c->at += slot->length_bytes;
        return true;
    }
    return false;
}

static void finish(struct loop_job *job)
{
    struct img_compare *c = CONTAINER_OF(job, struct img_compare, finish);
    c->done(c->context, c->result, &c->err);
}

static void pump(struct img_compare *c)
{
    struct slot *slot;
    for (unsigned i = 0; i < 2; i++)
        if (c->scout[i].result)
            fail(c, c->scout[i].result, "asking for the extents of", i, c->scout[i].next);
    while (!c->result && !c->totals.differ && (slot = STAILQ_FIRST(&c->idle)) && plan(c, slot)) {
        STAILQ_REMOVE_HEAD(&c->idle, link);
        c->busy++;
        for (unsigned i = 0; i < 2; i++)
            if (slot->side[i].data)
                read_side(slot, i);
    }
    if (!c->busy && !c->scout[0].busy && !c->scout[1].busy)
        loop_defer(c->env.loop, &c->finish);
}

static void first_ready(struct img_scout *scout)
{
    pump(CONTAINER_OF(scout, struct img_compare, scout[0]));
}

static void second_ready(struct img_scout *scout)
{
    pump(CONTAINER_OF(scout, struct img_compare, scout[1]));
}

/* ---- setting up ---- */

static int check_sides(struct img_compare *c, struct err *err)
{
    c->request_bytes = REQUEST_BYTES;
    c->buffer_bytes = REQUEST_BYTES;
    for (unsigned i = 0; i < 2; i++) {
        const struct blk_limits *limits = blk_limits(c->blk[i]);
        uint64_t size = blk_size(c->blk[i]);
        uint32_t around = limits->align_bytes > 1 ? 2 * limits->align_bytes : 0;
        if (size % limits->align_bytes)
            return err_set(err, EINVAL,
                           "the end of the %s image cannot be read: its size, %llu, is not a multiple of its "
                           "alignment, %u",
                           names[i], (unsigned long long)size, limits->align_bytes);
        if (c->request_bytes + around > limits->max_transfer_bytes)
            c->request_bytes =
                limits->max_transfer_bytes > 2 * around ? limits->max_transfer_bytes - around : limits->align_bytes;
        if (c->buffer_bytes < REQUEST_BYTES + around)
            c->buffer_bytes = REQUEST_BYTES + around;
        c->end = size > c->end ? size : c->end;
    }
    return 0;
}

static int get_buffers(struct img_compare *c)
{
    STAILQ_INIT(&c->idle);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &c->slots[i];
        slot->compare = c;
        STAILQ_INSERT_TAIL(&c->idle, slot, link);
        for (unsigned k = 0; k < 2; k++) {
            slot->side[k].slot = slot;
            slot->side[k].buffer = buffer_get(c->env.buffers, c->buffer_bytes);
            if (!slot->side[k].buffer)
                return -ENOMEM;
        }
    }
    return 0;
}

int img_compare_start(const struct blk_env *env, struct blk *a, struct blk *b,
                      void (*done)(void *context, int result, const struct err *err), void *context,
                      struct img_compare **out, struct err *err)
{
    struct img_compare *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ENOMEM, "no memory for a comparison");
    c->env = *env;
    c->blk[0] = a;
    c->blk[1] = b;
    c->done = done;
    c->context = context;
    c->finish.run = finish;
    int rc = check_sides(c, err);
    if (!rc && get_buffers(c))
        rc = err_set(err, ENOMEM, "no memory for buffers");
    if (rc) {
        img_compare_free(c);
        return rc;
    }
    *out = c;
    img_scout_start(&c->scout[0], a, 0, blk_size(a), GRAIN_BYTES, false, first_ready);
    img_scout_start(&c->scout[1], b, 0, blk_size(b), GRAIN_BYTES, false, second_ready);
    pump(c);
    return 0;
}

struct img_compare_result img_compare_result(const struct img_compare *compare)
{
    return compare->totals;
}

void img_compare_free(struct img_compare *compare)
{
    if (!compare)
        return;
    for (unsigned i = 0; i < SLOTS; i++)
        for (unsigned k = 0; k < 2; k++)
            buffer_put(compare->env.buffers, compare->slots[i].side[k].buffer, compare->buffer_bytes);
    free(compare);
}
