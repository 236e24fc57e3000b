/* See mem.h. One anonymous mapping, and a bitmap with a bit for each chunk that was written. Reads of a hole touch the
 * kernel's zero page only.
 *
 * The mapping never moves (blk_place() hands out addresses in it): it is made with room to grow. */
#include "nbd/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "nbd/blk_driver.h"
#include "node/base/err.h"

enum { CHUNK_SHIFT = 16, CHUNK_BYTES = 1 << CHUNK_SHIFT };

#define SIZE_MAX_BYTES (UINT64_C(1) << 46)
#define GROWTH_BYTES (UINT64_C(1) << 40) /* address space only */

struct mem_config {
    uint64_t size_bytes;
};

struct mem {
    char *data;
    uint64_t capacity_bytes; /* of the mapping; the size may be less */
    uint64_t *written;
};

static uint64_t chunks(uint64_t bytes)
{
    return (bytes + CHUNK_BYTES - 1) >> CHUNK_SHIFT;
}

static bool chunk_written(const struct mem *mem, uint64_t chunk)
{
    return mem->written[chunk / 64] >> (chunk % 64) & 1;
}

static void mark_written(struct mem *mem, uint64_t offset, uint64_t length_bytes)
{
    uint64_t last = (offset + length_bytes - 1) >> CHUNK_SHIFT;
    for (uint64_t c = offset >> CHUNK_SHIFT; c <= last; c++)
        mem->written[c / 64] |= UINT64_C(1) << (c % 64);
}

static void copy(struct mem *mem, const struct blk_req *req)
{
    char *at = mem->data + req->offset;
    if (req->iov->iov_base == at)
        return; /* in its place */
    for (int i = 0; i < req->iov_count; at += req->iov[i++].iov_len) {
        if (req->op == BLK_READ)
            memcpy(req->iov[i].iov_base, at, req->iov[i].iov_len);
        else
            memcpy(at, req->iov[i].iov_base, req->iov[i].iov_len);
    }
}

/* Whole chunks go back to the system, the rest is overwritten where it was ever written. */
static void zero(struct mem *mem, uint64_t offset, uint64_t length_bytes)
{
    uint64_t end = offset + length_bytes;
    uint64_t first = chunks(offset), last = end >> CHUNK_SHIFT;
    if (first >= last) {
        for (uint64_t at = offset, next; at < end; at = next) {
            next = ((at >> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;
            next = next < end ? next : end;
            if (chunk_written(mem, at >> CHUNK_SHIFT))
                memset(mem->data + at, 0, next - at);
        }
        return;
    }
    madvise(mem->data + (first << CHUNK_SHIFT), (last - first) << CHUNK_SHIFT, MADV_DONTNEED);
    for (uint64_t c = first; c < last; c++)
        mem->written[c / 64] &= ~(UINT64_C(1) << (c % 64));
    if (offset < first << CHUNK_SHIFT)
        zero(mem, offset, (first << CHUNK_SHIFT) - offset);
    if (end > last << CHUNK_SHIFT)
        zero(mem, last << CHUNK_SHIFT, end - (last << CHUNK_SHIFT));
}

static void extents(const struct mem *mem, struct blk_req *req)
{
    uint64_t end = req->offset + req->length_bytes;
    uint32_t max = req->flags & BLK_ONE_EXTENT ? 1 : req->extent_max, n = 0;
    for (uint64_t at = req->offset; at < end && n < max; n++) {
        bool data = chunk_written(mem, at >> CHUNK_SHIFT);
        uint64_t start = at;
        do
            at = ((at >> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;
        while (at < end && chunk_written(mem, at >> CHUNK_SHIFT) == data);
        at = at < end ? at : end;
        req->extents[n] = (struct blk_extent){
            .length_bytes = at - start,
            .flags = data ? 0 : BLK_EXTENT_HOLE | BLK_EXTENT_ZERO,
            .depth = data,
        };
    }
    req->extent_count = n;
}

static int map(uint64_t capacity_bytes, struct mem *mem)
{
    struct mem fresh = {.capacity_bytes = capacity_bytes};
    fresh.data = mmap(NULL, capacity_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh.data == MAP_FAILED)
        return -ENOMEM;
    madvise(fresh.data, capacity_bytes, MADV_DONTDUMP);
    fresh.written = calloc(chunks(capacity_bytes) / 64 + 1, sizeof(uint64_t));
    if (!fresh.written) {
        munmap(fresh.data, capacity_bytes);
        return -ENOMEM;
    }
    *mem = fresh;
    return 0;
}

/* Room to grow is less, or none, where address space is short. */
static int allocate(uint64_t size_bytes, struct mem *mem)
{
    uint64_t least = chunks(size_bytes ? size_bytes : 1) << CHUNK_SHIFT;
    for (uint64_t growth = GROWTH_BYTES; growth > CHUNK_BYTES; growth /= 16)
        if (map(least + growth, mem) == 0)
            return 0;
    return map(least, mem);
}

/* What lies past the new end must read as zeroes should the disk grow again. */
static int resize(struct mem *mem, uint64_t old_bytes, uint64_t new_bytes)
{
    if (new_bytes > mem->capacity_bytes)
        return -ENOSPC;
    if (new_bytes < old_bytes)
        zero(mem, new_bytes, old_bytes - new_bytes);
    return 0;
}

static void *mem_place(struct blk *blk, const struct blk_req *req)
{
    struct mem *mem = blk_state(blk);
    if (req->op == BLK_WRITE)
        mark_written(mem, req->offset, req->length_bytes);
    return mem->data + req->offset;
}

static void mem_submit(struct blk *blk, struct blk_req *req)
{
    struct mem *mem = blk_state(blk);
    int rc = 0;
    switch (req->op) {
    case BLK_WRITE:
        mark_written(mem, req->offset, req->length_bytes);
        copy(mem, req);
        break;
    case BLK_READ:
        copy(mem, req);
        break;
    case BLK_ZERO:
        if (req->flags & BLK_NO_HOLE)
            mark_written(mem, req->offset, req->length_bytes);
        if (req->flags & BLK_NO_HOLE)
            memset(mem->data + req->offset, 0, req->length_bytes);
        else
            zero(mem, req->offset, req->length_bytes);
        break;
    case BLK_TRIM:
        zero(mem, req->offset, req->length_bytes);
        break;
    case BLK_EXTENTS:
        extents(mem, req);
        break;
    case BLK_RESIZE:
        rc = resize(mem, blk_size(blk), req->offset);
        break;
    case BLK_FLUSH:
    case BLK_CACHE:
    case BLK_OP_COUNT:
        break;
    }
    blk_complete(req, rc);
}

static int mem_open(struct blk *blk, const void *config, struct err *err)
{
    const struct mem_config *c = config;
    if (allocate(c->size_bytes, blk_state(blk)))
        return err_set(err, ENOMEM, "no address space for %llu bytes", (unsigned long long)c->size_bytes);
    blk_set_size(blk, c->size_bytes);
    blk_set_can(blk, BLK_CAN_TRIM | BLK_CAN_ZERO | BLK_CAN_FAST_ZERO | BLK_CAN_RESIZE | BLK_CAN_CACHE |
                         BLK_CAN_MULTI_CONN | BLK_CAN_EXTENTS);
    return 0;
}

static void mem_close(struct blk *blk)
{
    struct mem *mem = blk_state(blk);
    munmap(mem->data, mem->capacity_bytes);
    free(mem->written);
}

static const struct blk_option mem_options[] = {
    {.name = "size",
     .type = BLK_OPTION_SIZE,
     .field = offsetof(struct mem_config, size_bytes),
     .required = true,
     .max = SIZE_MAX_BYTES,
     .help = "bytes, as in 1G"},
    {.name = NULL},
};

const struct blk_driver mem_driver = {
    .name = "mem",
    .short_option = "size",
    .options = mem_options,
    .config_bytes = sizeof(struct mem_config),
    .state_bytes = sizeof(struct mem),
    .open = mem_open,
    .close = mem_close,
    .submit = mem_submit,
    .place = mem_place,
};
