/* A guest's disk: a stack of the block layer, opened on its I/O thread, behind a virtio-blk device in a PCI slot.
 * Threads: the main loop's. */
#ifndef HV_DISK_H
#define HV_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/guest_config.h"

struct bus;
struct disk;
struct err;
struct io_thread;
struct json_t;
struct loop;
struct memory;
struct pci;
struct virtio_device;
struct virtio_pci;

struct disk_parts { /* all outlive the disk */
    struct memory *memory;
    struct bus *bus;
    struct io_thread *io;
    const struct guest_disk *config;
    unsigned index; /* of the disk, for messages and its serial */
    bool closed;    /* its files are opened, its stack is not: disk_open() does that before the guest runs */
};

/* Errors begin with "disks[N]". */
struct disk *disk_new(const struct disk_parts *parts, struct err *err);
void disk_free(struct disk *disk); /* unplugged */

struct virtio_pci *disk_pci(struct disk *disk);
struct virtio_device *disk_virtio(struct disk *disk);
uint32_t disk_needs(const struct disk *disk); /* enum blk_need */
/* Turns the loop until it is done; -ECANCELED if give_up() says so meanwhile: it is in flight then. -EBUSY: another one
 * is. */
int disk_resize(struct disk *disk, uint64_t bytes, struct loop *loop, bool (*give_up)(void *context), void *context,
                struct err *err);
/* disk_volume_change() of its volume. */
int disk_change_volume(struct disk *disk, const struct json_t *body, struct loop *loop, bool (*give_up)(void *context),
                       void *context, struct err *err);
bool disk_is_resizing(const struct disk *disk); /* or changed otherwise: then it cannot be freed */
/* Has the stack completed nothing since this was last asked? */
bool disk_stands_still(struct disk *disk);
/* Everything that was written is durable. Turns the I/O thread's loop. */
int disk_flush(struct disk *disk, struct err *err);
/* The device rests, no vCPU runs: the stack is closed, and nobody here touches it until it is opened (again), which
 * must be the same disk to the guest. A failure leaves it closed. */
void disk_close(struct disk *disk);
int disk_open(struct disk *disk, struct err *err);
bool disk_is_open(const struct disk *disk);
/* For the next disk_open(): as a later owner (disk_files.h). */
void disk_set_epoch(struct disk *disk, uint64_t epoch);
/* What the guest has been told of a disk that was closed: a new object; and the same, foreign, for one that was never
 * open. */
struct json_t *disk_told(const struct disk *disk);
void disk_set_told(struct disk *disk, const struct json_t *told);
/* A new object: number, PCI slot, size, counters, median and 99th percentile latencies. */
struct json_t *disk_stats(struct disk *disk, unsigned slot);

#endif
