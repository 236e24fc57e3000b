/* Is this memory all zeroes? Threads: any. */
#ifndef NBD_ZEROES_H
#define NBD_ZEROES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Looks at a few bytes first: data is told from zeroes at once, and only zeroes are read through. */
static inline bool zeroes(const void *data, size_t len_bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < 16; i++)
        if (i == len_bytes)
            return true;
        else if (p[i])
            return false;
    return memcmp(p, p + 16, len_bytes - 16) == 0;
}

#endif
