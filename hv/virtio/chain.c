/* See chain.h. */
#include "hv/virtio/chain.h"

#include <string.h>

/* The piece in which byte `*at` lies; *at becomes the place within it. NULL: past the end. */
static const struct iovec *seek(const struct iovec *iov, const struct iovec *end, uint64_t *at)
{
    for (; iov < end && *at >= iov->iov_len; iov++)
        *at -= iov->iov_len;
    return iov < end ? iov : NULL;
}

size_t chain_read(const struct chain *c, uint64_t at, void *to, size_t n)
{
    const struct iovec *end = c->iov + c->readable, *iov = seek(c->iov, end, &at);
    size_t done = 0;
    for (; iov && iov < end && done < n; iov++, at = 0) {
        size_t step = iov->iov_len - at < n - done ? iov->iov_len - at : n - done;
        memcpy((uint8_t *)to + done, (const uint8_t *)iov->iov_base + at, step);
        done += step;
    }
    return done;
}

size_t chain_write(const struct chain *c, uint64_t at, const void *from, size_t n)
{
    const struct iovec *start = c->iov + c->readable, *end = start + c->writable, *iov = seek(start, end, &at);
    size_t done = 0;
    for (; iov && iov < end && done < n; iov++, at = 0) {
        size_t step = iov->iov_len - at < n - done ? iov->iov_len - at : n - done;
        memcpy((uint8_t *)iov->iov_base + at, (const uint8_t *)from + done, step);
        done += step;
    }
    return done;
}

static int slice(const struct iovec *iov, const struct iovec *end, uint64_t at, uint64_t n, struct iovec *to, int max)
{
    int count = 0;
    iov = seek(iov, end, &at);
    for (; n && iov && iov < end; iov++, at = 0) {
        if (count == max)
            return -1;
        uint64_t step = iov->iov_len - at < n ? iov->iov_len - at : n;
        to[count++] = (struct iovec){(uint8_t *)iov->iov_base + at, step};
        n -= step;
    }
    return n ? -1 : count;
}

int chain_slice_readable(const struct chain *c, uint64_t at, uint64_t n, struct iovec *to, int max)
{
    return slice(c->iov, c->iov + c->readable, at, n, to, max);
}

int chain_slice_writable(const struct chain *c, uint64_t at, uint64_t n, struct iovec *to, int max)
{
    const struct iovec *start = c->iov + c->readable;
    return slice(start, start + c->writable, at, n, to, max);
}
