/* The inside of struct disk, for the files disk*.c alone. Threads: the main loop's, but `blk` while it is open. */
#ifndef HV_DISK_INSIDE_H
#define HV_DISK_INSIDE_H

#include "hv/disk.h"
#include "hv/disk_files.h"
#include "hv/disk_volume.h"
#include "hv/virtio/virtio_blk.h"
#include "node/base/err.h"
#include "node/base/loop.h"

/* Of a new place, before the disk is closed for it (disk_move_probe()). */
struct disk_probe {
    bool busy, answered, left; /* left: nobody waits for the answer */
    struct disk *disk;         /* from here on: the I/O thread's, until it is answered */
    char *stack;
    int result;
    struct err err;
    struct loop *loop;
    struct loop_message ask, answer;
};

struct disk {
    struct disk_parts parts;
    struct disk_files files;
    struct blk *blk; /* NULL: closed */
    bool was_open;
    struct virtio_blk_shape told; /* the guest, of the stack that was closed */
    uint32_t needs;
    struct virtio_blk *virtio;
    struct virtio_pci *pci;
    struct virtio_blk_resize resize;
    bool resizing;
    struct blk_req flush; /* the I/O thread's */
    bool flushing;
    struct disk_volume volume;
    struct disk_probe probe;
    uint64_t completed; /* when disk_stands_still() was last asked */
};

#endif
