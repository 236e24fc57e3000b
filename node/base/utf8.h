/* Is it UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF)? Threads: any. */
#ifndef NODE_BASE_UTF8_H
#define NODE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool utf8_valid(const char *text, size_t len_bytes)
{
    const uint8_t *p = (const uint8_t *)text, *end = p + len_bytes;
    while (p < end) {
        uint8_t lead = *p++;
        if (lead < 0x80)
            continue;
        unsigned more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (lead < 0xc2 || lead > 0xf4 || (size_t)(end - p) < more)
            return false;
        if ((lead == 0xe0 && p[0] < 0xa0) || (lead == 0xed && p[0] > 0x9f) || (lead == 0xf0 && p[0] < 0x90) ||
            (lead == 0xf4 && p[0] > 0x8f))
            return false;
        for (; more; more--)
            if ((*p++ & 0xc0) != 0x80)
                return false;
    }
    return true;
}

/* The length of what is left without a last character that was cut. */
static inline size_t utf8_whole(const char *text, size_t len_bytes)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t at = len_bytes;
    while (at && len_bytes - at < 3 && (p[at - 1] & 0xc0) == 0x80)
        at--;
    uint8_t lead = at ? p[at - 1] : 0;
    size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0;
    return len_bytes - at < more ? at - 1 : len_bytes;
}

#endif
