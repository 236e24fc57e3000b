/* What every paravirtual device has, whatever bus it sits on: features, status, queues, and who serves them when.
 *
 *     transport (virtio_pci.h, bus locked)  -- status, features, addresses -->  virtio_device
 *     virtio_device                         -- start, stop, kick (I/O thread) --> the device (blk, net ...)
 *     the device                            -- ring (queue.h), signal -->        transport -> MSI-X
 *
 * A queue is served by one I/O thread, chosen by the device; several queues may share one. What the guest wants
 * (DRIVER_OK, reset) and what the machine wants (pause) come together as one wish per queue, "served" or "not", which
 * its I/O thread catches up with:
 *
 *     STOPPED --start()--> RUNNING --stop()--> STOPPING --virtio_queue_stopped()--> STOPPED
 *
 * stop() means: take nothing more, give back what is in flight, then say virtio_queue_stopped(). A reset by the guest
 * waits for that a moment; if it takes longer (a disk whose server is away) the status register goes on saying
 * what it said, and a driver waits until it reads 0, as the specification demands.
 *
 * Threads: registers and control with the bus locked, or from the main thread while no vCPU runs; what is
 * marked "I/O thread" on the thread of that queue, which never takes the bus lock.
 * Source: virtio 1.2, chapters 2 and 3. */
#ifndef HV_VIRTIO_VIRTIO_DEVICE_H
#define HV_VIRTIO_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/virtio/queue.h"
#include "node/base/log.h"
#include "node/base/loop.h"

struct err;
struct io_thread;
struct memory;
struct state;
struct virtio_device;
struct virtio_queue;

enum { VIRTIO_QUEUES_MAX = 33, VIRTIO_CONFIG_BYTES_MAX = 256, VIRTIO_NO_VECTOR = 0xffff };

struct virtio_device_ops {
    /* The whole configuration space as it is now (config_bytes). Bus locked. */
    void (*config_read)(struct virtio_device *device, uint8_t *to);
    /* `size` bytes at offset, inside config_bytes. Bus locked. NULL: read-only. */
    void (*config_write)(struct virtio_device *device, uint32_t offset, uint32_t size, uint64_t value);
    /* The driver has chosen these, a subset of those offered: do they go together? NULL: yes. Bus locked. */
    bool (*features_fit)(struct virtio_device *device, uint64_t features);
    /* Back to power-on; no queue is served. Bus locked. NULL: has nothing. */
    void (*reset)(struct virtio_device *device);
    /* What the device has beside registers and queues; no queue is served. NULL: nothing. */
    void (*state)(struct virtio_device *device, struct state *s);

    /* I/O thread: */
    void (*start)(struct virtio_queue *vq); /* NULL: nothing to do; a kick follows */
    void (*stop)(struct virtio_queue *vq);  /* NULL: nothing is ever in flight */
    void (*kick)(struct virtio_queue *vq);
};

enum virtio_phase { VIRTIO_STOPPED, VIRTIO_RUNNING, VIRTIO_STOPPING };

struct virtio_queue {
    struct queue ring;
    struct virtio_device *device;
    struct io_thread *io; /* the device's choice, made before virtio_device_init() */
    unsigned index;
    uint16_t size_max; /* likewise */
    /* registers */
    bool enabled;
    _Atomic uint16_t vector;
    /* kicks */
    int kick_fd;
    struct loop_op kick_op;
    uint64_t kick_count;
    bool leaving; /* the I/O thread's: it listens no longer */
    /* under device->lock */
    enum virtio_phase phase;
    bool wanted, posted, listening;
    struct loop_message message;
};

struct virtio_device {
    /* The device's, set before virtio_device_init(): */
    const struct virtio_device_ops *ops;
    const char *name; /* "virtio-blk" */
    uint16_t id;      /* virtio 1.2, chapter 5 */
    uint16_t config_bytes;
    unsigned queue_count;
    struct virtio_queue *queues;
    uint64_t offered; /* its own features; the ring's are added */
    struct memory *memory;
    /* The transport's: vq NULL is the configuration. Any thread. */
    void (*interrupt)(struct virtio_device *device, struct virtio_queue *vq);
    void *transport;

    uint64_t features; /* what the driver accepted; settled from FEATURES_OK on */
    uint8_t status;
    bool resetting, paused;
    atomic_bool broken; /* DEVICE_NEEDS_RESET */
    atomic_uchar generation;
    _Atomic uint16_t config_vector;
    struct log_limit limit; /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct loop *pause_loop;
    struct loop_message *pause_message; /* under lock */
};

/* Makes eventfds and lets the I/O threads listen. The device stays in place. -errno with a text. */
int virtio_device_init(struct virtio_device *device, struct err *err);
/* Stops and waits until everything in flight is back. Main thread, without the bus lock. */
void virtio_device_fini(struct virtio_device *device);

/* ---- registers: for the transport, bus locked ---- */

uint64_t virtio_device_offers(const struct virtio_device *device);
uint8_t virtio_device_status(struct virtio_device *device);
void virtio_device_set_status(struct virtio_device *device, uint8_t status);
/* May the driver still set features, addresses, sizes? Not while the device works or resets. */
bool virtio_device_is_configurable(struct virtio_device *device);
uint64_t virtio_device_config_read(struct virtio_device *device, uint32_t offset, unsigned size);
void virtio_device_config_write(struct virtio_device *device, uint32_t offset, unsigned size, uint64_t value);

/* ---- the machine: main thread, no vCPU runs, or none can reach the device (it is unplugged) ---- */

/* Queues are served no longer; `paused` is posted to `loop` once nothing is in flight, which a lost disk may delay. */
void virtio_device_pause(struct virtio_device *device, struct loop *loop, struct loop_message *paused);
/* Also before `paused` was delivered: it is delivered all the same. */
void virtio_device_resume(struct virtio_device *device);
/* Power-on. Paused before, or waits for what is in flight. */
void virtio_device_reset(struct virtio_device *device);
/* Paused before; inside the owner's section. */
void virtio_device_state(struct virtio_device *device, struct state *s);

/* ---- for devices ---- */

static inline bool virtio_has(const struct virtio_device *device, unsigned feature)
{
    return device->features >> feature & 1;
}

/* Configuration has changed: a new generation and an interrupt. Any thread. */
void virtio_device_config_changed(struct virtio_device *device);
/* I/O thread: what stop() asked for is done. May be called inside stop(). */
void virtio_queue_stopped(struct virtio_queue *vq);
/* I/O thread: may it take chains? */
bool virtio_queue_serves(struct virtio_queue *vq);
/* A kick from ourselves: the I/O thread looks at the queue again. Any thread. */
void virtio_queue_poke(struct virtio_queue *vq);

#endif
