/* Bounded access to foreign bytes (network, image, guest memory).
 *
 * A cursor never leaves [at, end): a read past the end returns zeroes, marks the cursor bad and stays there, so
 * that a parser reads all its fields and asks once, at the end, whether they were there. Numbers are big-endian,
 * as on the NBD wire. Threads: a cursor belongs to its caller. */
#ifndef NODE_BASE_CURSOR_H
#define NODE_BASE_CURSOR_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct cursor {
    const uint8_t *at, *end;
    bool bad;
};

static inline struct cursor cursor_of(const void *data, size_t len_bytes)
{
    const uint8_t *p = data;
    return (struct cursor){.at = p, .end = p + len_bytes};
}

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* The next n bytes, or NULL (and bad) if there are fewer. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t n)
{
    if (c->bad || cursor_left(c) < n) {
        c->bad = true;
        c->at = c->end;
        return NULL;
    }
    const uint8_t *p = c->at;
    c->at += n;
    return p;
}

static inline uint16_t cursor_u16(struct cursor *c)
{
    uint16_t v = 0;
    const uint8_t *p = cursor_take(c, sizeof v);
    if (p)
        memcpy(&v, p, sizeof v);
    return be16toh(v);
}

static inline uint32_t cursor_u32(struct cursor *c)
{
    uint32_t v = 0;
    const uint8_t *p = cursor_take(c, sizeof v);
    if (p)
        memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static inline uint64_t cursor_u64(struct cursor *c)
{
    uint64_t v = 0;
    const uint8_t *p = cursor_take(c, sizeof v);
    if (p)
        memcpy(&v, p, sizeof v);
    return be64toh(v);
}

/* True when every read so far was inside and nothing is left over. */
static inline bool cursor_done(const struct cursor *c)
{
    return !c->bad && c->at == c->end;
}

#endif
