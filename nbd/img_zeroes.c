#include "nbd/img_zeroes.h"

#include "nbd/zeroes.h"

size_t img_zeroes_run(const void *data, size_t len_bytes, uint64_t position, size_t grain_bytes, bool *zero)
{
    const char *p = data;
    size_t at = 0;
    while (at < len_bytes) {
        size_t n = grain_bytes - (size_t)((position + at) & (grain_bytes - 1));
        n = n < len_bytes - at ? n : len_bytes - at;
        bool is_zero = zeroes(p + at, n);
        if (at == 0)
            *zero = is_zero;
        else if (is_zero != *zero)
            break;
        at += n;
    }
    return at;
}
