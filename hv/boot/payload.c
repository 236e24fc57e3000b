/* See payload.h. */
#include "hv/boot/payload.h"

#include <errno.h>
#include <lz4.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "hv/boot/view.h"
#include "node/base/err.h"

enum {
    SIZE_BYTES = 4, /* at the end */
    LZ4_MAGIC = 0x184c2102,
    LZ4_BLOCK_BYTES = 8 << 20, /* the legacy format's */
    ZSTD_WINDOW_LOG = 27,
    GZIP_WINDOW_BITS = 15 + 16, /* with a gzip header */
};

static const uint64_t xz_memory_max = 128 << 20;

/* What has come out so far. */
struct outlet {
    struct payload_sink *sink;
    uint64_t bytes;
};

/* Room for the next piece. */
static uint8_t *open_outlet(struct outlet *out, size_t *room)
{
    return out->sink->place(out->sink, out->bytes, room);
}

static int fill(struct outlet *out, size_t bytes, struct err *err)
{
    uint64_t at = out->bytes;
    out->bytes += bytes;
    if (out->bytes > PAYLOAD_MAX_BYTES)
        return err_set(err, EFBIG, "it unpacks to more than %d MiB", PAYLOAD_MAX_BYTES >> 20);
    return bytes ? out->sink->filled(out->sink, at, bytes, err) : 0;
}

static int put(struct outlet *out, const uint8_t *data, size_t bytes, struct err *err)
{
    while (bytes) {
        size_t room;
        uint8_t *to = open_outlet(out, &room);
        size_t n = bytes < room ? bytes : room;
        memcpy(to, data, n);
        int rc = fill(out, n, err);
        if (rc)
            return rc;
        data += n;
        bytes -= n;
    }
    return 0;
}

int payload_copy(const uint8_t *data, size_t bytes, struct payload_sink *sink, struct err *err)
{
    struct outlet out = {.sink = sink};
    return put(&out, data, bytes, err);
}

static int damaged(struct err *err, const char *format, const char *what)
{
    return err_set(err, EINVAL, "its %s data is damaged: %s", format, what);
}

/* ---- the formats: a function each, from all of the input to the outlet ---- */

static int unpack_xz(const uint8_t *data, size_t bytes, struct outlet *out, struct err *err)
{
    lzma_stream s = LZMA_STREAM_INIT;
    lzma_ret ret = lzma_stream_decoder(&s, xz_memory_max, 0);
    int rc = 0;
    s.next_in = data;
    s.avail_in = bytes;
    while (!rc && ret == LZMA_OK) {
        size_t room;
        s.next_out = open_outlet(out, &room);
        s.avail_out = room;
        ret = lzma_code(&s, LZMA_RUN);
        if (ret == LZMA_OK && s.avail_out == room && !s.avail_in)
            ret = LZMA_BUF_ERROR;
        rc = fill(out, room - s.avail_out, err);
    }
    lzma_end(&s);
    if (rc || ret == LZMA_STREAM_END)
        return rc;
    if (ret == LZMA_MEM_ERROR)
        return err_set(err, ENOMEM, "no memory to unpack it");
    if (ret == LZMA_MEMLIMIT_ERROR)
        return err_set(err, EINVAL, "unpacking its XZ data takes more than %u MiB", (unsigned)(xz_memory_max >> 20));
    return damaged(err, "XZ", ret == LZMA_BUF_ERROR ? "it is cut off" : "it does not decode");
}

static int unpack_lz4_block(const uint8_t *data, size_t bytes, uint8_t *block, struct outlet *out, struct err *err)
{
    size_t room;
    uint8_t *to = open_outlet(out, &room);
    bool direct = room >= LZ4_BLOCK_BYTES;
    int n = LZ4_decompress_safe((const char *)data, (char *)(direct ? to : block), (int)bytes, LZ4_BLOCK_BYTES);
    if (n < 0)
        return damaged(err, "LZ4", "a block does not decode");
    return direct ? fill(out, (size_t)n, err) : put(out, block, (size_t)n, err);
}

static int unpack_lz4(const uint8_t *data, size_t bytes, struct outlet *out, struct err *err)
{
    struct view v = {data, bytes};
    uint8_t *block = malloc(LZ4_BLOCK_BYTES);
    int rc = block ? 0 : err_set(err, ENOMEM, "no memory to unpack it");
    uint64_t at = SIZE_BYTES;
    while (!rc && bytes - at > SIZE_BYTES) {
        uint32_t packed = view_u32(&v, at);
        at += SIZE_BYTES;
        if (packed == LZ4_MAGIC) /* frames may follow each other */
            continue;
        if (!view_at(&v, at, packed) || packed > LZ4_COMPRESSBOUND(LZ4_BLOCK_BYTES))
            rc = damaged(err, "LZ4", "a block ends behind it");
        else
            rc = unpack_lz4_block(data + at, packed, block, out, err);
        at += packed;
    }
    free(block);
    return rc;
}

static int unpack_zstd(const uint8_t *data, size_t bytes, struct outlet *out, struct err *err)
{
    ZSTD_DStream *s = ZSTD_createDStream();
    if (!s)
        return err_set(err, ENOMEM, "no memory to unpack it");
    ZSTD_inBuffer in = {data, bytes, 0};
    size_t left = 1;
    int rc = 0;
    ZSTD_DCtx_setParameter(s, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
    while (!rc && left && !ZSTD_isError(left)) {
        size_t room, before = in.pos;
        ZSTD_outBuffer piece = {0};
        piece.dst = open_outlet(out, &room);
        piece.size = room;
        left = ZSTD_decompressStream(s, &piece, &in);
        if (!ZSTD_isError(left) && left && in.pos == before && !piece.pos)
            rc = damaged(err, "zstd", "it is cut off");
        else if (!ZSTD_isError(left))
            rc = fill(out, piece.pos, err);
    }
    if (!rc && ZSTD_isError(left))
        rc = damaged(err, "zstd", ZSTD_getErrorName(left));
    ZSTD_freeDStream(s);
    return rc;
}

static int unpack_gzip(const uint8_t *data, size_t bytes, struct outlet *out, struct err *err)
{
    z_stream s = {.next_in = (z_const Bytef *)(uintptr_t)data, .avail_in = (uInt)bytes};
    if (bytes > UINT32_MAX)
        return err_set(err, EFBIG, "it is larger than 4 GiB");
    if (inflateInit2(&s, GZIP_WINDOW_BITS) != Z_OK)
        return err_set(err, ENOMEM, "no memory to unpack it");
    int ret = Z_OK, rc = 0;
    while (!rc && ret == Z_OK) {
        size_t room;
        s.next_out = open_outlet(out, &room);
        s.avail_out = (uInt)(room < UINT32_MAX ? room : UINT32_MAX);
        uInt given = s.avail_out;
        ret = inflate(&s, Z_NO_FLUSH);
        rc = fill(out, given - s.avail_out, err);
    }
    inflateEnd(&s);
    if (rc || ret == Z_STREAM_END)
        return rc;
    if (ret == Z_MEM_ERROR)
        return err_set(err, ENOMEM, "no memory to unpack it");
    return damaged(err, "gzip", ret == Z_BUF_ERROR ? "it is cut off" : "it does not decode");
}

/* ---- which ---- */

struct format {
    const char *name;
    uint8_t magic[6];
    size_t magic_bytes;
    int (*unpack)(const uint8_t *data, size_t bytes, struct outlet *out, struct err *err);
};

static const struct format formats[] = {
    {"XZ", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, unpack_xz},
    {"LZ4", {0x02, 0x21, 0x4c, 0x18}, 4, unpack_lz4},
    {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, unpack_zstd},
    {"gzip", {0x1f, 0x8b}, 2, unpack_gzip},
};

static const struct format *find(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (bytes > formats[i].magic_bytes && !memcmp(data, formats[i].magic, formats[i].magic_bytes))
            return &formats[i];
    return NULL;
}

const char *payload_format(const uint8_t *data, size_t bytes)
{
    const struct format *f = find(data, bytes);
    return f ? f->name : NULL;
}

int payload_unpack(const uint8_t *data, size_t bytes, struct payload_sink *sink, struct err *err)
{
    struct outlet out = {.sink = sink};
    const struct view v = {data, bytes};
    const struct format *format = find(data, bytes);
    if (!format || bytes < 2 * SIZE_BYTES)
        return err_set(err, EINVAL, "it is compressed with none of XZ, LZ4, zstd and gzip");
    int rc = format->unpack(data, bytes, &out, err);
    if (rc)
        return rc;
    uint32_t size = view_u32(&v, bytes - SIZE_BYTES);
    if (out.bytes != size)
        return err_set(err, EINVAL, "its %s data unpacks to %llu bytes instead of %u", format->name,
                       (unsigned long long)out.bytes, size);
    return 0;
}
