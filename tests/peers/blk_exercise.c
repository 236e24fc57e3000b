/* Exercises any stack with seeded random requests, several in flight, and compares every byte read
 * with a shadow copy.
 *
 *     blk_exercise [-n requests] [-q in-flight] [-s seed] [-b max-bytes] [-a area-bytes] [-r] [-p
 * FILE] STACK
 *
 * -r opens read-only and reads only. -p writes the number of finished requests to FILE now and
 * then. Exit: 0 all went well, 1 something did not (said on standard error), 2 usage. Ranges in
 * flight never overlap, so that the shadow knows what must be there. What a trim leaves is not
 * known, until it is written. */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/blk.h"
#include "nbd/blk_driver.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"
#include "node/base/units.h"
#include "node/base/worker.h"

enum { DEPTH_MAX = 256, VECTORS = 3, EXTENTS = 64, PROGRESS_EVERY = 100 };

struct slot {
    struct exercise *exercise;
    struct blk_req req;
    struct iovec iov[VECTORS];
    struct blk_extent extents[EXTENTS];
    unsigned char *buffer;
    bool busy;
};

struct exercise {
    struct blk_env env;
    struct blk *blk;
    uint64_t requests, started, ended, in_flight, depth, max_bytes, area_bytes, seed, random, failures;
    bool read_only;
    const char *progress;
    unsigned char *shadow, *known; /* known: 1 if the shadow says what must be there */
    struct slot slots[DEPTH_MAX];
};

static uint64_t roll(struct exercise *x, uint64_t below)
{
    x->random ^= x->random << 13; /* xorshift64 */
    x->random ^= x->random >> 7;
    x->random ^= x->random << 17;
    return below ? x->random % below : 0;
}

__attribute__((format(printf, 3, 4))) static void complain(struct slot *s, const char *what, const char *format, ...)
{
    const struct blk_req *r = &s->req;
    char text[200] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->exercise->failures++;
    fprintf(stderr, "%s at %llu+%llu: %s %s\n", blk_op_name(r->op), (unsigned long long)r->offset,
            (unsigned long long)r->length_bytes, what, text);
}

/* ---- judging ---- */

static void check_read(struct slot *s)
{
    struct exercise *x = s->exercise;
    for (uint64_t i = 0; i < s->req.length_bytes; i++) {
        uint64_t at = s->req.offset + i;
        if (x->known[at] && x->shadow[at] != s->buffer[i]) {
            complain(s, "differs", "at byte %llu: read %02x, wanted %02x", (unsigned long long)i, s->buffer[i],
                     x->shadow[at]);
            return;
        }
    }
}

static void check_extents(struct slot *s)
{
    struct exercise *x = s->exercise;
    uint64_t at = s->req.offset, end = at + s->req.length_bytes;
    if (s->req.extent_count < 1 || s->req.extent_count > EXTENTS) {
        complain(s, "bad count", "%u", s->req.extent_count);
        return;
    }
    for (uint32_t e = 0; e < s->req.extent_count; e++) {
        uint64_t n = s->extents[e].length_bytes;
        if (!n || n > end - at) {
            complain(s, "bad extent", "of %llu bytes", (unsigned long long)n);
            return;
        }
        for (uint64_t i = at; s->extents[e].flags & BLK_EXTENT_ZERO && i < at + n; i++) {
            if (x->known[i] && x->shadow[i]) {
                complain(s, "says zero", "at %llu, where data was written", (unsigned long long)i);
                return;
            }
        }
        at += n;
    }
}

static void report_progress(const struct exercise *x)
{
    FILE *f = x->progress && x->ended % PROGRESS_EVERY == 0 ? fopen(x->progress, "w") : NULL;
    if (f) {
        fprintf(f, "%llu\n", (unsigned long long)x->ended);
        fclose(f);
    }
}

static void start(struct slot *s);

static void ended(struct blk_req *req)
{
    struct slot *s = CONTAINER_OF(req, struct slot, req);
    struct exercise *x = s->exercise;
    if (req->result)
        complain(s, "failed:", "%s", strerror(-req->result));
    else if (req->op == BLK_READ)
        check_read(s);
    else if (req->op == BLK_EXTENTS)
        check_extents(s);
    s->busy = false;
    x->in_flight--;
    x->ended++;
    report_progress(x);
    if (x->started < x->requests && !x->failures)
        start(s);
}

/* ---- asking ---- */

static enum blk_op choose_op(struct exercise *x)
{
    static const enum blk_op mix[] = {BLK_READ,  BLK_READ,  BLK_READ,  BLK_READ,    BLK_READ,  BLK_READ,
                                      BLK_WRITE, BLK_WRITE, BLK_WRITE, BLK_WRITE,   BLK_WRITE, BLK_WRITE,
                                      BLK_ZERO,  BLK_TRIM,  BLK_FLUSH, BLK_EXTENTS, BLK_CACHE};
    static const uint32_t needs[BLK_OP_COUNT] = {[BLK_TRIM] = BLK_CAN_TRIM,
                                                 [BLK_ZERO] = BLK_CAN_ZERO,
                                                 [BLK_CACHE] = BLK_CAN_CACHE,
                                                 [BLK_EXTENTS] = BLK_CAN_EXTENTS};
    enum blk_op op = mix[roll(x, sizeof mix / sizeof *mix)];
    bool change = op == BLK_WRITE || op == BLK_ZERO || op == BLK_TRIM;
    if ((change && x->read_only) || (needs[op] & ~blk_can(x->blk)))
        return BLK_READ;
    return op;
}

static bool overlaps(const struct exercise *x, uint64_t offset, uint64_t length)
{
    for (uint64_t i = 0; i < x->depth; i++) {
        const struct blk_req *r = &x->slots[i].req;
        if (x->slots[i].busy && r->op != BLK_FLUSH && offset < r->offset + r->length_bytes &&
            r->offset < offset + length)
            return true;
    }
    return false;
}

static void choose_range(struct exercise *x, struct blk_req *req)
{
    uint64_t align = blk_limits(x->blk)->align_bytes, units = x->area_bytes / align;
    uint64_t max_units = x->max_bytes / align ? x->max_bytes / align : 1;
    do {
        /* small ones are as likely as large ones */
        uint64_t limit = roll(x, 2) ? max_units : (max_units < 64 ? max_units : max_units / 64);
        uint64_t length = 1 + roll(x, limit < units ? limit : units);
        req->offset = roll(x, units - length + 1) * align;
        req->length_bytes = length * align;
    } while (overlaps(x, req->offset, req->length_bytes));
}

static void cut_vector(struct slot *s)
{
    uint64_t left = s->req.length_bytes;
    unsigned char *at = s->buffer;
    for (int i = 0; i < VECTORS; i++) {
        uint64_t n = i == VECTORS - 1 ? left : roll(s->exercise, left + 1);
        s->iov[i] = (struct iovec){at, n};
        at += n;
        left -= n;
    }
}

static void foresee(struct slot *s)
{
    struct exercise *x = s->exercise;
    const struct blk_req *r = &s->req;
    if (r->op == BLK_WRITE) {
        for (uint64_t i = 0; i < r->length_bytes; i++)
            s->buffer[i] = (unsigned char)(roll(x, 0), x->random >> 24);
        memcpy(x->shadow + r->offset, s->buffer, r->length_bytes);
    } else if (r->op == BLK_ZERO) {
        memset(x->shadow + r->offset, 0, r->length_bytes);
    } else if (r->op == BLK_READ) {
        memset(s->buffer, 0xa5, r->length_bytes);
    }
    if (r->op == BLK_WRITE || r->op == BLK_ZERO || r->op == BLK_TRIM)
        memset(x->known + r->offset, r->op != BLK_TRIM, r->length_bytes);
}

static void start(struct slot *s)
{
    struct exercise *x = s->exercise;
    enum blk_op op = choose_op(x);
    s->req = (struct blk_req){.op = op, .iov = s->iov, .iov_count = VECTORS, .done = ended};
    if (op != BLK_FLUSH)
        choose_range(x, &s->req);
    s->req.extents = s->extents;
    s->req.extent_max = EXTENTS;
    if ((op == BLK_WRITE || op == BLK_ZERO) && roll(x, 8) == 0)
        s->req.flags |= BLK_FUA;
    if (op == BLK_ZERO && roll(x, 2))
        s->req.flags |= BLK_NO_HOLE;
    cut_vector(s);
    foresee(s);
    s->busy = true;
    x->started++;
    x->in_flight++;
    blk_submit(x->blk, &s->req);
}

/* ---- the whole ---- */

static void wait_idle(struct exercise *x)
{
    while (x->in_flight)
        loop_step(x->env.loop);
}

/* Reads the whole area: into the shadow, or against it. */
static void sweep(struct exercise *x, bool compare)
{
    struct slot *s = &x->slots[0];
    uint64_t requests = x->requests;
    x->requests = 0;
    for (uint64_t at = 0; at < x->area_bytes && !x->failures; at += s->req.length_bytes) {
        uint64_t left = x->area_bytes - at;
        s->req = (struct blk_req){.op = BLK_READ,
                                  .offset = at,
                                  .length_bytes = left < x->max_bytes ? left : x->max_bytes,
                                  .iov = s->iov,
                                  .iov_count = 1,
                                  .done = ended};
        s->iov[0] = (struct iovec){s->buffer, s->req.length_bytes};
        s->busy = true;
        x->in_flight++;
        blk_submit(x->blk, &s->req);
        wait_idle(x);
        if (!compare && !x->failures)
            memcpy(x->shadow + at, s->buffer, s->req.length_bytes);
    }
    x->requests = requests;
}

static void flush(struct exercise *x)
{
    struct slot *s = &x->slots[0];
    s->req = (struct blk_req){.op = BLK_FLUSH, .done = ended};
    s->busy = true;
    x->in_flight++;
    blk_submit(x->blk, &s->req);
    wait_idle(x);
}

static int run(struct exercise *x)
{
    uint64_t align = blk_limits(x->blk)->align_bytes, max = blk_limits(x->blk)->max_transfer_bytes;
    x->area_bytes = (x->area_bytes < blk_size(x->blk) ? x->area_bytes : blk_size(x->blk)) / align * align;
    x->max_bytes = (x->max_bytes < max ? x->max_bytes : max) / align * align;
    if (!x->max_bytes)
        x->max_bytes = align;
    /* ranges in flight must find room beside each other */
    if (x->max_bytes * x->depth * 4 > x->area_bytes)
        x->max_bytes = x->area_bytes / x->depth / 4 / align * align;
    if (!x->max_bytes) {
        fprintf(stderr, "the disk is too small for %llu requests in flight\n", (unsigned long long)x->depth);
        return 1;
    }
    x->read_only |= blk_read_only(x->blk);
    x->shadow = calloc(1, x->area_bytes);
    x->known = calloc(1, x->area_bytes);
    for (uint64_t i = 0; i < x->depth; i++) {
        x->slots[i].exercise = x;
        x->slots[i].buffer = malloc(x->max_bytes);
    }
    sweep(x, false);
    memset(x->known, 1, x->area_bytes);
    for (uint64_t i = 0; i < x->depth && x->started < x->requests && !x->failures; i++)
        start(&x->slots[i]);
    wait_idle(x);
    if (!x->failures)
        flush(x);
    if (!x->failures)
        sweep(x, true);
    for (uint64_t i = 0; i < x->depth; i++)
        free(x->slots[i].buffer);
    free(x->shadow);
    free(x->known);
    return x->failures ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct exercise x = {
        .requests = 2000, .depth = 8, .seed = 1, .max_bytes = 256 << 10, .area_bytes = 32 << 20};
    struct err err = {0};
    int option;
    while ((option = getopt(argc, argv, "n:q:s:b:a:rp:")) != -1) {
        uint64_t *number = option == 'n'   ? &x.requests
                           : option == 'q' ? &x.depth
                           : option == 's' ? &x.seed
                           : option == 'b' ? &x.max_bytes
                           : option == 'a' ? &x.area_bytes
                                           : NULL;
        if (number && units_parse_size(optarg, number, &err))
            return 2;
        if (number)
            continue;
        if (option == 'r')
            x.read_only = true;
        else if (option == 'p')
            x.progress = optarg;
        else
            return 2;
    }
    if (optind != argc - 1 || !x.depth || x.depth > DEPTH_MAX) {
        fprintf(stderr, "usage: blk_exercise [-n requests] [-q in-flight] [-s seed] [-b max-bytes] "
                        "[-a area-bytes] [-r] [-p FILE] "
                        "STACK\n");
        return 2;
    }
    x.random = x.seed * UINT64_C(0x9e3779b97f4a7c15) | 1;
    log_init("blk_exercise", LOG_LEVEL_INFO);
    blk_drivers_register();
    x.env.loop = loop_new(&err);
    x.env.worker = x.env.loop ? worker_new(x.env.loop, 2, &err) : NULL;
    x.env.buffers = buffer_pool_new(8 << 20);
    if (!x.env.worker || blk_open(&x.env, argv[optind], x.read_only ? BLK_OPEN_READ_ONLY : 0, &x.blk, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    int rc = run(&x);
    printf("%llu requests, %llu failures\n", (unsigned long long)x.ended, (unsigned long long)x.failures);
    blk_close(x.blk);
    worker_free(x.env.worker);
    buffer_pool_free(x.env.buffers);
    loop_free(x.env.loop);
    return rc;
}
