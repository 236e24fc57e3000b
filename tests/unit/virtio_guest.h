/* A tiny driver: what a guest's kernel does to a virtio device, in a memory and on a bus of its own. It finds the
 * capabilities, places BARs, negotiates, fills rings and waits for what is used; tests go around it where they want to
 * misbehave.
 *
 * Waiting looks at the ring until something is there; after half a minute the test fails. */
#ifndef TESTS_UNIT_VIRTIO_GUEST_H
#define TESTS_UNIT_VIRTIO_GUEST_H

#include "tests/unit/fixture.h"

#include <stdatomic.h>
#include <stdbool.h>

#include "hv/bus.h"
#include "hv/irq.h"
#include "hv/machine/irq_share.h"
#include "hv/memory.h"
#include "hv/virtio/io_thread.h"
#include "hv/virtio/virtio_device.h"
#include "hv/virtio/virtio_pci.h"

enum { GUEST_QUEUES_MAX = 8, GUEST_QUEUE_SIZE_MAX = 256, GUEST_VECTORS = 16, GUEST_SLOT = 3 };
enum { GUEST_MEMORY_BYTES = 32 << 20, GUEST_RINGS = 1 << 20, GUEST_BUFFERS = 4 << 20 };

struct guest_buffer {
    uint64_t gpa;
    uint32_t bytes;
};

struct guest_queue {
    uint64_t desc, avail, used; /* GPAs */
    uint16_t size, next_avail, last_used, next_desc;
};

struct virtio_guest {
    struct memory *memory;
    struct bus *bus;
    struct irq irq;
    struct irq_share lines;
    struct pci *pci;
    struct io_thread *io;
    struct virtio_device *device;
    struct virtio_pci *vp;
    unsigned slot;
    uint64_t bar, common, isr, config, notify;
    uint32_t notify_step;
    uint64_t port; /* the other place for kicks */
    uint32_t port_step;
    bool by_port; /* the next kick */
    bool msix;
    uint64_t features;
    struct guest_queue queues[GUEST_QUEUES_MAX];
    uint64_t next_buffer;
    atomic_uint msis[GUEST_VECTORS]; /* messages by vector */
    atomic_bool line;                /* INTA's level */
};

struct virtio_guest *virtio_guest_new(void);
void virtio_guest_free(struct virtio_guest *g); /* unplugs */

/* Plugs the device (virtio_device_init() was called), places its BARs and looks up its capabilities. */
void virtio_guest_plug(struct virtio_guest *g, struct virtio_device *device, bool msix);
void virtio_guest_unplug(struct virtio_guest *g);
/* The same for a device that somebody else has plugged into g->pci, on g->bus: what virtio_guest_new() would make is
 * the caller's then. */
void virtio_guest_find(struct virtio_guest *g, unsigned slot, bool msix);

/* Reset to DRIVER_OK with those of `features` that are offered; VERSION_1 is added. */
void virtio_guest_start(struct virtio_guest *g, uint64_t features);
void virtio_guest_negotiate(struct virtio_guest *g, uint64_t features); /* ... up to FEATURES_OK */
void virtio_guest_set_queue(struct virtio_guest *g, unsigned queue);
void virtio_guest_reset(struct virtio_guest *g); /* waits until status reads 0 */

uint64_t virtio_guest_read(struct virtio_guest *g, uint64_t address, unsigned size);
void virtio_guest_write(struct virtio_guest *g, uint64_t address, unsigned size, uint64_t value);
uint8_t virtio_guest_status(struct virtio_guest *g);
void virtio_guest_set_status(struct virtio_guest *g, uint8_t status);
uint64_t virtio_guest_config(struct virtio_guest *g, unsigned offset, unsigned size);

/* Memory for buffers; never given back. */
uint64_t virtio_guest_alloc(struct virtio_guest *g, uint64_t bytes);
uint8_t *virtio_guest_at(struct virtio_guest *g, uint64_t gpa, uint64_t bytes);

/* Makes a chain available; its head. */
uint16_t virtio_guest_add(struct virtio_guest *g, unsigned queue, const struct guest_buffer *readable, unsigned reads,
                          const struct guest_buffer *writable, unsigned writes);
void virtio_guest_add_indirect(struct virtio_guest *g, unsigned queue, const struct guest_buffer *readable,
                               unsigned reads, const struct guest_buffer *writable, unsigned writes);
void virtio_guest_kick(struct virtio_guest *g, unsigned queue);
bool virtio_guest_used(struct virtio_guest *g, unsigned queue, uint16_t *head, uint32_t *bytes); /* looks once */
uint16_t virtio_guest_wait(struct virtio_guest *g, unsigned queue, uint32_t *bytes);
/* Waits until *what is true. */
void virtio_guest_wait_for(bool (*what)(void *context), void *context);

/* Pauses, saves, loads into `to` (which is plugged and fresh) or, if NULL, into the same device, and saves again: both
 * must be equal. Leaves the device paused. */
void virtio_guest_round_trip(struct virtio_guest *g, struct virtio_guest *to);
void virtio_guest_pause(struct virtio_guest *g);
void virtio_guest_resume(struct virtio_guest *g);
/* Frees a loop to which the I/O thread has posted: only once it has come back from doing so. */
void virtio_guest_drop_loop(struct virtio_guest *g, struct loop *loop);

#endif
