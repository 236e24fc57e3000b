/* The other direction of a cursor: bounded, big-endian writing into a caller's buffer.
 *
 * A write past the end marks the emit bad and changes nothing. Threads: an emit belongs to its caller. */
#ifndef NODE_BASE_EMIT_H
#define NODE_BASE_EMIT_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct emit {
    uint8_t *start, *at, *end;
    bool bad;
};

static inline struct emit emit_to(void *buffer, size_t len_bytes)
{
    uint8_t *p = buffer;
    return (struct emit){.start = p, .at = p, .end = p + len_bytes};
}

static inline size_t emit_len(const struct emit *e)
{
    return (size_t)(e->at - e->start);
}

static inline void emit_bytes(struct emit *e, const void *data, size_t n)
{
    if (e->bad || (size_t)(e->end - e->at) < n) {
        e->bad = true;
        return;
    }
    if (n)
        memcpy(e->at, data, n);
    e->at += n;
}

static inline void emit_u16(struct emit *e, uint16_t v)
{
    v = htobe16(v);
    emit_bytes(e, &v, sizeof v);
}

static inline void emit_u32(struct emit *e, uint32_t v)
{
    v = htobe32(v);
    emit_bytes(e, &v, sizeof v);
}

static inline void emit_u64(struct emit *e, uint64_t v)
{
    v = htobe64(v);
    emit_bytes(e, &v, sizeof v);
}

#endif
