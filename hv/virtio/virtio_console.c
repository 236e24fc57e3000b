/* See virtio_console.h. The rings are what main loop and I/O thread share; whoever makes one non-empty, or non-full,
 * wakes the other side: by a message, by poking the queue. */
#include "hv/virtio/virtio_console.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/state.h"
#include "hv/virtio/chain.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_device.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { RECEIVE, TRANSMIT, QUEUES, QUEUE_SIZE = 64, PIECES = 64, RING_BYTES = VIRTIO_CONSOLE_RING_BYTES };

struct ring {
    uint8_t bytes[RING_BYTES];
    size_t first, count;
};

struct virtio_console {
    struct virtio_device device;
    struct virtio_queue queues[QUEUES];
    struct virtio_console_parts parts;
    uint16_t columns, rows; /* bus locked */
    uint32_t taken_bytes;   /* of the chain that is next in the transmit queue; its I/O thread's */
    struct iovec pieces[QUEUES][PIECES];

    pthread_mutex_t lock;
    struct ring in, out;      /* under lock */
    bool posted, room_wanted; /* under lock */
    struct loop_message message;
};

static struct virtio_console *console_of(struct virtio_device *d)
{
    return CONTAINER_OF(d, struct virtio_console, device);
}

/* ---- rings ---- */

/* The longest stretch that can be filled, or is filled, without going round. */
static size_t free_stretch(const struct ring *r, size_t *at)
{
    *at = (r->first + r->count) % RING_BYTES;
    size_t to_end = RING_BYTES - *at, free_bytes = RING_BYTES - r->count;
    return free_bytes < to_end ? free_bytes : to_end;
}

static size_t full_stretch(const struct ring *r)
{
    size_t to_end = RING_BYTES - r->first;
    return r->count < to_end ? r->count : to_end;
}

static void consume(struct ring *r, size_t n)
{
    r->first = (r->first + n) % RING_BYTES;
    r->count -= n;
}

static void state_ring(struct ring *r, const char *name, struct state *s)
{
    uint8_t flat[RING_BYTES];
    size_t n = r->count;
    for (size_t i = 0; i < n; i++)
        flat[i] = r->bytes[(r->first + i) % RING_BYTES];
    state_blob(s, name, flat, &n, sizeof flat);
    if (!state_loading(s) || state_failed(s))
        return;
    memcpy(r->bytes, flat, n);
    r->first = 0;
    r->count = n;
}

/* ---- main loop ---- */

static void post_locked(struct virtio_console *vc)
{
    if (vc->posted)
        return;
    vc->posted = true;
    loop_post(vc->parts.loop, &vc->message);
}

/* Gives the host what it takes. Bus locked. Copied out, so that the host is not called with our lock held. */
static void drain(struct virtio_console *vc)
{
    uint8_t data[RING_BYTES];
    size_t n, taken;
    do {
        pthread_mutex_lock(&vc->lock);
        n = full_stretch(&vc->out);
        memcpy(data, vc->out.bytes + vc->out.first, n);
        pthread_mutex_unlock(&vc->lock);
        taken = n ? vc->parts.host->output(vc->parts.host, data, n) : 0;
        pthread_mutex_lock(&vc->lock);
        bool was_full = vc->out.count == RING_BYTES;
        consume(&vc->out, taken);
        pthread_mutex_unlock(&vc->lock);
        if (was_full && taken)
            virtio_queue_poke(&vc->queues[TRANSMIT]);
    } while (taken && taken == n);
}

static void wake(struct loop_message *message)
{
    struct virtio_console *vc = CONTAINER_OF(message, struct virtio_console, message);
    bus_lock(vc->parts.bus);
    pthread_mutex_lock(&vc->lock);
    vc->posted = false;
    bool room = vc->room_wanted && vc->in.count < RING_BYTES;
    if (room)
        vc->room_wanted = false;
    pthread_mutex_unlock(&vc->lock);
    drain(vc);
    if (room && vc->parts.host->room)
        vc->parts.host->room(vc->parts.host);
    bus_unlock(vc->parts.bus);
}

void virtio_console_output_ready(struct virtio_console *vc)
{
    drain(vc);
}

size_t virtio_console_room(struct virtio_console *vc)
{
    pthread_mutex_lock(&vc->lock);
    size_t room = RING_BYTES - vc->in.count;
    vc->room_wanted |= !room;
    pthread_mutex_unlock(&vc->lock);
    return room;
}

size_t virtio_console_input(struct virtio_console *vc, const uint8_t *data, size_t bytes)
{
    size_t done = 0, n, at;
    pthread_mutex_lock(&vc->lock);
    while (done < bytes && (n = free_stretch(&vc->in, &at))) {
        n = n < bytes - done ? n : bytes - done;
        memcpy(vc->in.bytes + at, data + done, n);
        vc->in.count += n;
        done += n;
    }
    vc->room_wanted |= done < bytes;
    pthread_mutex_unlock(&vc->lock);
    if (done)
        virtio_queue_poke(&vc->queues[RECEIVE]);
    return done;
}

void virtio_console_set_size(struct virtio_console *vc, uint16_t columns, uint16_t rows)
{
    bus_assert_locked(vc->parts.bus);
    if (vc->columns == columns && vc->rows == rows)
        return;
    vc->columns = columns;
    vc->rows = rows;
    virtio_device_config_changed(&vc->device);
}

/* ---- I/O thread ---- */

/* To the guest. */
static void receive(struct virtio_console *vc, struct virtio_queue *vq)
{
    struct chain c = {.iov = vc->pieces[RECEIVE], .room = PIECES};
    for (;;) {
        pthread_mutex_lock(&vc->lock);
        bool empty = !vc->in.count;
        pthread_mutex_unlock(&vc->lock);
        if (empty || !queue_pop(&vq->ring, &c))
            break;
        uint64_t written = 0;
        size_t n;
        pthread_mutex_lock(&vc->lock);
        do { /* twice at the most: once up to the end of the ring, once from its beginning */
            n = chain_write(&c, written, vc->in.bytes + vc->in.first, full_stretch(&vc->in));
            consume(&vc->in, n);
            written += n;
        } while (n);
        if (vc->room_wanted)
            post_locked(vc);
        pthread_mutex_unlock(&vc->lock);
        queue_push(&vq->ring, &c, written);
    }
    queue_publish(&vq->ring);
}

/* From the guest. False: the ring is full; the chain goes back, and we remember how much of it was taken. */
static bool take(struct virtio_console *vc, const struct chain *c)
{
    size_t n, at;
    pthread_mutex_lock(&vc->lock);
    while (vc->taken_bytes < c->readable_bytes && (n = free_stretch(&vc->out, &at))) {
        n = chain_read(c, vc->taken_bytes, vc->out.bytes + at, n);
        vc->out.count += n;
        vc->taken_bytes += (uint32_t)n;
    }
    if (vc->out.count)
        post_locked(vc);
    pthread_mutex_unlock(&vc->lock);
    return vc->taken_bytes >= c->readable_bytes;
}

/* False: the host takes no more for now. */
static bool transmit(struct virtio_console *vc, struct virtio_queue *vq)
{
    struct chain c = {.iov = vc->pieces[TRANSMIT], .room = PIECES};
    bool all = true;
    while (all && queue_pop(&vq->ring, &c)) {
        if (c.readable_bytes > UINT32_MAX) {
            queue_refuse(&vq->ring, "more output at once than there can be");
            break;
        }
        all = take(vc, &c);
        if (all)
            queue_push(&vq->ring, &c, 0);
        else
            queue_unpop(&vq->ring, 1);
        if (all)
            vc->taken_bytes = 0;
    }
    queue_publish(&vq->ring);
    return all;
}

static bool has_input(struct virtio_console *vc)
{
    pthread_mutex_lock(&vc->lock);
    bool some = vc->in.count;
    pthread_mutex_unlock(&vc->lock);
    return some;
}

static void kick(struct virtio_queue *vq)
{
    struct virtio_console *vc = console_of(vq->device);
    if (vq->index == TRANSMIT) {
        while (transmit(vc, vq) && queue_listen(&vq->ring))
            continue;
        return;
    }
    do
        receive(vc, vq);
    while (has_input(vc) && queue_listen(&vq->ring));
}

/* ---- registers ---- */

static void config_read(struct virtio_device *d, uint8_t *to)
{
    struct virtio_console *vc = console_of(d);
    struct virtio_console_config c = {.cols = vc->columns, .rows = vc->rows, .max_nr_ports = 1};
    memcpy(to, &c, sizeof c);
}

/* A character before there are queues, from kernels that do not get that far. */
static void config_write(struct virtio_device *d, uint32_t offset, uint32_t size, uint64_t value)
{
    struct virtio_console *vc = console_of(d);
    size_t at;
    (void)size;
    if (offset != offsetof(struct virtio_console_config, emerg_wr))
        return;
    pthread_mutex_lock(&vc->lock);
    if (free_stretch(&vc->out, &at)) {
        vc->out.bytes[at] = (uint8_t)value;
        vc->out.count++;
        post_locked(vc);
    }
    pthread_mutex_unlock(&vc->lock);
}

static void reset(struct virtio_device *d)
{
    struct virtio_console *vc = console_of(d);
    vc->taken_bytes = 0;
}

static void state(struct virtio_device *d, struct state *s)
{
    struct virtio_console *vc = console_of(d);
    state_u32(s, "taken-bytes", &vc->taken_bytes);
    pthread_mutex_lock(&vc->lock);
    state_ring(&vc->in, "input", s);
    state_ring(&vc->out, "output", s);
    pthread_mutex_unlock(&vc->lock);
}

static const struct virtio_device_ops ops = {
    .config_read = config_read, .config_write = config_write, .reset = reset, .state = state, .kick = kick};

/* ---- beginning and end ---- */

int virtio_console_new(const struct virtio_console_parts *parts, struct virtio_console **out, struct err *err)
{
    struct virtio_console *vc = calloc(1, sizeof *vc);
    if (!vc)
        return err_set(err, ENOMEM, "no memory for a console");
    vc->parts = *parts;
    vc->columns = 80;
    vc->rows = 25;
    vc->message.deliver = wake;
    pthread_mutex_init(&vc->lock, NULL);
    for (unsigned i = 0; i < QUEUES; i++) {
        vc->queues[i].io = parts->io;
        vc->queues[i].size_max = QUEUE_SIZE;
    }
    vc->device = (struct virtio_device){
        .ops = &ops,
        .name = "virtio-console",
        .id = VIRTIO_ID_CONSOLE,
        .config_bytes = sizeof(struct virtio_console_config),
        .queues = vc->queues,
        .queue_count = QUEUES,
        .offered = 1ull << VIRTIO_CONSOLE_F_SIZE | 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE,
        .memory = parts->memory,
    };
    int rc = virtio_device_init(&vc->device, err);
    if (rc) {
        pthread_mutex_destroy(&vc->lock);
        free(vc);
        return rc;
    }
    *out = vc;
    return 0;
}

void virtio_console_free(struct virtio_console *vc)
{
    if (!vc)
        return;
    virtio_device_fini(&vc->device);
    loop_unpost(vc->parts.loop, &vc->message);
    pthread_mutex_destroy(&vc->lock);
    free(vc);
}

struct virtio_device *virtio_console_device(struct virtio_console *vc)
{
    return &vc->device;
}
