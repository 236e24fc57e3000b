/* A witness that is a small disk: any stack of at least SUPERBLOCK_SLOTS slots, such as a file of 128 KiB, or one that
 * a third node exports. It is written like a member's superblock. */
#include "replication/witness_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/container.h"
#include "node/base/err.h"

struct witness_disk {
    struct witness witness;
    struct blk *blk;
    struct loop *loop;
    uint64_t sequence;
    uint8_t *slot; /* SUPERBLOCK_BYTES */
    struct iovec iov;
    struct blk_req req;
    bool busy;
    uint64_t begin_ns;
    void (*told)(void *context, int result); /* it is to be made durable; in its turn: of `next` */
    void *context;
    struct superblock next;
    bool recording;
    void (*asked)(void *context, int result);
    void *asker;
};

static void begin_record(struct witness_disk *w);
static void submit(struct witness_disk *w, enum blk_op op, uint64_t offset);

/* What is asked for waits for what is under way; a record comes first. */
static void go_on(struct witness_disk *w)
{
    if (w->busy)
        return;
    if (w->told)
        begin_record(w);
    else if (w->asked)
        submit(w, BLK_READ, superblock_slot_offset(w->sequence));
}

static void done(struct blk_req *req)
{
    struct witness_disk *w = CONTAINER_OF(req, struct witness_disk, req);
    void (*then)(void *, int) = w->recording ? w->told : w->asked;
    void *context = w->recording ? w->context : w->asker;
    int result = req->result;
    if (w->recording) {
        w->told = NULL;
        w->sequence += !result; /* a slot that may be torn is the one that is written next */
    } else {
        w->asked = NULL;
    }
    w->busy = w->recording = false;
    if (then)
        then(context, result);
    go_on(w);
}

static void submit(struct witness_disk *w, enum blk_op op, uint64_t offset)
{
    w->busy = true;
    w->begin_ns = loop_now_ns(w->loop);
    w->iov = (struct iovec){w->slot, SUPERBLOCK_BYTES};
    w->req.op = op;
    w->req.flags = op == BLK_WRITE ? BLK_FUA : 0;
    w->req.offset = offset;
    w->req.length_bytes = SUPERBLOCK_BYTES;
    w->req.iov = &w->iov;
    w->req.iov_count = 1;
    w->req.done = done;
    blk_submit(w->blk, &w->req);
}

static int recall(struct witness *witness, enum superblock_verdict *verdict, struct superblock *sb)
{
    struct witness_disk *w = CONTAINER_OF(witness, struct witness_disk, witness);
    uint8_t copies[SUPERBLOCK_SLOTS][SUPERBLOCK_BYTES];
    const void *const slots[SUPERBLOCK_SLOTS] = {copies[0], copies[1]};
    for (uint64_t i = 0; i < SUPERBLOCK_SLOTS; i++) {
        submit(w, BLK_READ, superblock_slot_offset(i));
        while (w->busy)
            loop_step(w->loop);
        if (w->req.result)
            return w->req.result;
        memcpy(copies[i], w->slot, SUPERBLOCK_BYTES);
    }
    *verdict = superblock_read(slots, sb);
    if (*verdict == SUPERBLOCK_OK)
        w->sequence = sb->sequence;
    return 0;
}

static void begin_record(struct witness_disk *w)
{
    w->next.sequence = w->sequence + 1;
    superblock_write(&w->next, w->slot);
    w->recording = true;
    submit(w, BLK_WRITE, superblock_slot_offset(w->next.sequence));
}

static void record(struct witness *witness, const struct superblock *sb, void (*told)(void *context, int result),
                   void *context)
{
    struct witness_disk *w = CONTAINER_OF(witness, struct witness_disk, witness);
    w->next = *sb;
    w->told = told;
    w->context = context;
    go_on(w);
}

static void ask(struct witness *witness, void (*asked)(void *context, int result), void *context)
{
    struct witness_disk *w = CONTAINER_OF(witness, struct witness_disk, witness);
    w->asked = asked;
    w->asker = context;
    go_on(w);
}

static void hurry(struct witness *witness, uint64_t patience_ns)
{
    struct witness_disk *w = CONTAINER_OF(witness, struct witness_disk, witness);
    uint64_t now_ns = loop_now_ns(w->loop);
    if (!w->busy || now_ns - w->begin_ns < patience_ns)
        return;
    w->begin_ns = now_ns;
    blk_abandon(w->blk);
}

static void release(struct witness *witness)
{
    struct witness_disk *w = CONTAINER_OF(witness, struct witness_disk, witness);
    while (w->busy)
        loop_step(w->loop);
    blk_close(w->blk);
    free(w->slot);
    free(w);
}

int witness_disk_open(const struct blk_env *env, const char *stack, struct witness **witness, struct err *err)
{
    struct witness_disk *w = calloc(1, sizeof *w);
    if (!w || !(w->slot = aligned_alloc(4096, SUPERBLOCK_BYTES))) {
        free(w);
        return err_set(err, ENOMEM, "no memory for a witness");
    }
    int rc = blk_open(env, stack, 0, &w->blk, err);
    if (!rc && blk_size(w->blk) < superblock_slot_offset(SUPERBLOCK_SLOTS - 1) + SUPERBLOCK_BYTES) {
        blk_close(w->blk);
        rc = err_set(err, EINVAL, "a witness needs at least 68K");
    }
    if (rc) {
        free(w->slot);
        free(w);
        return rc;
    }
    w->loop = env->loop;
    w->witness = (struct witness){recall, record, ask, hurry, release};
    *witness = &w->witness;
    return 0;
}
