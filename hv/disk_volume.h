/* What may be asked of a disk whose stack has a volume over several members (replication/volume.h): how its members
 * are, and that one is attached anew, that all are compared, or how fast one is filled.
 *
 * Threads: the main loop's, but for disk_volume_json(). */
#ifndef HV_DISK_VOLUME_H
#define HV_DISK_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "node/base/err.h"
#include "node/base/loop.h"
#include "replication/volume_json.h"

struct blk;
struct io_thread;
struct json_t;

struct disk_volume {
    struct blk *blk;       /* the layer that is a volume */
    const struct blk *top; /* what the guest sees */
    struct io_thread *io;
    /* a change on its way: the I/O thread's, until it is answered */
    bool changing;
    enum { DISK_VOLUME_ATTACH, DISK_VOLUME_SCRUB, DISK_VOLUME_RATE } verb;
    unsigned member;
    char *stack;
    uint64_t bytes;
    int result;
    struct err err;
    struct loop *loop;
    struct loop_message change, answer;
    /* the I/O thread's */
    struct volume_scrubs scrubs;
    uint64_t resync_bps;
};

/* body: {"verb":"attach", "member":N, "stack":[...]}, {"verb":"scrub"} (-EALREADY: it is being done) or {"verb":"rate",
 * "bytes":N}; foreign. Member -1: the witness. Turns the loop until it is answered; -ECANCELED if give_up() says so
 * meanwhile, it is in flight then. */
int disk_volume_change(struct disk_volume *volume, const struct json_t *body, struct loop *loop,
                       bool (*give_up)(void *context), void *context, struct err *err);

/* On the I/O thread: volume_json(). */
struct json_t *disk_volume_json(const struct disk_volume *volume);

#endif
