/* Little-endian numbers in a file's bytes: what lies behind the end reads as zero, so nothing is ever read there.
 * Threads: any. */
#ifndef HV_BOOT_VIEW_H
#define HV_BOOT_VIEW_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct view {
    const uint8_t *data;
    size_t bytes;
};

/* The n bytes at `at`, or NULL. */
static inline const uint8_t *view_at(const struct view *v, uint64_t at, uint64_t n)
{
    return at <= v->bytes && n <= v->bytes - at ? v->data + at : NULL;
}

static inline uint16_t view_u16(const struct view *v, uint64_t at)
{
    uint16_t n = 0;
    const uint8_t *p = view_at(v, at, sizeof n);
    if (p)
        memcpy(&n, p, sizeof n);
    return le16toh(n);
}

static inline uint32_t view_u32(const struct view *v, uint64_t at)
{
    uint32_t n = 0;
    const uint8_t *p = view_at(v, at, sizeof n);
    if (p)
        memcpy(&n, p, sizeof n);
    return le32toh(n);
}

static inline uint64_t view_u64(const struct view *v, uint64_t at)
{
    uint64_t n = 0;
    const uint8_t *p = view_at(v, at, sizeof n);
    if (p)
        memcpy(&n, p, sizeof n);
    return le64toh(n);
}

#endif
