#include "nbd/fence.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "nbd/zeroes.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/cursor.h"
#include "node/base/emit.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { SLOTS = 2, SLOT_BYTES = 4096, RECORD_BYTES = 32, DIGEST_BYTES = 32, VERSION = 1 };

static const char magic[8] = {'D', 'R', 'O', 'V', 'E', 'R', 'F', 'E'};

struct fence {
    struct blk *blk;
    uint64_t epoch, sequence;
    STAILQ_HEAD(, fence_raise) waiting;
    uint64_t writing; /* epoch; 0: nothing is written */
    struct blk_req req;
    struct iovec iov;
    uint8_t *slot; /* SLOT_BYTES, of the pool while it is written */
    struct loop_job tell;
};

/* ---- records ---- */

static void digest(const uint8_t *record, uint8_t to[DIGEST_BYTES])
{
    if (EVP_Digest(record, RECORD_BYTES, to, NULL, EVP_sha256(), NULL) != 1)
        memset(to, 0, DIGEST_BYTES); /* no record has this one */
}

static void write_record(uint8_t slot[SLOT_BYTES], uint64_t sequence, uint64_t epoch)
{
    memset(slot, 0, SLOT_BYTES);
    struct emit e = emit_to(slot, RECORD_BYTES);
    emit_bytes(&e, magic, sizeof magic);
    emit_u32(&e, VERSION);
    emit_u32(&e, 0);
    emit_u64(&e, sequence);
    emit_u64(&e, epoch);
    digest(slot, slot + RECORD_BYTES);
}

static bool read_record(const uint8_t *slot, uint64_t *sequence, uint64_t *epoch)
{
    uint8_t expected[DIGEST_BYTES];
    struct cursor c = cursor_of(slot, RECORD_BYTES);
    digest(slot, expected);
    if (memcmp(cursor_take(&c, sizeof magic), magic, sizeof magic) != 0 || cursor_u32(&c) != VERSION ||
        memcmp(slot + RECORD_BYTES, expected, DIGEST_BYTES) != 0)
        return false;
    cursor_u32(&c);
    *sequence = cursor_u64(&c);
    *epoch = cursor_u64(&c);
    return true;
}

static int take_records(struct fence *f, const uint8_t *front, struct err *err)
{
    bool found = false;
    for (unsigned i = 0; i < SLOTS; i++) {
        uint64_t sequence, epoch;
        if (!read_record(front + i * SLOT_BYTES, &sequence, &epoch) || (found && sequence <= f->sequence))
            continue;
        f->sequence = sequence;
        f->epoch = epoch;
        found = true;
    }
    if (found || zeroes(front, FENCE_BYTES))
        return 0;
    return err_set(
        err, EMEDIUMTYPE,
        "the first 64 KiB are neither zeroes nor a fence of this version: it is somebody's data, or damaged");
}

/* ---- raising ---- */

static void write_next(struct fence *f);

static void tell(struct loop_job *job)
{
    struct fence *f = CONTAINER_OF(job, struct fence, tell);
    int result = f->req.result;
    struct fence_raise *r, *next;
    STAILQ_HEAD(, fence_raise) answered = STAILQ_HEAD_INITIALIZER(answered);
    for (r = STAILQ_FIRST(&f->waiting); r; r = next) {
        next = STAILQ_NEXT(r, link);
        if (r->epoch > f->epoch && !result)
            continue;
        STAILQ_REMOVE(&f->waiting, r, fence_raise, link);
        STAILQ_INSERT_TAIL(&answered, r, link);
    }
    while ((r = STAILQ_FIRST(&answered))) {
        STAILQ_REMOVE_HEAD(&answered, link);
        r->done(r, r->epoch <= f->epoch ? 0 : result);
    }
    if (!f->writing)
        write_next(f);
}

static void written(struct blk_req *req)
{
    struct fence *f = CONTAINER_OF(req, struct fence, req);
    buffer_put(blk_environment(f->blk)->buffers, f->slot, SLOT_BYTES);
    if (!req->result) {
        f->epoch = f->writing;
        f->sequence++;
    } else {
        log_error("fence: epoch %" PRIu64 " cannot be recorded: %s", f->writing, strerror(-req->result));
    }
    f->writing = 0;
    tell(&f->tell);
}

/* The greatest epoch that somebody waits for; whoever waits for a smaller one is overtaken. */
static void write_next(struct fence *f)
{
    struct fence_raise *r;
    uint64_t epoch = 0;
    STAILQ_FOREACH (r, &f->waiting, link)
        epoch = r->epoch > epoch ? r->epoch : epoch;
    if (!epoch)
        return;
    f->req.result = 0;
    if (epoch > f->epoch && blk_read_only(f->blk))
        f->req.result = -EROFS;
    else if (epoch > f->epoch && !(f->slot = buffer_get(blk_environment(f->blk)->buffers, SLOT_BYTES)))
        f->req.result = -ENOMEM;
    if (epoch <= f->epoch || f->req.result) {
        loop_defer(blk_environment(f->blk)->loop, &f->tell);
        return;
    }
    f->writing = epoch;
    write_record(f->slot, f->sequence + 1, epoch);
    f->iov = (struct iovec){f->slot, SLOT_BYTES};
    f->req = (struct blk_req){.op = BLK_WRITE,
                              .flags = BLK_FUA,
                              .offset = (f->sequence + 1) % SLOTS * SLOT_BYTES,
                              .length_bytes = SLOT_BYTES,
                              .iov = &f->iov,
                              .iov_count = 1,
                              .done = written};
    blk_submit(blk_below(f->blk), &f->req);
}

void fence_raise(struct fence *f, struct fence_raise *raise)
{
    STAILQ_INSERT_TAIL(&f->waiting, raise, link);
    if (!f->writing)
        write_next(f);
}

uint64_t fence_epoch(const struct fence *f)
{
    return f->epoch;
}

struct fence *fence_of(struct blk *top)
{
    for (struct blk *b = top; b; b = blk_below(b))
        if (!strcmp(blk_driver_name(b), fence_driver.name))
            return blk_state(b);
    return NULL;
}

/* ---- the driver ---- */

static void fence_submit(struct blk *blk, struct blk_req *req)
{
    if (req->op == BLK_FLUSH)
        blk_forward(blk, req);
    else
        blk_forward_at(blk, req, req->offset + FENCE_BYTES);
}

static int read_front(struct fence *f, struct err *err)
{
    const struct blk_env *env = blk_environment(f->blk);
    uint8_t *front = buffer_get(env->buffers, FENCE_BYTES);
    if (!front)
        return err_set(err, ENOMEM, "no memory to read the fence");
    int rc = blk_now(blk_below(f->blk), BLK_READ, 0, 0, front, FENCE_BYTES);
    rc = rc ? err_set(err, -rc, "the fence cannot be read: %s", strerror(-rc)) : take_records(f, front, err);
    buffer_put(env->buffers, front, FENCE_BYTES);
    return rc;
}

static int fence_open(struct blk *blk, const void *config, struct err *err)
{
    struct fence *f = blk_state(blk);
    (void)config;
    if (blk_limits(blk)->align_bytes > SLOT_BYTES)
        return err_set(err, EINVAL, "the layer below has blocks of %u bytes, a fence needs 4096 or less",
                       blk_limits(blk)->align_bytes);
    if (blk_size(blk) <= FENCE_BYTES)
        return err_set(err, EINVAL, "the layer below has %" PRIu64 " bytes, of which a fence takes 65536",
                       blk_size(blk));
    f->blk = blk;
    f->tell.run = tell;
    STAILQ_INIT(&f->waiting);
    int rc = read_front(f, err);
    blk_set_size(blk, blk_size(blk) - FENCE_BYTES);
    return rc;
}

static void fence_close(struct blk *blk)
{
    (void)blk; /* whoever waits for an epoch is still there, so nothing waits */
}

static const struct blk_option fence_options[] = {{.name = NULL}};

const struct blk_driver fence_driver = {
    .name = "fence",
    .filter = true,
    .options = fence_options,
    .state_bytes = sizeof(struct fence),
    .open = fence_open,
    .close = fence_close,
    .submit = fence_submit,
};
