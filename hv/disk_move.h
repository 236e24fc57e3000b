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
struct loop;

/* Can the new place of that body be opened? The disk is used meanwhile. Turns the loop until that is known; -ECANCELED
 * if give_up() says so: it is in flight then. Errors: never one that says "not now". */
int disk_move_probe(struct disk *disk, const struct json_t *body, struct loop *loop, bool (*give_up)(void *context),
                    void *context, struct err *err);
/* What is told of a failure to open one: a code that nobody takes for "not now". */
int disk_move_error(int rc, struct err *err);
/* body: {"to": [...], "member": N or not there, "rate": bytes/s}; foreign. The description has the layer from now on:
 * disk_close(), disk_open(). Errors: nothing is changed. */
int disk_move_begin(struct disk *disk, const struct json_t *body, struct err *err);
/* The description is without it; there: it is the new place's. */
void disk_move_forget(struct disk *disk, bool there);
bool disk_moves(const struct disk *disk);
/* The stack that is open has the layer: a volume does without a member that cannot be opened. */
bool disk_move_is_open(const struct disk *disk);

/* move_settle(), move_end() of the open stack's; to end one that it has lost needs no more than to forget it. */
int disk_move_settle(struct disk *disk, struct err *err);
int disk_move_end(struct disk *disk, bool there, struct err *err);

/* On the I/O thread: a change waits until it is told what was decided. */
bool disk_move_waits(struct blk *top);
/* On the I/O thread, of what is open: {"phase", "done_bytes", "total_bytes", "waits", "reason", "member", "uri"}, of
 * the new place the last; NULL: nothing moves. */
struct json_t *disk_move_json(struct blk *top, const struct disk_files *files);

#endif
