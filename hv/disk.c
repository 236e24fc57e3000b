#include "hv/disk.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/disk_inside.h"
#include "hv/disk_move.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_blk.h"
#include "hv/virtio/virtio_pci.h"
#include "nbd/blk.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/loop.h"
#include "replication/volume.h"

/* ---- on the I/O thread ---- */

struct opening {
    struct disk *disk;
    struct err *err;
    int rc;
};

static void open_stack(void *context)
{
    struct opening *o = context;
    const struct disk_parts *p = &o->disk->parts;
    uint32_t flags = BLK_OPEN_PATIENT | (p->config->read_only ? BLK_OPEN_READ_ONLY : 0);
    char *stack = disk_files_stack(&o->disk->files);
    o->rc = stack ? blk_open(io_thread_env(p->io), stack, flags, &o->disk->blk, o->err)
                  : err_set(o->err, ENOMEM, "no memory for a disk");
    free(stack);
    if (o->rc)
        return;
    o->disk->needs = blk_needs(o->disk->blk);
    o->disk->volume.blk = volume_in(o->disk->blk);
    o->disk->volume.top = o->disk->blk;
    o->disk->volume.io = p->io;
}

static void flushed(struct blk_req *req)
{
    CONTAINER_OF(req, struct disk, flush)->flushing = false;
}

/* One that waits for what is decided elsewhere (nbd/move.h) is not waited for: whoever is to tell that must be heard.
 */
static void flush_stack(void *context)
{
    struct opening *o = context;
    struct disk *d = o->disk;
    o->rc = d->flushing ? -EBUSY : 0;
    if (d->flushing || !d->blk || blk_read_only(d->blk))
        return;
    d->flush = (struct blk_req){.op = BLK_FLUSH, .done = flushed};
    d->flushing = true;
    blk_submit(d->blk, &d->flush);
    while (d->flushing && !disk_move_waits(d->blk))
        loop_step(io_thread_loop(d->parts.io));
    o->rc = d->flushing ? -ETIMEDOUT : d->flush.result;
}

static void close_stack(void *context)
{
    struct disk *d = context;
    d->volume.blk = NULL;
    d->volume.scrubs.running = false;
    blk_close(d->blk);
    d->blk = NULL;
}

struct counting {
    struct disk *disk;
    unsigned slot;
    json_t *json;
};

static void count(void *context)
{
    struct counting *c = context;
    if (!c->disk->blk) {
        c->json = json_pack("{s:i, s:i}", "disk", (int)c->disk->parts.index, "slot", (int)c->slot);
        if (c->json && disk_moves(c->disk))
            json_object_set_new(c->json, "move", json_pack("{s:s}", "phase", "closed"));
        return;
    }
    c->json = json_pack("{s:i, s:i, s:s, s:I}", "disk", (int)c->disk->parts.index, "slot", (int)c->slot, "stack",
                        blk_driver_name(c->disk->blk), "size", (json_int_t)blk_size(c->disk->blk));
    if (c->json && c->disk->volume.blk)
        json_object_set_new(c->json, "volume", disk_volume_json(&c->disk->volume));
    json_t *move = c->json ? disk_move_json(c->disk->blk, &c->disk->files) : NULL;
    if (move)
        json_object_set_new(c->json, "move", move);
    for (enum blk_op op = 0; c->json && op < BLK_OP_COUNT; op++) {
        const struct blk_op_stats *s = blk_stats(c->disk->blk, op);
        if (s->ops)
            json_object_set_new(c->json, blk_op_name(op),
                                json_pack("{s:I, s:I, s:I, s:I, s:I}", "ops", (json_int_t)s->ops, "bytes",
                                          (json_int_t)s->bytes, "errors", (json_int_t)s->errors, "p50-ns",
                                          (json_int_t)histogram_quantile(&s->latency_ns, 500), "p99-ns",
                                          (json_int_t)histogram_quantile(&s->latency_ns, 990)));
    }
}

struct measuring {
    const struct disk *disk;
    uint64_t completed;
};

static void measure(void *context)
{
    struct measuring *m = context;
    for (enum blk_op op = 0; m->disk->blk && op < BLK_OP_COUNT; op++)
        m->completed += blk_stats(m->disk->blk, op)->ops;
}

/* ---- main loop ---- */

struct disk *disk_new(const struct disk_parts *parts, struct err *err)
{
    char serial[24];
    struct disk *d = calloc(1, sizeof *d);
    if (!d) {
        err_set(err, ENOMEM, "no memory for a disk");
        return NULL;
    }
    d->parts = *parts;
    snprintf(serial, sizeof serial, "disk%u", parts->index);
    struct virtio_blk_options options = {.serial = parts->config->serial ? parts->config->serial : serial,
                                         .queues = parts->config->queues};
    struct opening o = {.disk = d, .err = err};
    int rc = disk_files_open(&d->files, parts->config->stack, parts->config->read_only, err);
    d->needs = rc ? 0 : disk_files_needs(&d->files);
    if (!rc && !parts->closed) {
        io_thread_call(parts->io, open_stack, &o);
        rc = o.rc;
    }
    rc = rc ? rc : virtio_blk_new(parts->memory, parts->io, d->blk, &options, &d->virtio, err);
    if (!rc) {
        d->pci = virtio_pci_new(virtio_blk_device(d->virtio), parts->index, parts->bus, err);
        rc = d->pci ? 0 : -ENOMEM;
    }
    if (rc) {
        err_prefix(err, "disks[%u]", parts->index);
        disk_free(d);
        return NULL;
    }
    return d;
}

void disk_free(struct disk *d)
{
    if (!d)
        return;
    virtio_pci_free(d->pci);
    virtio_blk_free(d->virtio);
    if (d->blk)
        io_thread_call(d->parts.io, close_stack, d);
    disk_files_close(&d->files);
    free(d);
}

/* ---- coming and going ---- */

int disk_flush(struct disk *d, struct err *err)
{
    struct opening o = {.disk = d};
    io_thread_call(d->parts.io, flush_stack, &o);
    return o.rc ? err_set(err, -o.rc, "disks[%u]: cannot be flushed: %s", d->parts.index, strerror(-o.rc)) : 0;
}

void disk_close(struct disk *d)
{
    if (!d->blk)
        return;
    virtio_blk_detach(d->virtio, &d->told);
    d->was_open = true;
    io_thread_call(d->parts.io, close_stack, d);
}

bool disk_is_open(const struct disk *d)
{
    return d->blk;
}

void disk_set_epoch(struct disk *d, uint64_t epoch)
{
    disk_files_set_epoch(&d->files, epoch);
}

int disk_open(struct disk *d, struct err *err)
{
    struct opening o = {.disk = d, .err = err};
    if (d->blk)
        return 0;
    io_thread_call(d->parts.io, open_stack, &o);
    int rc = o.rc ? o.rc : virtio_blk_attach(d->virtio, d->blk, d->was_open ? &d->told : NULL, err);
    if (!rc)
        return 0;
    io_thread_call(d->parts.io, close_stack, d);
    return err_prefix(err, "disks[%u]", d->parts.index);
}

json_t *disk_told(const struct disk *d)
{
    const struct virtio_blk_shape *t = &d->told;
    return json_pack("{s:i, s:I, s:I, s:I, s:I, s:I}", "disk", (int)d->parts.index, "size", (json_int_t)t->size_bytes,
                     "features", (json_int_t)t->features, "block", (json_int_t)t->block_bytes, "segments",
                     (json_int_t)t->segments, "segment", (json_int_t)t->segment_bytes);
}

static uint64_t number_of(const json_t *told, const char *key, uint64_t max)
{
    json_int_t v = json_integer_value(json_object_get(told, key));
    return v < 0 || (uint64_t)v > max ? 0 : (uint64_t)v;
}

void disk_set_told(struct disk *d, const json_t *told)
{
    d->told = (struct virtio_blk_shape){.size_bytes = number_of(told, "size", INT64_MAX),
                                        .features = number_of(told, "features", INT64_MAX),
                                        .block_bytes = (uint32_t)number_of(told, "block", UINT32_MAX),
                                        .segments = (uint32_t)number_of(told, "segments", UINT32_MAX),
                                        .segment_bytes = (uint32_t)number_of(told, "segment", UINT32_MAX)};
    d->was_open = true;
}

struct virtio_pci *disk_pci(struct disk *d)
{
    return d->pci;
}

struct virtio_device *disk_virtio(struct disk *d)
{
    return virtio_blk_device(d->virtio);
}

uint32_t disk_needs(const struct disk *d)
{
    return d->needs;
}

static void resized(struct loop_message *message)
{
    CONTAINER_OF(message, struct disk, resize.done)->resizing = false;
}

int disk_resize(struct disk *d, uint64_t bytes, struct loop *loop, bool (*give_up)(void *context), void *context,
                struct err *err)
{
    if (d->resizing)
        return err_set(err, EBUSY, "disks[%u]: is being resized already", d->parts.index);
    d->resize = (struct virtio_blk_resize){.size_bytes = bytes, .loop = loop, .done.deliver = resized};
    d->resizing = true;
    virtio_blk_resize(d->virtio, &d->resize);
    while (d->resizing) {
        if (give_up(context))
            return err_set(err, ECANCELED, "disks[%u]: the guest ended before the resize did", d->parts.index);
        loop_step(loop);
    }
    int rc = d->resize.result;
    return rc ? err_set(err, -rc, "disks[%u]: cannot be made %llu bytes large: %s", d->parts.index,
                        (unsigned long long)bytes, strerror(-rc))
              : 0;
}

bool disk_is_resizing(const struct disk *d)
{
    return d->resizing || d->volume.changing || d->probe.busy;
}

int disk_change_volume(struct disk *d, const json_t *body, struct loop *loop, bool (*give_up)(void *context),
                       void *context, struct err *err)
{
    int rc = disk_volume_change(&d->volume, body, loop, give_up, context, err);
    return rc ? err_prefix(err, "disks[%u]", d->parts.index) : 0;
}

bool disk_stands_still(struct disk *d)
{
    struct measuring m = {.disk = d};
    io_thread_call(d->parts.io, measure, &m);
    bool still = m.completed == d->completed;
    d->completed = m.completed;
    return still;
}

json_t *disk_stats(struct disk *d, unsigned slot)
{
    struct counting c = {.disk = d, .slot = slot};
    io_thread_call(d->parts.io, count, &c);
    return c.json;
}
