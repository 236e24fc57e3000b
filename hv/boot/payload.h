/* The compressed kernel inside a bzImage: XZ, LZ4 (legacy frames), zstd or gzip, with the size of what comes out as its
 * last four bytes.
 *
 * Output goes where a sink says, a piece at a time, so a kernel is decompressed into guest memory without a copy of it
 * in between. Threads: any. */
#ifndef HV_BOOT_PAYLOAD_H
#define HV_BOOT_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

struct err;

enum { PAYLOAD_MAX_BYTES = 512 << 20 }; /* of output */

struct payload_sink {
    /* Where output goes that starts at `offset` of the whole, and for how many bytes (*room >= 1). Offsets come in
     * order, without gaps. */
    uint8_t *(*place)(struct payload_sink *sink, uint64_t offset, size_t *room);
    /* `bytes` of it are there now. An error ends it all. */
    int (*filled)(struct payload_sink *sink, uint64_t offset, size_t bytes, struct err *err);
};

/* "XZ", "LZ4", "zstd", "gzip"; NULL if it is none of these. */
const char *payload_format(const uint8_t *data, size_t bytes);
/* All of it. -EINVAL for a format that is not known or bytes that are damaged, -EFBIG, -ENOMEM, or what the sink
 * said. */
int payload_unpack(const uint8_t *data, size_t bytes, struct payload_sink *sink, struct err *err);
/* The same for bytes that are not compressed. */
int payload_copy(const uint8_t *data, size_t bytes, struct payload_sink *sink, struct err *err);

#endif
