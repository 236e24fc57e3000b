#include "tests/unit/sim_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SECTOR = 512 };

struct sim_world sim_world;

struct sim_config {
    uint64_t disk;
};

uint32_t sim_roll(uint32_t n)
{
    uint64_t x = sim_world.random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    sim_world.random = x;
    return n ? (uint32_t)((x * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % n : 0;
}

void sim_disk_make(unsigned disk, uint64_t size_bytes, uint64_t room_bytes)
{
    struct sim_disk *d = &sim_world.disks[disk];
    memset(d, 0, sizeof *d);
    d->size_bytes = size_bytes;
    d->room_bytes = room_bytes;
    d->now = calloc(1, room_bytes);
    d->safe = calloc(1, room_bytes);
    STAILQ_INIT(&d->log);
    STAILQ_INIT(&d->pending);
}

static void forget_log(struct sim_disk *d)
{
    struct sim_write *w;
    while ((w = STAILQ_FIRST(&d->log))) {
        STAILQ_REMOVE_HEAD(&d->log, link);
        free(w->data);
        free(w);
    }
}

void sim_disk_free(unsigned disk)
{
    struct sim_disk *d = &sim_world.disks[disk];
    forget_log(d);
    free(d->now);
    free(d->safe);
    memset(d, 0, sizeof *d);
}

/* ---- what requests do ---- */

static void note(struct sim_disk *d, uint64_t offset, const uint8_t *data, uint32_t length_bytes, bool durable)
{
    struct sim_write *w = calloc(1, sizeof *w);
    w->offset = offset;
    w->length_bytes = length_bytes;
    w->durable = durable;
    w->data = malloc(length_bytes);
    memcpy(w->data, data, length_bytes);
    memcpy(d->now + offset, data, length_bytes);
    STAILQ_INSERT_TAIL(&d->log, w, link);
}

static void make_safe(struct sim_disk *d)
{
    struct sim_write *w;
    STAILQ_FOREACH (w, &d->log, link)
        memcpy(d->safe + w->offset, w->data, w->length_bytes);
    forget_log(d);
}

static void write_it(struct sim_disk *d, const struct blk_req *req, uint32_t length_bytes)
{
    bool durable = req->flags & BLK_FUA;
    uint64_t at = req->offset;
    if (req->op == BLK_ZERO) {
        uint8_t *zero = calloc(1, length_bytes);
        note(d, at, zero, length_bytes, durable);
        free(zero);
        return;
    }
    for (int i = 0; i < req->iov_count && length_bytes; i++) {
        uint32_t n = req->iov[i].iov_len < length_bytes ? (uint32_t)req->iov[i].iov_len : length_bytes;
        note(d, at, req->iov[i].iov_base, n, durable);
        at += n;
        length_bytes -= n;
    }
}

/* Durable at once; what is new is whatever a device may have there. */
static int resize(struct sim_disk *d, const struct blk_req *req)
{
    if (req->offset > d->room_bytes || req->offset < d->size_bytes)
        return -ENOSPC;
    memset(d->now + d->size_bytes, 0xa5, req->offset - d->size_bytes);
    memset(d->safe + d->size_bytes, 0xa5, req->offset - d->size_bytes);
    d->size_bytes = req->offset;
    return 0;
}

static int happen(struct sim_disk *d, struct blk_req *req)
{
    if (sim_world.frozen || d->away)
        return -EIO;
    bool writes = req->op == BLK_WRITE || req->op == BLK_ZERO;
    if (writes && sim_world.fuse >= 0 && sim_world.fuse-- == 0) {
        sim_freeze();
        return -EIO;
    }
    sim_world.writes += writes;
    if (req->op == BLK_FLUSH && d->lossy) {
        d->lossy = false;
        return -EIO;
    }
    if (sim_world.observe && (writes || req->op == BLK_FLUSH))
        sim_world.observe((unsigned)(d - sim_world.disks), req);
    if (req->op == BLK_RESIZE)
        return resize(d, req);
    if (writes) {
        write_it(d, req, (uint32_t)req->length_bytes);
    } else if (req->op == BLK_READ) {
        uint64_t at = req->offset;
        for (int i = 0; i < req->iov_count; at += req->iov[i++].iov_len)
            memcpy(req->iov[i].iov_base, d->now + at, req->iov[i].iov_len);
    } else if (req->op == BLK_FLUSH) {
        make_safe(d);
    }
    return 0;
}

static struct blk_req *take(struct sim_disk *d, unsigned which)
{
    struct blk_req *req = STAILQ_FIRST(&d->pending);
    while (which--)
        req = STAILQ_NEXT(req, link);
    STAILQ_REMOVE(&d->pending, req, blk_req, link);
    d->pending_count--;
    return req;
}

bool sim_answer_one(void)
{
    unsigned busy[SIM_DISKS], count = 0;
    for (unsigned i = 0; i < SIM_DISKS; i++)
        if (sim_world.disks[i].pending_count)
            busy[count++] = i;
    if (!count)
        return false;
    struct sim_disk *d = &sim_world.disks[busy[sim_roll(count)]];
    struct blk_req *req = take(d, sim_roll(d->pending_count));
    blk_complete(req, happen(d, req));
    return true;
}

void sim_answer_all(void)
{
    for (unsigned i = 0; i < SIM_DISKS; i++)
        while (sim_world.disks[i].pending_count) {
            struct blk_req *req = take(&sim_world.disks[i], 0);
            blk_complete(req, happen(&sim_world.disks[i], req));
        }
}

/* ---- faults ---- */

static uint32_t tear_unit(uint64_t offset)
{
    return offset >= sim_world.whole_from ? 4096 : SECTOR;
}

void sim_freeze(void)
{
    for (unsigned i = 0; i < SIM_DISKS && !sim_world.frozen; i++) {
        struct sim_disk *d = &sim_world.disks[i];
        struct blk_req *req;
        STAILQ_FOREACH (req, &d->pending, link) {
            if (d->away || (req->op != BLK_WRITE && req->op != BLK_ZERO) || sim_roll(2))
                continue;
            uint32_t unit = tear_unit(req->offset), units = (uint32_t)(req->length_bytes / unit);
            write_it(d, req, sim_roll(3) ? (uint32_t)req->length_bytes : sim_roll(units + 1) * unit);
        }
    }
    sim_world.frozen = true;
}

void sim_power_loss(unsigned disk)
{
    struct sim_disk *d = &sim_world.disks[disk];
    struct sim_write *w;
    uint32_t luck = sim_roll(3); /* all is kept, some, nothing */
    STAILQ_FOREACH (w, &d->log, link) {
        uint32_t unit = tear_unit(w->offset), whole = sim_roll(2), kept = sim_roll(2);
        for (uint32_t at = 0; at < w->length_bytes; at += unit) {
            bool lucky = luck == 0 || (luck == 1 && (whole ? kept : sim_roll(2)));
            if (w->durable || lucky)
                memcpy(d->safe + w->offset + at, w->data + at, unit);
        }
    }
    forget_log(d);
    memcpy(d->now, d->safe, d->size_bytes);
}

/* ---- the driver ---- */

static void answer_job(struct loop_job *job)
{
    (void)job;
    sim_answer_all();
}

static void sim_submit(struct blk *blk, struct blk_req *req)
{
    struct sim_disk **d = blk_state(blk);
    STAILQ_INSERT_TAIL(&(*d)->pending, req, link);
    (*d)->pending_count++;
    if (sim_world.automatic || sim_world.frozen) {
        sim_world.job.run = answer_job;
        loop_defer(sim_world.loop, &sim_world.job);
    }
}

static int sim_open(struct blk *blk, const void *config, struct err *err)
{
    const struct sim_config *c = config;
    struct sim_disk **d = blk_state(blk);
    (void)err;
    *d = &sim_world.disks[c->disk];
    blk_set_size(blk, (*d)->size_bytes);
    blk_set_limits(blk, &(struct blk_limits){512, 4096, 1 << 20});
    blk_set_can(blk, BLK_CAN_ZERO | BLK_CAN_TRIM | BLK_CAN_RESIZE);
    return 0;
}

static void sim_close(struct blk *blk)
{
    (void)blk;
}

static void no_job(struct loop_job *job)
{
    (void)job;
}

void sim_turn(void)
{
    static struct loop_job awake = {.run = no_job};
    loop_defer(sim_world.loop, &awake);
    loop_step(sim_world.loop);
}

static const struct blk_option sim_options[] = {
    {.name = "disk",
     .type = BLK_OPTION_UINT,
     .field = offsetof(struct sim_config, disk),
     .max = SIM_DISKS - 1,
     .help = "which"},
    {.name = NULL},
};

const struct blk_driver sim_driver = {
    .name = "sim",
    .short_option = "disk",
    .options = sim_options,
    .config_bytes = sizeof(struct sim_config),
    .state_bytes = sizeof(struct sim_disk *),
    .open = sim_open,
    .close = sim_close,
    .submit = sim_submit,
};
