/* Bytes that grow at the end: an answer that comes in pieces, a text that is put together. A 0 byte is always behind
 * them, once there was room for any. All of it 0 is an empty one. Threads: a buffer belongs to its owner. */
#ifndef NODE_BASE_BUFFER_H
#define NODE_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct buffer {
    char *data;
    size_t len, size; /* bytes there are, and room there is, the 0 included */
};

static inline void buffer_free(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}

/* Room for n bytes at the end, which whoever fills it counts into len. NULL, and nothing changed: no memory, or more
 * than `limit` bytes in all. */
static inline char *buffer_room(struct buffer *b, size_t n, size_t limit)
{
    enum { FIRST = 1024 };
    if (n > limit || b->len > limit - n)
        return NULL;
    if (b->size < b->len + n + 1) {
        size_t size = b->size ? b->size * 2 : FIRST;
        while (size < b->len + n + 1)
            size *= 2;
        char *data = realloc(b->data, size);
        if (!data)
            return NULL;
        b->data = data;
        b->size = size;
    }
    return b->data + b->len;
}

/* Copies n bytes to the end. false: as above. */
static inline bool buffer_add(struct buffer *b, const void *bytes, size_t n, size_t limit)
{
    char *to = buffer_room(b, n, limit);
    if (!to)
        return false;
    if (n)
        memcpy(to, bytes, n);
    to[n] = 0;
    b->len += n;
    return true;
}

#endif
