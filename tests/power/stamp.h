/* What a sector says of itself: which sector it is, and which request wrote it. All 512 bytes are determined by the
 * two, so a sector that was torn inside, or belongs elsewhere, is recognised. Thread: any. */
#ifndef TESTS_POWER_STAMP_H
#define TESTS_POWER_STAMP_H

#include <stdint.h>

enum { SECTOR_BYTES = 512 };

/* The value of a sector: 0 all zeroes, a request's id, or STAMP_FOREIGN: nothing that was ever written there. */
#define STAMP_FOREIGN UINT32_MAX

void stamp_write(uint8_t *sector_bytes, uint32_t sector, uint32_t id);
uint32_t stamp_read(const uint8_t *sector_bytes, uint32_t sector);

#endif
