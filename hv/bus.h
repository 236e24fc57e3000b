/* Where a vCPU's access goes that is not memory: the I/O ports and the memory-mapped registers of devices.
 *
 * The bus has the machine's one lock. Device callbacks (bus_ops, timers, resets, state) are called with it held, so a
 * device needs no lock of its own; who calls a device from elsewhere says bus_lock() first. I/O threads (disks,
 * networks) work without it and meet the rest through doorbells (eventfds) and irq_*().
 *
 * A read that nobody answers is all ones, a write goes nowhere, as on a PC. Accesses are 1, 2, 4 or 8 bytes (ports: up
 * to 4) and may be unaligned; one that reaches past the end of a region is split by the bus into bytes. Values are in
 * the low bits, what is above `size` is zero.
 *
 * Threads: any. Lock order: bus, then irq chips. */
#ifndef HV_BUS_H
#define HV_BUS_H

#include <stdbool.h>
#include <stdint.h>

struct bus;
struct err;

enum bus_space { BUS_PORTS, BUS_MEMORY };

struct bus_ops {
    uint64_t (*read)(void *device, uint64_t offset, unsigned size);
    void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

/* Embedded in the device; the device fills it and keeps it in place while it is added. */
struct bus_region {
    const char *name;
    const struct bus_ops *ops;
    void *device;
    enum bus_space space;
    uint64_t base, bytes;
    bool added; /* the bus's */
};

struct bus *bus_new(struct err *err);
void bus_free(struct bus *bus);

void bus_lock(struct bus *bus);
void bus_unlock(struct bus *bus);
void bus_assert_locked(const struct bus *bus);

/* With the lock held. -EBUSY where it overlaps another region (a guest may place BARs so: the newcomer is not
 * reachable), -ENOSPC past the limit of regions. */
int bus_add(struct bus *bus, struct bus_region *region);
void bus_remove(struct bus *bus, struct bus_region *region); /* one that is not added is fine */
/* The same while the machine is built, and without the lock: it is taken here. what: for err, such as "the clock". */
int bus_plug(struct bus *bus, struct bus_region *region, const char *what, struct err *err);

/* From a vCPU; take the lock themselves. */
uint64_t bus_read(struct bus *bus, enum bus_space space, uint64_t address, unsigned size);
void bus_write(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, uint64_t value);

/* A doorbell: a write of `size` bytes to exactly this address rings fd instead of calling the device, without waiting
 * for the lock. The engine may answer it without an exit. With the lock held. fd stays the caller's. */
struct bus_doorbell {
    enum bus_space space;
    uint64_t address;
    unsigned size; /* 0: any */
    int fd;
    bool added; /* the bus's */
};
int bus_doorbell_add(struct bus *bus, struct bus_doorbell *doorbell);
void bus_doorbell_remove(struct bus *bus, struct bus_doorbell *doorbell);

/* The engine, told of every doorbell that comes and goes (and at once of those that are there). */
struct bus_listener {
    void (*doorbell)(struct bus_listener *listener, const struct bus_doorbell *doorbell, bool added);
};
void bus_listen(struct bus *bus, struct bus_listener *listener);

#endif
