/* See virtio_balloon.h. Queues: inflate, deflate, then those of statistics and reporting as far as they were
 * negotiated: drivers number the queues they use without gaps. */
#include "hv/virtio/virtio_balloon.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hv/memory.h"
#include "hv/state.h"
#include "hv/virtio/chain.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_device.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    QUEUES = 4,
    QUEUE_SIZE = 128,
    PIECES = 64,
    BATCH_PAGES = 1024,
    INFLATE_BYTES_MAX = 16384, /* of numbers in a chain; Linux gives 1 KiB */
    CONFIG_BYTES = offsetof(struct virtio_balloon_config, free_page_hint_cmd_id),
    STATS_MAX = 32, /* entries of a statistics buffer that are looked at */
    FIGURES = 8,
};

enum role { INFLATE, DEFLATE, STATS, REPORTING, NOTHING };

struct virtio_balloon {
    struct virtio_device device;
    struct virtio_queue queues[QUEUES];
    struct io_thread *io;
    _Atomic uint32_t target_pages, actual_pages;
    _Atomic uint64_t given_bytes, free_bytes, updates;
    _Atomic uint64_t figures[FIGURES]; /* by VIRTIO_BALLOON_S_* */
    /* the I/O thread's */
    bool holds_stats; /* the guest's buffer, until figures are wanted */
    struct chain stats_chain;
    struct iovec stats_pieces[PIECES], pieces[PIECES];
    uint32_t batch[BATCH_PAGES];
};

static struct virtio_balloon *balloon_of(struct virtio_device *d)
{
    return CONTAINER_OF(d, struct virtio_balloon, device);
}

static enum role role_of(const struct virtio_queue *vq)
{
    bool stats = virtio_has(vq->device, VIRTIO_BALLOON_F_STATS_VQ);
    bool reports = virtio_has(vq->device, VIRTIO_BALLOON_F_REPORTING);
    if (vq->index <= DEFLATE)
        return (enum role)vq->index;
    if (vq->index == 2)
        return stats ? STATS : reports ? REPORTING : NOTHING;
    return stats && reports ? REPORTING : NOTHING;
}

/* ---- giving memory back to the host ---- */

/* The range becomes a hole: reads as zeroes, takes nothing. */
static bool drop(uint8_t *at, uint64_t bytes)
{
    return madvise(at, bytes, MADV_REMOVE) == 0;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Numbers of pages, in any order, some of them perhaps nonsense. */
static void drop_pages(struct virtio_balloon *vb, uint32_t *pages, size_t count)
{
    struct memory *m = vb->device.memory;
    qsort(pages, count, sizeof *pages, by_number);
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && pages[i + n] - pages[i + n - 1] <= 1; n++)
            continue;
        uint64_t gpa = (uint64_t)pages[i] << VIRTIO_BALLOON_PFN_SHIFT;
        uint64_t bytes = ((uint64_t)pages[i + n - 1] - pages[i] + 1) << VIRTIO_BALLOON_PFN_SHIFT;
        uint8_t *at = memory_at_writable(m, gpa, bytes);
        if (!at || !drop(at, bytes))
            continue; /* not RAM: the guest has nothing to lend there */
        memory_touched(m, gpa, bytes);
        atomic_fetch_add(&vb->given_bytes, bytes);
    }
}

static void inflate(struct virtio_balloon *vb, struct virtio_queue *vq)
{
    struct chain c = {.iov = vb->pieces, .room = PIECES};
    while (queue_pop(&vq->ring, &c)) {
        size_t n;
        if (c.readable_bytes > INFLATE_BYTES_MAX) {
            queue_refuse(&vq->ring, "more pages are given at once than there may be");
            return;
        }
        for (uint64_t at = 0; (n = chain_read(&c, at, vb->batch, sizeof vb->batch) / sizeof *vb->batch); at += n * 4)
            drop_pages(vb, vb->batch, n);
        queue_push(&vq->ring, &c, 0);
        queue_publish(&vq->ring);
    }
}

/* What is taken back is there as soon as it is touched. */
static void deflate(struct virtio_balloon *vb, struct virtio_queue *vq)
{
    struct chain c = {.iov = vb->pieces, .room = PIECES};
    while (queue_pop(&vq->ring, &c))
        queue_push(&vq->ring, &c, 0);
    queue_publish(&vq->ring);
}

/* Whole pages only: neighbours may have become one piece whose last page the guest still uses. */
static uint64_t drop_piece(const struct iovec *iov)
{
    uint64_t head = -(uintptr_t)iov->iov_base % MEMORY_PAGE_BYTES;
    if (iov->iov_len < head + MEMORY_PAGE_BYTES)
        return 0;
    uint64_t bytes = (iov->iov_len - head) & ~(uint64_t)(MEMORY_PAGE_BYTES - 1);
    return drop((uint8_t *)iov->iov_base + head, bytes) ? bytes : 0;
}

/* Nothing counts as written: what reported pages hold is undefined until the guest writes to them (virtio 1.2, 5.5.6),
 * so that in a migration the destination may have them as they were. */
static void report(struct virtio_balloon *vb, struct virtio_queue *vq)
{
    struct chain c = {.iov = vb->pieces, .room = PIECES};
    while (queue_pop(&vq->ring, &c)) {
        for (unsigned i = 0; i < c.writable; i++)
            atomic_fetch_add(&vb->free_bytes, drop_piece(&c.iov[c.readable + i]));
        queue_push(&vq->ring, &c, 0);
        queue_publish(&vq->ring);
    }
}

/* ---- statistics: the guest's buffer waits here; giving it back asks for the next ---- */

static void read_stats(struct virtio_balloon *vb, const struct chain *c)
{
    struct virtio_balloon_stat entry;
    for (unsigned i = 0; i < STATS_MAX; i++) {
        if (chain_read(c, i * sizeof entry, &entry, sizeof entry) < sizeof entry)
            break;
        if (entry.tag < FIGURES)
            atomic_store(&vb->figures[entry.tag], entry.val);
    }
    atomic_fetch_add(&vb->updates, 1);
}

static void give_stats_back(struct virtio_balloon *vb, struct virtio_queue *vq)
{
    if (!vb->holds_stats)
        return;
    vb->holds_stats = false;
    queue_push(&vq->ring, &vb->stats_chain, 0);
    queue_publish(&vq->ring);
}

static void take_stats(struct virtio_balloon *vb, struct virtio_queue *vq)
{
    struct chain c = {.iov = vb->pieces, .room = PIECES};
    while (queue_pop(&vq->ring, &c)) {
        read_stats(vb, &c);
        give_stats_back(vb, vq); /* a driver has one buffer; one that has more gets the older ones back */
        memcpy(vb->stats_pieces, vb->pieces, sizeof vb->pieces);
        vb->stats_chain = c;
        vb->stats_chain.iov = vb->stats_pieces;
        vb->holds_stats = true;
    }
}

static void ask(void *context)
{
    struct virtio_balloon *vb = context;
    for (unsigned i = 2; i < QUEUES; i++)
        if (virtio_queue_serves(&vb->queues[i]) && role_of(&vb->queues[i]) == STATS)
            give_stats_back(vb, &vb->queues[i]);
}

/* ---- queues ---- */

static void kick(struct virtio_queue *vq)
{
    struct virtio_balloon *vb = balloon_of(vq->device);
    static void (*const serve[])(struct virtio_balloon *, struct virtio_queue *) = {inflate, deflate, take_stats,
                                                                                    report};
    enum role role = role_of(vq);
    if (role == NOTHING)
        return;
    do
        serve[role](vb, vq);
    while (queue_listen(&vq->ring));
}

static void stop(struct virtio_queue *vq)
{
    struct virtio_balloon *vb = balloon_of(vq->device);
    if (role_of(vq) == STATS && vb->holds_stats) {
        queue_unpop(&vq->ring, 1);
        vb->holds_stats = false;
    }
    virtio_queue_stopped(vq);
}

static void config_read(struct virtio_device *d, uint8_t *to)
{
    struct virtio_balloon *vb = balloon_of(d);
    struct virtio_balloon_config c = {.num_pages = atomic_load(&vb->target_pages),
                                      .actual = atomic_load(&vb->actual_pages)};
    memcpy(to, &c, CONFIG_BYTES);
}

static void config_write(struct virtio_device *d, uint32_t offset, uint32_t size, uint64_t value)
{
    if (offset == offsetof(struct virtio_balloon_config, actual) && size == sizeof(uint32_t))
        atomic_store(&balloon_of(d)->actual_pages, (uint32_t)value);
}

static void reset(struct virtio_device *d)
{
    struct virtio_balloon *vb = balloon_of(d);
    atomic_store(&vb->actual_pages, 0);
    for (unsigned i = 0; i < FIGURES; i++)
        atomic_store(&vb->figures[i], UINT64_MAX);
}

static void state(struct virtio_device *d, struct state *s)
{
    struct virtio_balloon *vb = balloon_of(d);
    uint32_t target = atomic_load(&vb->target_pages), actual = atomic_load(&vb->actual_pages);
    state_u32(s, "target-pages", &target);
    state_u32(s, "actual-pages", &actual);
    atomic_store(&vb->target_pages, target);
    atomic_store(&vb->actual_pages, actual);
}

static const struct virtio_device_ops ops = {
    .config_read = config_read,
    .config_write = config_write,
    .reset = reset,
    .state = state,
    .stop = stop,
    .kick = kick,
};

/* ---- from outside ---- */

int virtio_balloon_new(struct memory *memory, struct io_thread *io, struct virtio_balloon **out, struct err *err)
{
    struct virtio_balloon *vb = calloc(1, sizeof *vb);
    if (!vb)
        return err_set(err, ENOMEM, "no memory for a balloon");
    vb->io = io;
    for (unsigned i = 0; i < QUEUES; i++) {
        vb->queues[i].io = io;
        vb->queues[i].size_max = QUEUE_SIZE;
    }
    vb->device = (struct virtio_device){
        .ops = &ops,
        .name = "virtio-balloon",
        .id = VIRTIO_ID_BALLOON,
        .config_bytes = CONFIG_BYTES,
        .queues = vb->queues,
        .queue_count = QUEUES,
        .offered = 1ull << VIRTIO_BALLOON_F_STATS_VQ | 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
                   1ull << VIRTIO_BALLOON_F_REPORTING,
        .memory = memory,
    };
    int rc = virtio_device_init(&vb->device, err);
    if (rc)
        free(vb);
    else
        *out = vb;
    return rc;
}

void virtio_balloon_free(struct virtio_balloon *vb)
{
    if (!vb)
        return;
    virtio_device_fini(&vb->device);
    free(vb);
}

struct virtio_device *virtio_balloon_device(struct virtio_balloon *vb)
{
    return &vb->device;
}

void virtio_balloon_set_target(struct virtio_balloon *vb, uint64_t bytes)
{
    uint64_t all = memory_size(vb->device.memory);
    bytes = bytes < all ? bytes : all;
    atomic_store(&vb->target_pages, (uint32_t)(bytes >> VIRTIO_BALLOON_PFN_SHIFT));
    virtio_device_config_changed(&vb->device);
}

void virtio_balloon_ask_stats(struct virtio_balloon *vb)
{
    io_thread_call(vb->io, ask, vb);
}

void virtio_balloon_stats(struct virtio_balloon *vb, struct virtio_balloon_stats *s)
{
    uint64_t *const to[FIGURES] = {&s->swapped_in, &s->swapped_out, &s->major_faults, &s->minor_faults,
                                   &s->free,       &s->total,       &s->available,    &s->caches};
    for (unsigned i = 0; i < FIGURES; i++)
        *to[i] = atomic_load(&vb->figures[i]);
    s->updates = atomic_load(&vb->updates);
    s->target = (uint64_t)atomic_load(&vb->target_pages) << VIRTIO_BALLOON_PFN_SHIFT;
    s->inflated = (uint64_t)atomic_load(&vb->actual_pages) << VIRTIO_BALLOON_PFN_SHIFT;
    s->given_bytes = atomic_load(&vb->given_bytes);
    s->free_bytes = atomic_load(&vb->free_bytes);
}
