#include "nbd/raw_blocking.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd/blk.h"

enum { ZERO_CHUNK_BYTES = 1 << 16, BOUNCE_ALIGN_BYTES = 4096, VECTOR_CHUNK = 64 };

int raw_transfer(int fd, bool write, const struct iovec *iov, int count, uint64_t offset, uint64_t done_bytes)
{
    uint64_t at = done_bytes;
    int i = 0;
    while (i < count && at >= iov[i].iov_len)
        at -= iov[i++].iov_len;
    offset += done_bytes;
    while (i < count) {
        struct iovec part[VECTOR_CHUNK];
        int n = 0;
        for (; n < VECTOR_CHUNK && i + n < count; n++)
            part[n] = iov[i + n];
        part[0].iov_base = (char *)part[0].iov_base + at;
        part[0].iov_len -= at;
        ssize_t got = write ? pwritev(fd, part, n, (off_t)offset) : preadv(fd, part, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return write ? -ENOSPC : -EIO;
        offset += (uint64_t)got;
        at += (uint64_t)got;
        while (i < count && at >= iov[i].iov_len)
            at -= iov[i++].iov_len;
    }
    return 0;
}

static void copy_vector(char *flat, const struct iovec *iov, int count, bool gather)
{
    for (int i = 0; i < count; flat += iov[i++].iov_len) {
        if (gather)
            memcpy(flat, iov[i].iov_base, iov[i].iov_len);
        else
            memcpy(iov[i].iov_base, flat, iov[i].iov_len);
    }
}

int raw_transfer_bounced(int fd, bool write, const struct iovec *iov, int count, uint64_t offset, uint64_t length_bytes)
{
    struct iovec flat = {.iov_len = length_bytes};
    if (posix_memalign(&flat.iov_base, BOUNCE_ALIGN_BYTES, length_bytes))
        return -ENOMEM;
    if (write)
        copy_vector(flat.iov_base, iov, count, true);
    int rc = raw_transfer(fd, write, &flat, 1, offset, 0);
    if (!rc && !write)
        copy_vector(flat.iov_base, iov, count, false);
    free(flat.iov_base);
    return rc;
}

int raw_write_zeroes(int fd, uint64_t offset, uint64_t length_bytes)
{
    static _Alignas(BOUNCE_ALIGN_BYTES) const char zeroes[ZERO_CHUNK_BYTES];
    while (length_bytes) {
        size_t n = length_bytes < sizeof zeroes ? length_bytes : sizeof zeroes;
        ssize_t got = pwrite(fd, zeroes, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ENOSPC;
        offset += (uint64_t)got;
        length_bytes -= (uint64_t)got;
    }
    return 0;
}

/* The extent that starts at offset: its end (at most limit), and whether it is data. */
static int next_extent(int fd, uint64_t offset, uint64_t limit, uint64_t *end, bool *data)
{
    off_t found = lseek(fd, (off_t)offset, SEEK_DATA);
    if (found < 0 && errno != ENXIO)
        return -errno;
    *data = found >= 0 && (uint64_t)found == offset;
    if (*data)
        found = lseek(fd, (off_t)offset, SEEK_HOLE);
    if (found < 0 || (uint64_t)found > limit)
        *end = limit;
    else
        *end = (uint64_t)found;
    return *end > offset ? 0 : -EIO;
}

int raw_extents(int fd, uint64_t offset, uint64_t length_bytes, struct blk_extent *extents, uint32_t max,
                uint32_t *count)
{
    uint64_t limit = offset + length_bytes;
    uint32_t n = 0;
    while (n < max && offset < limit) {
        uint64_t end = limit;
        bool data = false;
        int rc = next_extent(fd, offset, limit, &end, &data);
        if (rc)
            return rc;
        extents[n++] = (struct blk_extent){
            .length_bytes = end - offset,
            .flags = data ? 0 : BLK_EXTENT_HOLE | BLK_EXTENT_ZERO,
            .depth = data ? 1 : 0,
        };
        offset = end;
    }
    *count = n;
    return 0;
}
