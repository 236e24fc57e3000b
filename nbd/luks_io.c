/* See luks_io.h. */
#include "nbd/luks_io.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <string.h>

#include "nbd/blk_driver.h"
#include "node/base/buffer_pool.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { PART_BYTES = 1 << 20 };

static int check(const struct luks_io *io, uint64_t offset, size_t len_bytes)
{
    return offset <= io->size_bytes && len_bytes <= io->size_bytes - offset ? 0 : -EINVAL;
}

static int say(int rc, const char *verb, const char *what, uint64_t offset, struct err *err)
{
    return rc ? err_set(err, -rc, "%s %s at offset %" PRIu64 ": %s", verb, what, offset,
                        rc == -EINVAL ? "it is past the end of the device" : strerror(-rc))
              : 0;
}

int luks_io_read(struct luks_io *io, const char *what, uint64_t offset, void *data, size_t len_bytes, struct err *err)
{
    int rc = check(io, offset, len_bytes);
    return say(rc ? rc : io->read(io, offset, data, len_bytes), "reading", what, offset, err);
}

int luks_io_write(struct luks_io *io, const char *what, uint64_t offset, const void *data, size_t len_bytes,
                  struct err *err)
{
    int rc = check(io, offset, len_bytes);
    return say(rc ? rc : io->write(io, offset, data, len_bytes), "writing", what, offset, err);
}

int luks_io_flush(struct luks_io *io, const char *what, struct err *err)
{
    int rc = io->flush(io);
    return rc ? err_set(err, -rc, "making %s durable: %s", what, strerror(-rc)) : 0;
}

/* ---- a layer ---- */

/* One part, of at most PART_BYTES, through an aligned buffer. */
static int transfer_part(struct luks_io_blk *io, bool write, uint64_t offset, uint8_t *data, size_t len_bytes)
{
    const struct blk_env *env = blk_environment(io->blk);
    uint64_t mask = blk_limits(io->blk)->align_bytes - 1;
    uint64_t from = offset & ~mask, to = (offset + len_bytes + mask) & ~mask;
    size_t room = (size_t)(to - from);
    uint8_t *buffer = buffer_get(env->buffers, room);
    int rc = buffer ? 0 : -ENOMEM;
    bool whole = from == offset && to == offset + len_bytes;
    if (!rc && (!write || !whole))
        rc = blk_now(io->blk, BLK_READ, 0, from, buffer, room);
    if (!rc && write) {
        memcpy(buffer + (offset - from), data, len_bytes);
        rc = blk_now(io->blk, BLK_WRITE, 0, from, buffer, room);
    } else if (!rc) {
        memcpy(data, buffer + (offset - from), len_bytes);
    }
    if (buffer)
        OPENSSL_cleanse(buffer, room);
    buffer_put(env->buffers, buffer, room);
    return rc;
}

static int transfer(struct luks_io *io, bool write, uint64_t offset, uint8_t *data, size_t len_bytes)
{
    int rc = 0;
    while (len_bytes && !rc) {
        size_t n = len_bytes < PART_BYTES ? len_bytes : PART_BYTES;
        rc = transfer_part(CONTAINER_OF(io, struct luks_io_blk, io), write, offset, data, n);
        offset += n;
        data += n;
        len_bytes -= n;
    }
    return rc;
}

static int read_blk(struct luks_io *io, uint64_t offset, void *data, size_t len_bytes)
{
    return transfer(io, false, offset, data, len_bytes);
}

static int write_blk(struct luks_io *io, uint64_t offset, const void *data, size_t len_bytes)
{
    return transfer(io, true, offset, (uint8_t *)(uintptr_t)data, len_bytes); /* only read from */
}

static int flush_blk(struct luks_io *io)
{
    return blk_now(CONTAINER_OF(io, struct luks_io_blk, io)->blk, BLK_FLUSH, 0, 0, NULL, 0);
}

void luks_io_blk(struct blk *blk, struct luks_io_blk *io)
{
    *io = (struct luks_io_blk){
        .io = {.size_bytes = blk_size(blk), .read = read_blk, .write = write_blk, .flush = flush_blk}, .blk = blk};
}
