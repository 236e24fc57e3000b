/* The block layer, for those who read and write: open a stack of drivers, submit requests, close it.
 *
 * Thread: everything here is called from the loop's thread that opened the stack.
 *
 * Contract of a request
 *   - The caller fills op, flags, offset, length_bytes, the vector (READ, WRITE) or the extents (EXTENTS) and done, and
 *     calls blk_submit(). The request, its vector and its buffers belong to the layer until done().
 *   - done() is called exactly once, later: never from inside any blk_submit(). It runs on the loop's thread.
 *   - result is 0 or -errno. Nothing is known of a READ's buffer, or of a WRITE's range, after an error.
 *   - Every check (range, alignment, flags, vector length, read-only, what the driver can do) is made once, by
 *     blk_submit(); a request that fails one completes with:
 *         -EINVAL   bad flags for the op, unaligned, or a vector that does not add up
 *         -ENOSPC   WRITE, ZERO past the end         -EINVAL  any other op past the end
 *         -EPERM    a change to a read-only stack    -EOPNOTSUPP  the stack cannot do this op, or not this fast
 *         -EOVERFLOW  longer than max_transfer_bytes (READ, WRITE)
 *   - -ENOTCONN: what it is for could not be reached in time. After a FLUSH that is no lost write: what was answered is
 *     there still, or the next FLUSH that is answered says that it is not.
 *   - length 0 succeeds at once for every op that has a range.
 *
 * Durability
 *   - FLUSH covers every WRITE, ZERO, TRIM and RESIZE that completed before it was submitted.
 *   - BLK_FUA: the request completes only when its own effect is durable.
 *   - Once a flush has failed, no later flush or FUA write succeeds: the stack has to be reopened.
 *
 * Requests that overlap in time may be done in any order. */
#ifndef NBD_BLK_H
#define NBD_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "node/base/histogram.h"
#include "node/base/loop.h"
#include "node/base/worker.h"

struct blk;
struct blk_req;
struct buffer_pool;
struct err;

enum blk_op {
    BLK_READ,
    BLK_WRITE,
    BLK_FLUSH,
    BLK_TRIM,    /* the range need not be kept: it reads as anything until written */
    BLK_ZERO,    /* the range reads as zeroes; may become a hole unless BLK_NO_HOLE */
    BLK_CACHE,   /* the range will be read soon: a hint, its failure means nothing */
    BLK_EXTENTS, /* which parts are data, zeroes, holes */
    BLK_RESIZE,  /* offset is the new size; what is new reads as zeroes, on a device as what it was */
    BLK_OP_COUNT
};

enum blk_flag {
    BLK_FUA = 1,        /* WRITE, TRIM, ZERO, RESIZE */
    BLK_NO_HOLE = 2,    /* ZERO: keep the range allocated */
    BLK_FAST = 4,       /* ZERO: -EOPNOTSUPP at once rather than writing zeroes */
    BLK_ONE_EXTENT = 8, /* EXTENTS: the first one will do */
};

enum blk_extent_flag {
    BLK_EXTENT_HOLE = 1, /* takes no space of its own */
    BLK_EXTENT_ZERO = 2, /* reads as zeroes */
};

struct blk_extent {
    uint64_t length_bytes;
    uint32_t flags; /* enum blk_extent_flag */
    uint32_t depth; /* 0: allocated nowhere, 1: in the top image, 2: in its backing image, ... */
};

struct blk_req {
    enum blk_op op;
    uint32_t flags;
    uint64_t offset;
    uint64_t length_bytes;
    const struct iovec *iov; /* READ, WRITE: adds up to length_bytes */
    int iov_count;
    uint32_t extent_max;        /* EXTENTS: room, at least 1 */
    uint32_t extent_count;      /* EXTENTS, on success: at least 1; they cover a prefix of the range, at least 1 byte */
    struct blk_extent *extents; /* neighbours with equal flags and depth are one extent */
    void (*done)(struct blk_req *req);
    int result;

    /* the wrapper's */
    struct blk *blk;
    uint64_t begin_ns;
    struct loop_job deliver;
    uint8_t state; /* 0 before the first blk_submit() */
    /* the driver's, see blk_driver.h */
    struct blk_req *parent;
    STAILQ_ENTRY(blk_req) link;
    struct loop_op io;
    struct worker_task work;
    union {
        uint64_t u64;
        void *ptr;
    } scratch[3];
};

struct blk_limits {
    uint32_t align_bytes;        /* every offset and length is a multiple; a power of two, 1 to 65536 */
    uint32_t preferred_bytes;    /* at least 512 and align_bytes */
    uint32_t max_transfer_bytes; /* READ, WRITE */
};

enum blk_can {
    BLK_CAN_TRIM = 1,
    BLK_CAN_ZERO = 2,
    BLK_CAN_FAST_ZERO = 4,
    BLK_CAN_RESIZE = 8,
    BLK_CAN_CACHE = 16,
    BLK_CAN_MULTI_CONN = 32, /* a flush covers writes that arrived by any route */
    BLK_CAN_EXTENTS = 64,
    BLK_IS_ROTATIONAL = 128,
};

struct blk_op_stats {
    uint64_t ops, errors, bytes;
    struct histogram latency_ns;
};

/* What a stack goes on needing after it was opened: for those who give up privileges. */
enum blk_need {
    BLK_NEEDS_SOCKETS = 1, /* it connects again when a connection is lost */
    BLK_NEEDS_PATHS = 2,   /* ... to a unix socket, by its path */
};

/* What a stack needs of its thread. All outlive the stack. */
struct blk_env {
    struct loop *loop;
    struct worker *worker;
    struct buffer_pool *buffers;
};

enum blk_open_flag {
    BLK_OPEN_READ_ONLY = 1,
    BLK_OPEN_PATIENT = 2, /* a driver that says nothing else waits for a lost server without end */
};

/* Opens a stack: `raw:disk.img`, `mem:1G`, `nbd:URI`, or JSON (text, or @file): an array of drivers, top first.
 * Drivers must have been registered (blk_driver.h). The loop may be turned while a driver connects. Errors: -EINVAL bad
 * description; -errno of what failed. */
int blk_open(const struct blk_env *env, const char *stack, uint32_t flags, struct blk **blk, struct err *err);
/* Nothing may be in flight (blk_drain). NULL is accepted. Changes not flushed may be lost. */
void blk_close(struct blk *blk);

void blk_submit(struct blk *blk, struct blk_req *req);

/* One request of any op but EXTENTS, a long transfer in parts, and the loop turned until it is done: for what opens,
 * makes and checks, never for the data path. Its result. Not from inside a callback that must not turn the loop. */
int blk_now(struct blk *blk, enum blk_op op, uint32_t flags, uint64_t offset, void *data, uint64_t length_bytes);

/* What blk_submit() would say of op, flags, offset and length_bytes before any buffer exists: 0, or the error. For
 * those who must decide whether a payload is worth receiving. */
int blk_check(const struct blk *blk, const struct blk_req *req);

/* Memory of the stack's own that holds the range of a READ or WRITE which blk_check() accepts, or NULL. With a vector
 * of one part that lies there, the request moves no bytes: a WRITE's payload is received in its place, a READ is
 * answered from there. It stays valid until blk_close(), whatever is resized, and shows what others write. Whoever has
 * received into a WRITE's place and does not submit it asks for the place once more afterwards: it counts as written
 * then. */
void *blk_place(struct blk *blk, const struct blk_req *req);

/* Calls drained(context) once nothing is in flight at this layer; from the loop, never from inside. One at a time. */
void blk_drain(struct blk *blk, void (*drained)(void *context), void *context);

/* Asks the stack to end what is under way soon, with an error where it must, as a server that does not answer is not
 * worth waiting for any more. Drivers that have no way to do that go on as they are; later requests are served if they
 * can be. From the loop, never from inside. */
void blk_abandon(struct blk *blk);

/* From now on a lost server is waited for without end, whatever was said when the stack was opened. What has failed has
 * failed. From the loop, never from inside. */
void blk_make_patient(struct blk *blk);

uint64_t blk_size(const struct blk *blk);
const struct blk_limits *blk_limits(const struct blk *blk);
uint32_t blk_can(const struct blk *blk);   /* enum blk_can */
uint32_t blk_needs(const struct blk *blk); /* enum blk_need, of all layers */
bool blk_read_only(const struct blk *blk);
const char *blk_driver_name(const struct blk *blk);
const struct blk_op_stats *blk_stats(const struct blk *blk, enum blk_op op);
/* The layer below, or NULL: for walking down a chain. */
struct blk *blk_below(const struct blk *blk);
const char *blk_op_name(enum blk_op op);

#endif
