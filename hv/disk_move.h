/* What a disk lies on moves to another place while the guest runs (nbd/move.h). The stack is closed and opened again
 * with the layer in it, and at the end without, so the device must rest; what is decided in between it is told as it
 * is.
 *
 * Threads: the main loop's. */
#ifndef HV_DISK_MOVE_H
#define HV_DISK_MOVE_H

#include <stdbool.h>

#include "hv/disk_files.h"

struct blk;
struct disk;
struct err;
struct json_t;

/* body: {"to": [...], "member": N or not there, "rate": bytes/s}; foreign. The description has the layer from now on:
 * disk_close(), disk_open(). Errors: nothing is changed. */
int disk_move_begin(struct disk *disk, const struct json_t *body, struct err *err);
/* The description is without it; there: it is the new place's. */
void disk_move_forget(struct disk *disk, bool there);
bool disk_moves(const struct disk *disk);

/* move_settle(), move_end() of the open stack's. */
int disk_move_settle(struct disk *disk, struct err *err);
int disk_move_end(struct disk *disk, bool there, struct err *err);

/* On the I/O thread: a change waits until it is told what was decided. */
bool disk_move_waits(struct blk *top);
/* On the I/O thread, of what is open: {"phase", "done_bytes", "total_bytes", "waits", "reason", "member", "uri"}, of
 * the new place the last; NULL: nothing moves. */
struct json_t *disk_move_json(struct blk *top, const struct disk_files *files);

#endif
