#include "node/base/buffer_pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { CLASS_MIN_SHIFT = 12, CLASS_MAX_SHIFT = 31, CLASS_COUNT = CLASS_MAX_SHIFT - CLASS_MIN_SHIFT + 1 };

struct free_buffer {
    struct free_buffer *next;
};

struct buffer_pool {
    struct free_buffer *free[CLASS_COUNT];
    size_t kept_bytes, keep_bytes;
};

static unsigned class_of(size_t len_bytes)
{
    if (len_bytes <= (size_t)1 << CLASS_MIN_SHIFT)
        return 0;
    return (unsigned)(64 - __builtin_clzll(len_bytes - 1)) - CLASS_MIN_SHIFT;
}

size_t buffer_class_bytes(size_t len_bytes)
{
    return (size_t)1 << (class_of(len_bytes) + CLASS_MIN_SHIFT);
}

struct buffer_pool *buffer_pool_new(size_t keep_bytes)
{
    struct buffer_pool *pool = calloc(1, sizeof *pool);
    if (pool)
        pool->keep_bytes = keep_bytes;
    return pool;
}

void buffer_pool_free(struct buffer_pool *pool)
{
    if (!pool)
        return;
    for (unsigned c = 0; c < CLASS_COUNT; c++) {
        struct free_buffer *b;
        while ((b = pool->free[c])) {
            pool->free[c] = b->next;
            munmap(b, (size_t)1 << (c + CLASS_MIN_SHIFT));
        }
    }
    free(pool);
}

void *buffer_get(struct buffer_pool *pool, size_t len_bytes)
{
    unsigned c = class_of(len_bytes);
    if (c >= CLASS_COUNT)
        return NULL;
    size_t bytes = (size_t)1 << (c + CLASS_MIN_SHIFT);
    struct free_buffer *b = pool->free[c];
    if (b) {
        pool->free[c] = b->next;
        pool->kept_bytes -= bytes;
        return b;
    }
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, bytes, MADV_DONTDUMP); /* clients' data stays out of core files */
    return p;
}

void buffer_put(struct buffer_pool *pool, void *buffer, size_t len_bytes)
{
    if (!buffer)
        return;
    unsigned c = class_of(len_bytes);
    size_t bytes = (size_t)1 << (c + CLASS_MIN_SHIFT);
    if (pool->kept_bytes + bytes > pool->keep_bytes) {
        munmap(buffer, bytes);
        return;
    }
    struct free_buffer *b = buffer;
    b->next = pool->free[c];
    pool->free[c] = b;
    pool->kept_bytes += bytes;
}
