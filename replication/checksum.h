/* The checksum of members: CRC-32C, shifted so that zeroes have the checksum 0. A member of zeroes is therefore one
 * whose checksums are right. Pure; any thread. */
#ifndef REPLICATION_CHECKSUM_H
#define REPLICATION_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Of one block (BLOCK_BYTES). */
uint32_t checksum_block(const void *block);
/* Of any bytes; len_bytes at most 2^30. */
uint32_t checksum_bytes(const void *data, size_t len_bytes);

#endif
