/* ISA-L's CRC is the raw shift register: started with ones here. What zeroes of the same length give is taken off
 * again; for blocks it is a constant, which test_checksum.c derives anew. */
#include "replication/checksum.h"

#include <isa-l/crc.h>

#include "replication/geometry.h"

enum { SKIP_BYTES = 512 };

static uint32_t crc(const void *data, size_t len_bytes, uint32_t start)
{
    union {
        const void *in;
        unsigned char *out;
    } bytes = {data}; /* ISA-L reads only, but does not say so */
    return crc32_iscsi(bytes.out, (int)len_bytes, start);
}

#define ZERO_BLOCK_CRC UINT32_C(0x98f94189)

uint32_t checksum_block(const void *block)
{
    return ~crc(block, BLOCK_BYTES, UINT32_MAX) ^ ZERO_BLOCK_CRC;
}

uint32_t checksum_bytes(const void *data, size_t len_bytes)
{
    static const unsigned char zeroes[SKIP_BYTES];
    uint32_t zero = UINT32_MAX;
    for (size_t at = 0; at < len_bytes; at += SKIP_BYTES)
        zero = crc(zeroes, len_bytes - at < SKIP_BYTES ? len_bytes - at : SKIP_BYTES, zero);
    return crc(data, len_bytes, UINT32_MAX) ^ zero;
}
