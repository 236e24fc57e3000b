/* See virtio_blk.h.
 *
 * A chain is: header {type, sector}, data, one byte of status; the guest cuts it as it likes. The pieces of the data
 * are the chain's own, with the header cut off in front or the status byte behind, so a request has one vector. */
#include "hv/virtio/virtio_blk.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hv/state.h"
#include "hv/virtio/chain.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_device.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    SECTOR_SHIFT = 9,
    SECTOR_BYTES = 1 << SECTOR_SHIFT,
    SEGMENTS_MAX = 254,
    SEGMENT_BYTES_MIN = 4096,
    SEGMENT_BYTES_MAX = 4 << 20,
    BLOCK_BYTES_MAX = 4096, /* larger blocks than its pages are more than a Linux guest takes */
    RANGES_MAX = 16,
    RANGE_SECTORS_MAX = 1 << 22,
    CONFIG_BYTES = offsetof(struct virtio_blk_config, max_secure_erase_sectors),
};

struct task {
    struct blk_req req;
    struct chain chain;
    struct virtio_queue *vq;
    uint8_t *status;
    struct iovec *shortened; /* the piece that the status byte was cut off */
    uint32_t range_count, range_next;
    struct virtio_blk_discard_write_zeroes ranges[RANGES_MAX];
    SLIST_ENTRY(task) link;
    struct iovec *iov;
};

/* A queue's requests; its I/O thread's. */
struct lane {
    struct virtio_blk *vb;
    struct task *tasks;
    struct iovec *pieces;
    SLIST_HEAD(, task) idle;
    struct loop_job publish;
};

struct virtio_blk {
    struct virtio_device device;
    struct blk *blk;
    struct io_thread *io;
    char serial[VIRTIO_BLK_ID_BYTES];
    struct virtio_blk_shape shape; /* as the guest is told; its size as of when it was attached */
    bool write_through;            /* at power-on */
    atomic_bool cache;             /* the configuration's word */
    _Atomic uint64_t size_bytes;
    struct virtio_queue queues[VIRTIO_BLK_QUEUES_MAX];
    struct lane lanes[VIRTIO_BLK_QUEUES_MAX];
};

static struct virtio_blk *blk_of(const struct virtio_queue *vq)
{
    return CONTAINER_OF(vq->device, struct virtio_blk, device);
}

static struct lane *lane_of(const struct virtio_queue *vq)
{
    return &blk_of(vq)->lanes[vq->index];
}

/* ---- the end of a request ---- */

static uint8_t status_of(int result)
{
    if (result == 0)
        return VIRTIO_BLK_S_OK;
    return result == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static void finish(struct task *t, uint8_t status)
{
    struct lane *lane = lane_of(t->vq);
    if (t->shortened)
        t->shortened->iov_len++;
    *t->status = status;
    queue_push(&t->vq->ring, &t->chain, t->chain.writable_bytes);
    SLIST_INSERT_HEAD(&lane->idle, t, link);
    loop_defer_late(io_thread_loop(t->vq->io), &lane->publish);
}

/* Late in the turn: everything that a batch of completions pushed becomes visible at once. */
static void publish(struct loop_job *job)
{
    struct lane *lane = CONTAINER_OF(job, struct lane, publish);
    struct virtio_queue *vq = &lane->vb->queues[lane - lane->vb->lanes];
    queue_publish(&vq->ring);
    if (!virtio_queue_serves(vq) && !vq->ring.out)
        virtio_queue_stopped(vq);
}

static void transferred(struct blk_req *req)
{
    finish(CONTAINER_OF(req, struct task, req), status_of(req->result));
}

/* ---- requests ---- */

static bool writes_through(struct virtio_blk *vb)
{
    const struct virtio_device *d = &vb->device;
    if (virtio_has(d, VIRTIO_BLK_F_CONFIG_WCE))
        return !atomic_load_explicit(&vb->cache, memory_order_relaxed);
    return !virtio_has(d, VIRTIO_BLK_F_FLUSH);
}

static void submit(struct task *t, enum blk_op op, uint32_t flags, uint64_t offset, uint64_t length_bytes)
{
    t->req.op = op;
    t->req.flags = flags;
    t->req.offset = offset;
    t->req.length_bytes = length_bytes;
    blk_submit(blk_of(t->vq)->blk, &t->req);
}

static bool sector_offset(uint64_t sector, uint64_t *offset)
{
    *offset = sector << SECTOR_SHIFT;
    return *offset >> SECTOR_SHIFT == sector;
}

/* Cuts the header off the first readable pieces: what is left is the data. */
static void read_data_pieces(struct task *t, size_t skip)
{
    struct iovec *iov = t->chain.iov, *end = iov + t->chain.readable;
    for (; iov < end && skip >= iov->iov_len; iov++)
        skip -= iov->iov_len;
    if (iov < end) {
        iov->iov_base = (uint8_t *)iov->iov_base + skip;
        iov->iov_len -= skip;
    }
    t->req.iov = iov;
    t->req.iov_count = (int)(end - iov);
}

static void transfer(struct task *t, bool write, uint64_t sector)
{
    struct virtio_blk *vb = blk_of(t->vq);
    uint64_t offset, bytes;
    if (write) {
        bytes = t->chain.readable_bytes - sizeof(struct virtio_blk_outhdr);
        read_data_pieces(t, sizeof(struct virtio_blk_outhdr));
    } else {
        bytes = t->chain.writable_bytes - 1;
        t->req.iov = t->chain.iov + t->chain.readable;
        t->req.iov_count = t->chain.writable - !t->shortened->iov_len; /* a status byte of its own is no data */
    }
    if (!sector_offset(sector, &offset) || bytes % SECTOR_BYTES) {
        finish(t, VIRTIO_BLK_S_IOERR);
        return;
    }
    t->req.done = transferred;
    submit(t, write ? BLK_WRITE : BLK_READ, write && writes_through(vb) ? BLK_FUA : 0, offset, bytes);
}

static void flush(struct task *t)
{
    t->req.done = transferred;
    submit(t, BLK_FLUSH, 0, 0, 0);
}

static void get_id(struct task *t)
{
    const struct virtio_blk *vb = blk_of(t->vq);
    uint64_t room = t->chain.writable_bytes - 1;
    size_t n = room < sizeof vb->serial ? (size_t)room : sizeof vb->serial;
    chain_write(&t->chain, 0, vb->serial, n);
    finish(t, VIRTIO_BLK_S_OK);
}

/* ---- discard and write zeroes: a list of ranges, one after the other ---- */

static void next_range(struct task *t, enum blk_op op)
{
    const struct virtio_blk_discard_write_zeroes *r = &t->ranges[t->range_next++];
    uint64_t offset;
    uint32_t flags = writes_through(blk_of(t->vq)) ? BLK_FUA : 0;
    if (op == BLK_ZERO && !(r->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
        flags |= BLK_NO_HOLE;
    if (!sector_offset(r->sector, &offset) || r->num_sectors > RANGE_SECTORS_MAX) {
        finish(t, VIRTIO_BLK_S_IOERR);
        return;
    }
    submit(t, op, flags, offset, (uint64_t)r->num_sectors << SECTOR_SHIFT);
}

static void range_done(struct blk_req *req)
{
    struct task *t = CONTAINER_OF(req, struct task, req);
    if (req->result || t->range_next == t->range_count)
        finish(t, status_of(req->result));
    else
        next_range(t, req->op);
}

static void ranges(struct task *t, enum blk_op op)
{
    struct virtio_device *d = t->vq->device;
    uint64_t bytes = t->chain.readable_bytes - sizeof(struct virtio_blk_outhdr);
    uint32_t allowed = op == BLK_ZERO ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
    if (!virtio_has(d, op == BLK_ZERO ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD)) {
        finish(t, VIRTIO_BLK_S_UNSUPP);
        return;
    }
    if (!bytes || bytes > sizeof t->ranges || bytes % sizeof *t->ranges) {
        finish(t, VIRTIO_BLK_S_IOERR);
        return;
    }
    chain_read(&t->chain, sizeof(struct virtio_blk_outhdr), t->ranges, (size_t)bytes);
    t->range_count = (uint32_t)(bytes / sizeof *t->ranges);
    t->range_next = 0;
    for (uint32_t i = 0; i < t->range_count; i++)
        if (t->ranges[i].flags & ~allowed) {
            finish(t, VIRTIO_BLK_S_UNSUPP);
            return;
        }
    t->req.done = range_done;
    next_range(t, op);
}

/* ---- the queue ---- */

/* Remembers where the status goes, and cuts it off the last piece: the others are data. */
static void cut_status(struct task *t)
{
    struct iovec *last = &t->chain.iov[t->chain.readable + t->chain.writable - 1];
    last->iov_len--;
    t->status = (uint8_t *)last->iov_base + last->iov_len;
    t->shortened = last;
}

static void begin(struct task *t)
{
    struct virtio_blk_outhdr header;
    chain_read(&t->chain, 0, &header, sizeof header);
    cut_status(t);
    switch (header.type) {
    case VIRTIO_BLK_T_IN:
        transfer(t, false, header.sector);
        break;
    case VIRTIO_BLK_T_OUT:
        transfer(t, true, header.sector);
        break;
    case VIRTIO_BLK_T_FLUSH:
        flush(t);
        break;
    case VIRTIO_BLK_T_GET_ID:
        get_id(t);
        break;
    case VIRTIO_BLK_T_DISCARD:
        ranges(t, BLK_TRIM);
        break;
    case VIRTIO_BLK_T_WRITE_ZEROES:
        ranges(t, BLK_ZERO);
        break;
    default:
        finish(t, VIRTIO_BLK_S_UNSUPP);
    }
}

static void kick(struct virtio_queue *vq)
{
    struct lane *lane = lane_of(vq);
    struct task *t;
    bool more;
    do {
        queue_quiet(&vq->ring);
        while ((t = SLIST_FIRST(&lane->idle)) && queue_pop(&vq->ring, &t->chain)) {
            if (t->chain.readable_bytes < sizeof(struct virtio_blk_outhdr) || !t->chain.writable_bytes) {
                queue_refuse(&vq->ring, "a request without a header or without room for its status");
                return;
            }
            SLIST_REMOVE_HEAD(&lane->idle, link);
            begin(t);
        }
        more = queue_listen(&vq->ring);
        if (more && SLIST_EMPTY(&lane->idle)) { /* as many are out as there can be */
            queue_fail(&vq->ring, "more chains are available than it has entries");
            return;
        }
    } while (more);
}

static void stop(struct virtio_queue *vq)
{
    if (!vq->ring.out && !lane_of(vq)->publish.queued)
        virtio_queue_stopped(vq);
}

/* ---- configuration ---- */

static unsigned log2_of(uint32_t power)
{
    return (unsigned)__builtin_ctz(power);
}

static void config_read(struct virtio_device *d, uint8_t *to)
{
    struct virtio_blk *vb = CONTAINER_OF(d, struct virtio_blk, device);
    const struct blk_limits *limits = blk_limits(vb->blk);
    uint32_t physical = limits->preferred_bytes < BLOCK_BYTES_MAX ? limits->preferred_bytes : BLOCK_BYTES_MAX;
    uint32_t preferred_blocks = limits->preferred_bytes / vb->shape.block_bytes;
    struct virtio_blk_config c = {
        .capacity = (atomic_load(&vb->size_bytes) & ~(uint64_t)(vb->shape.block_bytes - 1)) >> SECTOR_SHIFT,
        .size_max = vb->shape.segment_bytes,
        .seg_max = vb->shape.segments,
        .blk_size = vb->shape.block_bytes,
        .physical_block_exp = physical > vb->shape.block_bytes ? (uint8_t)log2_of(physical / vb->shape.block_bytes) : 0,
        .min_io_size = preferred_blocks && preferred_blocks <= UINT16_MAX ? (uint16_t)preferred_blocks : 1,
        .wce = atomic_load(&vb->cache),
        .num_queues = (uint16_t)d->queue_count,
        .max_discard_sectors = RANGE_SECTORS_MAX,
        .max_discard_seg = RANGES_MAX,
        .discard_sector_alignment = vb->shape.block_bytes >> SECTOR_SHIFT,
        .max_write_zeroes_sectors = RANGE_SECTORS_MAX,
        .max_write_zeroes_seg = RANGES_MAX,
        .write_zeroes_may_unmap = 1,
    };
    memcpy(to, &c, CONFIG_BYTES);
}

static void config_write(struct virtio_device *d, uint32_t offset, uint32_t size, uint64_t value)
{
    struct virtio_blk *vb = CONTAINER_OF(d, struct virtio_blk, device);
    if (offset == offsetof(struct virtio_blk_config, wce) && size == 1)
        atomic_store(&vb->cache, value & 1);
}

static void reset(struct virtio_device *d)
{
    struct virtio_blk *vb = CONTAINER_OF(d, struct virtio_blk, device);
    atomic_store(&vb->cache, !vb->write_through);
}

static void state(struct virtio_device *d, struct state *s)
{
    struct virtio_blk *vb = CONTAINER_OF(d, struct virtio_blk, device);
    bool cache = atomic_load(&vb->cache);
    state_bool(s, "write-cache", &cache);
    atomic_store(&vb->cache, cache);
}

/* ---- resizing ---- */

static void resized(struct blk_req *req)
{
    struct virtio_blk_resize *r = CONTAINER_OF(req, struct virtio_blk_resize, req);
    r->result = req->result;
    if (!r->result) {
        atomic_store(&r->vb->size_bytes, blk_size(r->vb->blk));
        virtio_device_config_changed(&r->vb->device);
    }
    loop_post(r->loop, &r->done);
}

static void start_resize(struct loop_message *message)
{
    struct virtio_blk_resize *r = CONTAINER_OF(message, struct virtio_blk_resize, start);
    r->req = (struct blk_req){.op = BLK_RESIZE, .offset = r->size_bytes, .done = resized};
    blk_submit(r->vb->blk, &r->req);
}

void virtio_blk_resize(struct virtio_blk *vb, struct virtio_blk_resize *r)
{
    r->vb = vb;
    r->start.deliver = start_resize;
    io_thread_post(vb->io, &r->start);
}

/* ---- beginning and end ---- */

static const struct virtio_device_ops ops = {
    .config_read = config_read,
    .config_write = config_write,
    .reset = reset,
    .state = state,
    .stop = stop,
    .kick = kick,
};

static uint64_t features_of(const struct blk *blk, unsigned queues)
{
    uint64_t f = 1ull << VIRTIO_BLK_F_SIZE_MAX | 1ull << VIRTIO_BLK_F_SEG_MAX | 1ull << VIRTIO_BLK_F_BLK_SIZE |
                 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_TOPOLOGY | 1ull << VIRTIO_BLK_F_CONFIG_WCE;
    uint32_t can = blk_can(blk);
    if (queues > 1)
        f |= 1ull << VIRTIO_BLK_F_MQ;
    if (blk_read_only(blk))
        return f | 1ull << VIRTIO_BLK_F_RO;
    if (can & BLK_CAN_TRIM)
        f |= 1ull << VIRTIO_BLK_F_DISCARD;
    if (can & BLK_CAN_ZERO)
        f |= 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
    return f;
}

/* A guest that keeps to both limits never asks for more than the stack takes at once. */
static struct virtio_blk_shape shape_of(const struct blk *blk, uint16_t queue_size, uint64_t features)
{
    const struct blk_limits *limits = blk_limits(blk);
    struct virtio_blk_shape shape = {.size_bytes = blk_size(blk), .features = features};
    shape.block_bytes = limits->align_bytes > SECTOR_BYTES ? limits->align_bytes : SECTOR_BYTES;
    shape.segments = queue_size - 2u < SEGMENTS_MAX ? queue_size - 2u : SEGMENTS_MAX;
    if (limits->max_transfer_bytes / SEGMENT_BYTES_MIN < shape.segments)
        shape.segments = limits->max_transfer_bytes / SEGMENT_BYTES_MIN;
    shape.segments = shape.segments ? shape.segments : 1;
    uint32_t each = limits->max_transfer_bytes / shape.segments & ~(uint32_t)(SEGMENT_BYTES_MIN - 1);
    shape.segment_bytes = each < SEGMENT_BYTES_MAX ? each : SEGMENT_BYTES_MAX;
    return shape;
}

static bool make_lane(struct lane *lane, struct virtio_blk *vb, struct virtio_queue *vq)
{
    unsigned room = vb->shape.segments + 2; /* header and status */
    lane->vb = vb;
    lane->publish.run = publish;
    lane->tasks = calloc(vq->size_max, sizeof *lane->tasks);
    lane->pieces = calloc((size_t)vq->size_max * room, sizeof *lane->pieces);
    if (!lane->tasks || !lane->pieces)
        return false;
    for (unsigned i = vq->size_max; i--;) {
        struct task *t = &lane->tasks[i];
        t->vq = vq;
        t->chain.iov = &lane->pieces[(size_t)i * room];
        t->chain.room = (uint16_t)room;
        SLIST_INSERT_HEAD(&lane->idle, t, link);
    }
    return true;
}

static int check_blk(const struct blk *blk, struct err *err)
{
    if (blk_limits(blk)->align_bytes > BLOCK_BYTES_MAX)
        return err_set(err, EINVAL, "the disk wants blocks of %u bytes; a guest takes up to %d",
                       blk_limits(blk)->align_bytes, BLOCK_BYTES_MAX);
    if (blk_limits(blk)->max_transfer_bytes < SEGMENT_BYTES_MIN)
        return err_set(err, EINVAL, "the disk takes %u bytes at once; a guest needs %d",
                       blk_limits(blk)->max_transfer_bytes, SEGMENT_BYTES_MIN);
    return 0;
}

static int check_options(const struct virtio_blk_options *o, struct err *err)
{
    if (o->queues > VIRTIO_BLK_QUEUES_MAX)
        return err_set(err, EINVAL, "a disk has at most %d queues, not %u", VIRTIO_BLK_QUEUES_MAX, o->queues);
    if (o->queue_size && (o->queue_size < 4 || o->queue_size > QUEUE_SIZE_MAX || o->queue_size & (o->queue_size - 1)))
        return err_set(err, EINVAL, "a queue has 4 to %d entries, a power of two, not %u", QUEUE_SIZE_MAX,
                       o->queue_size);
    if (o->serial && strlen(o->serial) > VIRTIO_BLK_ID_BYTES)
        return err_set(err, EINVAL, "the serial '%.40s' is longer than %d characters", o->serial, VIRTIO_BLK_ID_BYTES);
    return 0;
}

static void free_lanes(struct virtio_blk *vb)
{
    for (unsigned i = 0; i < VIRTIO_BLK_QUEUES_MAX; i++) {
        free(vb->lanes[i].tasks);
        free(vb->lanes[i].pieces);
    }
}

/* The guest keeps to what it has been told, so another stack must be able to do as much. */
static int compare(const struct virtio_blk_shape *now, const struct virtio_blk_shape *told, struct err *err)
{
    if (told->block_bytes < SECTOR_BYTES || told->block_bytes > BLOCK_BYTES_MAX ||
        told->block_bytes & (told->block_bytes - 1) || !told->segments || told->segment_bytes < SEGMENT_BYTES_MIN)
        return err_set(err, EPROTO, "no guest can have been told of blocks of %u and %u pieces of %u bytes",
                       told->block_bytes, told->segments, told->segment_bytes);
    if (now->size_bytes != told->size_bytes)
        return err_set(err, EINVAL, "has %llu bytes, the guest knows a disk of %llu",
                       (unsigned long long)now->size_bytes, (unsigned long long)told->size_bytes);
    if (now->block_bytes > told->block_bytes || now->segments < told->segments ||
        now->segment_bytes < told->segment_bytes)
        return err_set(err, EINVAL,
                       "takes blocks of %u and %u pieces of %u bytes at once, the guest knows %u, %u and %u",
                       now->block_bytes, now->segments, now->segment_bytes, told->block_bytes, told->segments,
                       told->segment_bytes);
    if (told->features & ~now->features)
        return err_set(err, EINVAL, "can do less than the guest has been told (virtio features %#llx are missing)",
                       (unsigned long long)(told->features & ~now->features));
    return 0;
}

int virtio_blk_attach(struct virtio_blk *vb, struct blk *blk, const struct virtio_blk_shape *told, struct err *err)
{
    uint16_t queue_size = vb->queues[0].size_max;
    int rc = check_blk(blk, err);
    struct virtio_blk_shape shape;
    if (!rc)
        shape = shape_of(blk, queue_size, features_of(blk, vb->device.queue_count));
    if (!rc && told)
        rc = compare(&shape, told, err);
    if (rc)
        return rc;
    vb->shape = told ? *told : shape;
    for (unsigned i = 0; i < vb->device.queue_count && !rc; i++)
        if (!vb->lanes[i].tasks && !make_lane(&vb->lanes[i], vb, &vb->queues[i]))
            rc = err_set(err, ENOMEM, "no memory for a disk's queue");
    if (rc)
        return rc;
    vb->blk = blk;
    atomic_store(&vb->size_bytes, shape.size_bytes);
    vb->device.offered = vb->shape.features;
    return 0;
}

void virtio_blk_detach(struct virtio_blk *vb, struct virtio_blk_shape *told)
{
    *told = vb->shape;
    told->size_bytes = atomic_load(&vb->size_bytes);
    vb->blk = NULL;
}

int virtio_blk_new(struct memory *memory, struct io_thread *io, struct blk *blk, const struct virtio_blk_options *o,
                   struct virtio_blk **out, struct err *err)
{
    int rc = check_options(o, err);
    if (rc)
        return rc;
    struct virtio_blk *vb = calloc(1, sizeof *vb);
    if (!vb)
        return err_set(err, ENOMEM, "no memory for a disk");
    vb->io = io;
    vb->write_through = o->write_through;
    if (o->serial)
        memcpy(vb->serial, o->serial, strlen(o->serial));
    vb->device = (struct virtio_device){.ops = &ops,
                                        .name = "virtio-blk",
                                        .id = VIRTIO_ID_BLOCK,
                                        .config_bytes = CONFIG_BYTES,
                                        .queues = vb->queues,
                                        .queue_count = o->queues ? o->queues : 1,
                                        .memory = memory};
    for (unsigned i = 0; i < vb->device.queue_count; i++) {
        vb->queues[i].io = io;
        vb->queues[i].size_max = o->queue_size ? o->queue_size : VIRTIO_BLK_QUEUE_SIZE;
    }
    rc = blk ? virtio_blk_attach(vb, blk, NULL, err) : 0;
    rc = rc ? rc : virtio_device_init(&vb->device, err);
    if (rc) {
        free_lanes(vb);
        free(vb);
        return rc;
    }
    *out = vb;
    return 0;
}

void virtio_blk_free(struct virtio_blk *vb)
{
    if (!vb)
        return;
    virtio_device_fini(&vb->device);
    free_lanes(vb);
    free(vb);
}

struct virtio_device *virtio_blk_device(struct virtio_blk *vb)
{
    return &vb->device;
}
