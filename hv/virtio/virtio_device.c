/* See virtio_device.h.
 *
 * Invariants
 *   1. The ring of a queue is changed by control only while the queue is STOPPED and not wanted; so the I/O thread
 *      needs no lock to use it while it is not STOPPED.
 *   2. phase is changed by the queue's I/O thread alone; wanted by control alone; both under `lock`.
 *   3. catch_up() is posted after every change of wanted, so phase follows it in the end. */
#include "hv/virtio/virtio_device.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "hv/state.h"
#include "hv/trace.h"
#include "hv/virtio/io_thread.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { RESET_PATIENCE_MS = 100, STATUS_KNOWN = 0x0f | VIRTIO_CONFIG_S_FAILED };

static const uint64_t ring_features =
    1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX;

/* ---- the I/O thread's side ---- */

static void post_locked(struct virtio_queue *vq)
{
    if (vq->posted)
        return;
    vq->posted = true;
    io_thread_post(vq->io, &vq->message);
}

static bool all_stopped_locked(const struct virtio_device *d)
{
    for (unsigned i = 0; i < d->queue_count; i++)
        if (d->queues[i].phase != VIRTIO_STOPPED || d->queues[i].wanted)
            return false;
    return true;
}

static void tell_paused_locked(struct virtio_device *d)
{
    if (!d->pause_message || !all_stopped_locked(d))
        return;
    loop_post(d->pause_loop, d->pause_message);
    d->pause_message = NULL;
}

static void serve(struct virtio_queue *vq)
{
    queue_begin_turn(&vq->ring);
    vq->device->ops->kick(vq);
    if (queue_end_turn(&vq->ring))
        virtio_queue_poke(vq);
}

static void catch_up(struct loop_message *message)
{
    struct virtio_queue *vq = CONTAINER_OF(message, struct virtio_queue, message);
    struct virtio_device *d = vq->device;
    const struct virtio_device_ops *ops = d->ops;
    pthread_mutex_lock(&d->lock);
    vq->posted = false;
    bool start = vq->wanted && vq->phase == VIRTIO_STOPPED;
    bool stop = !vq->wanted && vq->phase == VIRTIO_RUNNING;
    if (start)
        vq->phase = VIRTIO_RUNNING;
    if (stop)
        vq->phase = VIRTIO_STOPPING;
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    if (start) {
        if (ops->start)
            ops->start(vq);
        serve(vq);
    } else if (stop) {
        if (ops->stop)
            ops->stop(vq);
        else
            virtio_queue_stopped(vq);
    }
}

void virtio_queue_stopped(struct virtio_queue *vq)
{
    struct virtio_device *d = vq->device;
    assert(vq->phase == VIRTIO_STOPPING);
    assert(!vq->ring.out);
    pthread_mutex_lock(&d->lock);
    vq->phase = VIRTIO_STOPPED;
    if (vq->wanted)
        post_locked(vq);
    tell_paused_locked(d);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
}

bool virtio_queue_serves(struct virtio_queue *vq)
{
    return vq->phase == VIRTIO_RUNNING; /* ours to write: no lock to read it */
}

static void listen_for_kicks(struct virtio_queue *vq)
{
    struct io_uring_sqe *sqe = loop_sqe(io_thread_loop(vq->io), &vq->kick_op);
    io_uring_prep_read(sqe, vq->kick_fd, &vq->kick_count, sizeof vq->kick_count, 0);
}

static void kicked(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct virtio_queue *vq = CONTAINER_OF(op, struct virtio_queue, kick_op);
    (void)cqe_flags;
    if (result == -ECANCELED || vq->leaving) { /* a kick may be faster than being cancelled */
        pthread_mutex_lock(&vq->device->lock);
        vq->listening = false;
        pthread_cond_broadcast(&vq->device->changed);
        pthread_mutex_unlock(&vq->device->lock);
        return;
    }
    listen_for_kicks(vq);
    trace_all(TRACE_VIRTIO, "%s: queue %u is kicked", vq->device->name, (unsigned)(vq - vq->device->queues));
    if (virtio_queue_serves(vq))
        serve(vq);
}

static void start_listening(void *context)
{
    listen_for_kicks(context);
}

static void stop_listening(void *context)
{
    struct virtio_queue *vq = context;
    vq->leaving = true;
    loop_cancel(io_thread_loop(vq->io), &vq->kick_op);
}

void virtio_queue_poke(struct virtio_queue *vq)
{
    uint64_t one = 1;
    while (write(vq->kick_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

/* ---- rings ---- */

static void ring_signal(struct queue *ring)
{
    struct virtio_queue *vq = CONTAINER_OF(ring, struct virtio_queue, ring);
    vq->device->interrupt(vq->device, vq);
}

static void break_device(struct virtio_device *d, unsigned queue, const char *why)
{
    pthread_mutex_lock(&d->lock);
    log_limited(&d->limit, LOG_LEVEL_WARN, "%s: queue %u: %s; the guest's driver must reset the device", d->name, queue,
                why);
    pthread_mutex_unlock(&d->lock);
    atomic_store(&d->broken, true);
    virtio_device_config_changed(d);
}

static void ring_failed(struct queue *ring, const char *why)
{
    struct virtio_queue *vq = CONTAINER_OF(ring, struct virtio_queue, ring);
    break_device(vq->device, vq->index, why);
}

void virtio_device_config_changed(struct virtio_device *d)
{
    atomic_fetch_add(&d->generation, 1);
    d->interrupt(d, NULL);
}

/* ---- control ---- */

static void open_ring(struct virtio_queue *vq)
{
    struct queue *ring = &vq->ring;
    if (ring->opened || ring->broken)
        return;
    ring->event_idx = virtio_has(vq->device, VIRTIO_RING_F_EVENT_IDX);
    ring->indirect = virtio_has(vq->device, VIRTIO_RING_F_INDIRECT_DESC);
    const char *why = queue_open(ring);
    if (why)
        queue_fail(ring, why);
}

/* Each queue is wanted, or not, by what guest and machine say now. */
static void steer(struct virtio_device *d)
{
    bool wanted = d->status & VIRTIO_CONFIG_S_DRIVER_OK && !d->resetting && !d->paused;
    for (unsigned i = 0; i < d->queue_count; i++) {
        struct virtio_queue *vq = &d->queues[i];
        pthread_mutex_lock(&d->lock);
        bool untouched = vq->phase == VIRTIO_STOPPED && !vq->wanted;
        pthread_mutex_unlock(&d->lock);
        if (wanted && vq->enabled && untouched)
            open_ring(vq);
        pthread_mutex_lock(&d->lock);
        bool wish = wanted && vq->ring.opened;
        if (wish != vq->wanted) {
            vq->wanted = wish;
            post_locked(vq);
        }
        pthread_mutex_unlock(&d->lock);
    }
}

static bool is_stopped(struct virtio_device *d)
{
    pthread_mutex_lock(&d->lock);
    bool stopped = all_stopped_locked(d);
    pthread_mutex_unlock(&d->lock);
    return stopped;
}

/* patience_ms 0: for ever. */
static bool wait_stopped(struct virtio_device *d, unsigned patience_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += patience_ms * 1000000l;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    while (!all_stopped_locked(d) && !rc)
        rc = patience_ms ? pthread_cond_timedwait(&d->changed, &d->lock, &until)
                         : pthread_cond_wait(&d->changed, &d->lock);
    bool stopped = all_stopped_locked(d);
    pthread_mutex_unlock(&d->lock);
    return stopped;
}

static void to_power_on(struct virtio_device *d)
{
    for (unsigned i = 0; i < d->queue_count; i++) {
        struct virtio_queue *vq = &d->queues[i];
        queue_close(&vq->ring);
        vq->ring.desc_gpa = vq->ring.avail_gpa = vq->ring.used_gpa = 0;
        vq->ring.next_avail = vq->ring.next_used = 0;
        vq->ring.size = vq->size_max;
        vq->ring.broken = false;
        vq->enabled = false;
        atomic_store(&vq->vector, VIRTIO_NO_VECTOR);
    }
    d->features = 0;
    d->status = 0;
    d->resetting = false;
    atomic_store(&d->broken, false);
    atomic_store(&d->config_vector, VIRTIO_NO_VECTOR);
    if (d->ops->reset)
        d->ops->reset(d);
}

static void settle(struct virtio_device *d)
{
    if (d->resetting && is_stopped(d))
        to_power_on(d);
}

uint64_t virtio_device_offers(const struct virtio_device *d)
{
    return d->offered | ring_features;
}

uint8_t virtio_device_status(struct virtio_device *d)
{
    settle(d);
    return (uint8_t)(d->status | (atomic_load(&d->broken) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0));
}

bool virtio_device_is_configurable(struct virtio_device *d)
{
    settle(d);
    return !d->resetting && !(d->status & VIRTIO_CONFIG_S_DRIVER_OK);
}

static bool features_fit(struct virtio_device *d)
{
    if (d->features & ~virtio_device_offers(d) || !virtio_has(d, VIRTIO_F_VERSION_1))
        return false;
    return !d->ops->features_fit || d->ops->features_fit(d, d->features);
}

void virtio_device_set_status(struct virtio_device *d, uint8_t status)
{
    settle(d);
    if (d->resetting)
        return;
    if (!status) {
        trace_debug(TRACE_VIRTIO, "%s: reset by the driver", d->name);
        d->resetting = true;
        steer(d);
        wait_stopped(d, RESET_PATIENCE_MS);
        settle(d);
        return;
    }
    status &= STATUS_KNOWN;
    status |= d->status; /* bits are taken back by a reset only */
    if (status & VIRTIO_CONFIG_S_FEATURES_OK & ~d->status && !features_fit(d))
        status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    if (!(status & VIRTIO_CONFIG_S_FEATURES_OK))
        status &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
    trace_debug(TRACE_VIRTIO, "%s: status %#x, features %#llx", d->name, status, (unsigned long long)d->features);
    d->status = status;
    steer(d);
}

uint64_t virtio_device_config_read(struct virtio_device *d, uint32_t offset, unsigned size)
{
    uint8_t all[VIRTIO_CONFIG_BYTES_MAX + sizeof(uint64_t)] = {0};
    if (offset >= d->config_bytes)
        return 0;
    d->ops->config_read(d, all);
    memset(all + d->config_bytes, 0, sizeof(uint64_t));
    uint64_t value = 0;
    memcpy(&value, all + offset, size);
    return value;
}

void virtio_device_config_write(struct virtio_device *d, uint32_t offset, unsigned size, uint64_t value)
{
    if (d->ops->config_write && offset < d->config_bytes && size <= d->config_bytes - offset)
        d->ops->config_write(d, offset, size, value);
}

/* ---- the machine ---- */

void virtio_device_pause(struct virtio_device *d, struct loop *loop, struct loop_message *paused)
{
    d->paused = true;
    steer(d);
    pthread_mutex_lock(&d->lock);
    assert(!d->pause_message);
    d->pause_loop = loop;
    d->pause_message = paused;
    tell_paused_locked(d);
    pthread_mutex_unlock(&d->lock);
}

void virtio_device_resume(struct virtio_device *d)
{
    pthread_mutex_lock(&d->lock);
    if (d->pause_message)
        loop_post(d->pause_loop, d->pause_message);
    d->pause_message = NULL;
    pthread_mutex_unlock(&d->lock);
    d->paused = false;
    settle(d);
    steer(d);
}

void virtio_device_reset(struct virtio_device *d)
{
    d->resetting = true;
    steer(d);
    wait_stopped(d, 0);
    to_power_on(d);
}

/* ---- state ---- */

static void state_queue(struct virtio_queue *vq, struct state *s)
{
    char name[STATE_NAME_MAX + 1];
    struct queue *ring = &vq->ring;
    uint16_t vector = atomic_load(&vq->vector);
    const struct {
        const char *name;
        uint16_t *value;
    } words[] = {
        {"size", &ring->size}, {"vector", &vector}, {"next-avail", &ring->next_avail}, {"next-used", &ring->next_used}};
    const struct {
        const char *name;
        uint64_t *value;
    } addresses[] = {{"desc", &ring->desc_gpa}, {"avail", &ring->avail_gpa}, {"used", &ring->used_gpa}};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        snprintf(name, sizeof name, "queue%u-%s", vq->index, words[i].name);
        state_u16(s, name, words[i].value);
    }
    for (unsigned i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        snprintf(name, sizeof name, "queue%u-%s", vq->index, addresses[i].name);
        state_u64(s, name, addresses[i].value);
    }
    snprintf(name, sizeof name, "queue%u-enabled", vq->index);
    state_bool(s, name, &vq->enabled);
    snprintf(name, sizeof name, "queue%u-broken", vq->index);
    state_bool(s, name, &ring->broken);
    state_check(s, ring->size && ring->size <= vq->size_max && !(ring->size & (ring->size - 1)),
                "the size of a queue is not a power of two, or too large");
    state_check(s, ring->next_avail == ring->next_used, "a queue has requests in flight");
    atomic_store(&vq->vector, vector);
}

void virtio_device_state(struct virtio_device *d, struct state *s)
{
    settle(d);
    assert(is_stopped(d));
    uint16_t vector = atomic_load(&d->config_vector);
    bool broken = atomic_load(&d->broken);
    uint8_t generation = atomic_load(&d->generation);
    if (state_loading(s))
        for (unsigned i = 0; i < d->queue_count; i++)
            queue_close(&d->queues[i].ring);
    state_u64(s, "features", &d->features);
    state_u8(s, "status", &d->status);
    state_u8(s, "generation", &generation);
    state_u16(s, "config-vector", &vector);
    state_bool(s, "broken", &broken);
    state_check(s, !(d->features & ~virtio_device_offers(d)),
                "the guest uses a feature that this device does not offer here");
    state_check(s, !(d->status & ~STATUS_KNOWN), "status has bits that do not exist");
    atomic_store(&d->config_vector, vector);
    atomic_store(&d->broken, broken);
    atomic_store(&d->generation, generation);
    for (unsigned i = 0; i < d->queue_count; i++)
        state_queue(&d->queues[i], s);
    if (d->ops->state)
        d->ops->state(d, s);
}

/* ---- beginning and end ---- */

static void init_queue(struct virtio_queue *vq, struct virtio_device *d, unsigned index)
{
    vq->device = d;
    vq->index = index;
    vq->ring.memory = d->memory;
    vq->ring.signal = ring_signal;
    vq->ring.failed = ring_failed;
    vq->kick_op.done = kicked;
    vq->message.deliver = catch_up;
    vq->phase = VIRTIO_STOPPED;
    vq->kick_fd = -1;
    vq->leaving = false;
}

int virtio_device_init(struct virtio_device *d, struct err *err)
{
    assert(d->queue_count <= VIRTIO_QUEUES_MAX && d->config_bytes <= VIRTIO_CONFIG_BYTES_MAX);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, &attr);
    pthread_condattr_destroy(&attr);
    d->limit = (struct log_limit){.burst = 3, .interval_ms = 60000};
    for (unsigned i = 0; i < d->queue_count; i++)
        init_queue(&d->queues[i], d, i);
    for (unsigned i = 0; i < d->queue_count; i++) {
        struct virtio_queue *vq = &d->queues[i];
        vq->kick_fd = eventfd(0, EFD_CLOEXEC);
        if (vq->kick_fd < 0) {
            int rc = err_set(err, errno, "%s: cannot make an eventfd: %s", d->name, strerror(errno));
            virtio_device_fini(d);
            return rc;
        }
        vq->listening = true;
        io_thread_call(vq->io, start_listening, vq);
    }
    to_power_on(d);
    return 0;
}

void virtio_device_fini(struct virtio_device *d)
{
    d->resetting = true;
    steer(d);
    wait_stopped(d, 0);
    for (unsigned i = 0; i < d->queue_count; i++) {
        struct virtio_queue *vq = &d->queues[i];
        if (vq->kick_fd < 0)
            continue;
        io_thread_call(vq->io, stop_listening, vq);
        pthread_mutex_lock(&d->lock);
        while (vq->listening || vq->posted)
            pthread_cond_wait(&d->changed, &d->lock);
        pthread_mutex_unlock(&d->lock);
        close(vq->kick_fd);
        vq->kick_fd = -1;
        queue_close(&vq->ring);
    }
    pthread_cond_destroy(&d->changed);
    pthread_mutex_destroy(&d->lock);
}
