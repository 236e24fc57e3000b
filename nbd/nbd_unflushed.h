/* The log of changes that the server has acknowledged and that no flush has made durable yet: what
 * has to be done again should the server die and come back without them.
 *
 * A ring of bounded size, in memory that is taken with the first change and given back (but for a
 * little) when a flush empties it. When it overflows it is dropped as a whole: a loss of the server
 * is then a loss of data, and is said so. Logging starts anew with the next flush that is sent,
 * because that one covers what was dropped. Threads: belongs to its owner. */
#ifndef NBD_NBD_UNFLUSHED_H
#define NBD_NBD_UNFLUSHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "nbd/nbd_proto.h"

struct nbd_unflushed {
    uint64_t capacity_bytes;
    uint8_t *ring;       /* NULL: not taken */
    uint64_t head, tail; /* only grow, but for the return to 0 when empty; place = value modulo capacity */
    uint64_t serial;     /* of the youngest change */
    uint64_t dropped_to; /* changes up to this one are neither durable nor logged; 0: none */
    bool dropping;
    struct nbd_durable *durable; /* nbd_unflushed_survey(): by place; of those with one place the youngest */
    size_t durable_count;
    uint64_t durable_longest; /* bytes */
};

struct nbd_change {
    uint64_t serial, offset, length_bytes;
    enum nbd_cmd type; /* WRITE, WRITE_ZEROES, TRIM */
    uint16_t flags;
    bool durable;
};

/* capacity_bytes 0: nothing is ever logged. */
void nbd_unflushed_init(struct nbd_unflushed *log, uint64_t capacity_bytes);
void nbd_unflushed_fini(struct nbd_unflushed *log);

/* The change was acknowledged. durable: it needs no flush, but must not be undone by an older one
 * that is replayed. */
void nbd_unflushed_add(struct nbd_unflushed *log, const struct nbd_change *change, bool durable,
                       const struct iovec *iov, int iov_count);
/* A flush is about to be sent; what it returns goes to nbd_unflushed_settle() once the flush has
 * succeeded. */
uint64_t nbd_unflushed_mark(struct nbd_unflushed *log);
void nbd_unflushed_settle(struct nbd_unflushed *log, uint64_t mark);
/* The server was lost. True: changes that it had acknowledged may be lost with it; asking again
 * says false. */
bool nbd_unflushed_loss(struct nbd_unflushed *log);

static inline bool nbd_unflushed_empty(const struct nbd_unflushed *log)
{
    return log->head == log->tail;
}

/* Walks the changes from the oldest: *place begins as log->head. The data of a WRITE is in count
 * pieces, valid until the log changes. False: there are no more. */
bool nbd_unflushed_next(const struct nbd_unflushed *log, uint64_t *place, struct nbd_change *change,
                        struct iovec data[2], int *count);

/* Covered is a change if a younger durable one has all of its range: to do it again would undo that
 * one for a while. Known between a survey and its end, as long as the log does not change; if there
 * is no memory for the survey nothing is covered. */
void nbd_unflushed_survey(struct nbd_unflushed *log);
bool nbd_unflushed_covered(const struct nbd_unflushed *log, const struct nbd_change *change);
void nbd_unflushed_survey_end(struct nbd_unflushed *log);

#endif
