/* See nbd_unflushed.h. An entry is a struct nbd_change and, for a WRITE, its data, rounded up to 8
 * bytes; either may wrap around the end of the ring.
 *
 * Invariants: entries lie in [head, tail), in the order of acknowledgement, with rising serials;
 * while dropping, there are none. dropped_to <= serial. */
#include "nbd/nbd_unflushed.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGN_BYTES = 8, PAGE_BYTES = 4096, KEEP_BYTES = 1 << 20, PIECE_BYTES = 1 << 30, LOOKS = 64 };

struct nbd_durable {
    uint64_t offset, end, serial;
};

void nbd_unflushed_init(struct nbd_unflushed *log, uint64_t capacity_bytes)
{
    *log = (struct nbd_unflushed){.capacity_bytes = capacity_bytes / PAGE_BYTES * PAGE_BYTES};
}

void nbd_unflushed_fini(struct nbd_unflushed *log)
{
    if (log->ring)
        munmap(log->ring, log->capacity_bytes);
    log->ring = NULL;
    nbd_unflushed_survey_end(log);
}

/* ---- the ring ---- */

static void put(struct nbd_unflushed *log, const void *data, size_t len)
{
    const uint8_t *from = data;
    while (len) {
        uint64_t at = log->tail % log->capacity_bytes, room = log->capacity_bytes - at;
        size_t n = len < room ? len : (size_t)room;
        memcpy(log->ring + at, from, n);
        from += n;
        len -= n;
        log->tail += n;
    }
}

/* The bytes [from, from + len) of the ring, in one or two pieces. */
static int pieces(const struct nbd_unflushed *log, uint64_t from, uint64_t len, struct iovec piece[2])
{
    uint64_t at = from % log->capacity_bytes, room = log->capacity_bytes - at;
    uint64_t first = len < room ? len : room;
    piece[0] = (struct iovec){log->ring + at, first};
    piece[1] = (struct iovec){log->ring, len - first};
    return piece[1].iov_len ? 2 : 1;
}

static uint64_t entry_bytes(const struct nbd_change *change)
{
    uint64_t data = change->type == NBD_CMD_WRITE ? change->length_bytes : 0;
    return (sizeof *change + data + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

static void empty(struct nbd_unflushed *log)
{
    uint64_t touched = log->tail < log->capacity_bytes ? log->tail : log->capacity_bytes;
    if (log->ring && touched > KEEP_BYTES)
        madvise(log->ring + KEEP_BYTES, log->capacity_bytes - KEEP_BYTES, MADV_DONTNEED);
    log->head = log->tail = 0;
}

static bool take_ring(struct nbd_unflushed *log)
{
    if (!log->ring) {
        void *p =
            mmap(NULL, log->capacity_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            return false;
        madvise(p, log->capacity_bytes, MADV_DONTDUMP); /* a guest's data stays out of core files */
        log->ring = p;
    }
    return true;
}

/* ---- changes ---- */

static void append(struct nbd_unflushed *log, const struct nbd_change *change, const struct iovec *iov, int count)
{
    static const uint8_t padding[ALIGN_BYTES];
    uint64_t need = entry_bytes(change), used = log->tail - log->head;
    if (log->dropping || need > log->capacity_bytes - used || !take_ring(log)) {
        log->dropping = true;
        log->dropped_to = log->serial;
        empty(log);
        return;
    }
    uint64_t end = log->tail + need;
    put(log, change, sizeof *change);
    if (change->type == NBD_CMD_WRITE)
        for (int i = 0; i < count; i++)
            put(log, iov[i].iov_base, iov[i].iov_len);
    put(log, padding, (size_t)(end - log->tail));
}

void nbd_unflushed_add(struct nbd_unflushed *log, const struct nbd_change *change, bool durable,
                       const struct iovec *iov, int iov_count)
{
    if (durable && nbd_unflushed_empty(log))
        return; /* nothing older could undo it */
    struct nbd_change one;
    memset(&one, 0, sizeof one);
    one.type = change->type;
    one.flags = change->flags;
    one.durable = durable;
    one.offset = change->offset;
    /* without data, in pieces that any server can be asked for again */
    uint64_t left = change->length_bytes, max = change->type == NBD_CMD_WRITE ? left : PIECE_BYTES;
    for (; left; left -= one.length_bytes, one.offset += one.length_bytes) {
        one.serial = ++log->serial;
        one.length_bytes = left < max ? left : max;
        append(log, &one, iov, iov_count);
    }
}

uint64_t nbd_unflushed_mark(struct nbd_unflushed *log)
{
    log->dropping = false;
    return log->serial;
}

static bool read_change(const struct nbd_unflushed *log, uint64_t place, struct nbd_change *change)
{
    if (place == log->tail)
        return false;
    struct iovec piece[2];
    pieces(log, place, sizeof *change, piece);
    memcpy(change, piece[0].iov_base, piece[0].iov_len);
    memcpy((uint8_t *)change + piece[0].iov_len, piece[1].iov_base, piece[1].iov_len);
    return true;
}

void nbd_unflushed_settle(struct nbd_unflushed *log, uint64_t mark)
{
    struct nbd_change change;
    while (read_change(log, log->head, &change) && change.serial <= mark)
        log->head += entry_bytes(&change);
    if (nbd_unflushed_empty(log))
        empty(log);
    if (log->dropped_to <= mark)
        log->dropped_to = 0;
}

bool nbd_unflushed_loss(struct nbd_unflushed *log)
{
    bool lossy = log->dropped_to;
    log->dropped_to = 0;
    log->dropping = false;
    return lossy;
}

bool nbd_unflushed_next(const struct nbd_unflushed *log, uint64_t *place, struct nbd_change *change,
                        struct iovec data[2], int *count)
{
    if (!read_change(log, *place, change))
        return false;
    *count = change->type == NBD_CMD_WRITE ? pieces(log, *place + sizeof *change, change->length_bytes, data) : 0;
    *place += entry_bytes(change);
    return true;
}

/* ---- what younger ones cover ---- */

static int by_place(const void *a, const void *b)
{
    const struct nbd_durable *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->end != y->end)
        return x->end < y->end ? -1 : 1;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

static bool same_place(const struct nbd_durable *a, const struct nbd_durable *b)
{
    return a->offset == b->offset && a->end == b->end;
}

void nbd_unflushed_survey(struct nbd_unflushed *log)
{
    struct nbd_change change;
    struct iovec data[2];
    int count;
    size_t all = 0, kept = 0;
    nbd_unflushed_survey_end(log);
    for (uint64_t place = log->head; nbd_unflushed_next(log, &place, &change, data, &count);)
        all += change.durable;
    struct nbd_durable *list = all ? malloc(all * sizeof *list) : NULL;
    if (!list)
        return;
    all = 0;
    for (uint64_t place = log->head; nbd_unflushed_next(log, &place, &change, data, &count);) {
        if (!change.durable)
            continue;
        list[all++] = (struct nbd_durable){change.offset, change.offset + change.length_bytes, change.serial};
        log->durable_longest = change.length_bytes > log->durable_longest ? change.length_bytes : log->durable_longest;
    }
    qsort(list, all, sizeof *list, by_place);
    for (size_t i = 0; i < all; i++)
        if (i + 1 == all || !same_place(&list[i], &list[i + 1]))
            list[kept++] = list[i];
    log->durable = list;
    log->durable_count = kept;
}

bool nbd_unflushed_covered(const struct nbd_unflushed *log, const struct nbd_change *change)
{
    uint64_t end = change->offset + change->length_bytes;
    size_t from = 0, to = log->durable_count; /* to: the first one that begins behind the change's beginning */
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (log->durable[middle].offset <= change->offset)
            from = middle + 1;
        else
            to = middle;
    }
    size_t last = to > LOOKS ? to - LOOKS : 0; /* not covered is always safe */
    for (const struct nbd_durable *d; to > last && (d = &log->durable[to - 1])->offset + log->durable_longest >= end;
         to--)
        if (d->end >= end && d->serial > change->serial)
            return true;
    return false;
}

void nbd_unflushed_survey_end(struct nbd_unflushed *log)
{
    free(log->durable);
    log->durable = NULL;
    log->durable_count = 0;
    log->durable_longest = 0;
}
