#include "node/base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum { CHUNK_MIN = 4096 - 64, ALIGN = alignof(max_align_t) };

struct chunk {
    SLIST_ENTRY(chunk) link;
    size_t size, used;
    alignas(max_align_t) unsigned char bytes[];
};

struct arena {
    SLIST_HEAD(, chunk) chunks; /* the first one is being filled */
    size_t left;
};

struct arena *arena_new(size_t max_bytes)
{
    struct arena *a = calloc(1, sizeof *a);
    if (a)
        a->left = max_bytes;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    struct chunk *c;
    while ((c = SLIST_FIRST(&a->chunks))) {
        SLIST_REMOVE_HEAD(&a->chunks, link);
        free(c);
    }
    free(a);
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (bytes > a->left)
        return NULL;
    size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    struct chunk *c = SLIST_FIRST(&a->chunks);
    if (!c || c->size - c->used < room) {
        size_t size = c ? c->size * 2 : CHUNK_MIN;
        if (size > (size_t)1 << 20)
            size = (size_t)1 << 20;
        if (size < room)
            size = room;
        c = calloc(1, sizeof *c + size);
        if (!c)
            return NULL;
        c->size = size;
        SLIST_INSERT_HEAD(&a->chunks, c, link);
    }
    void *p = c->bytes + c->used;
    c->used += room;
    a->left -= bytes;
    return p;
}

char *arena_copy(struct arena *a, const void *bytes, size_t len)
{
    char *copy = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;
    if (copy && len)
        memcpy(copy, bytes, len);
    return copy;
}

char *arena_string(struct arena *a, const char *text)
{
    return arena_copy(a, text, strlen(text));
}
