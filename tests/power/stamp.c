#include "tests/power/stamp.h"

#include <string.h>

#include "tests/power/dice.h"

enum { WORDS = SECTOR_BYTES / 8 };

void stamp_write(uint8_t *sector_bytes, uint32_t sector, uint32_t id)
{
    uint64_t words[WORDS];
    words[0] = (uint64_t)sector << 32 | id;
    struct dice rest = {words[0]};
    for (int i = 1; i < WORDS; i++)
        words[i] = dice_u64(&rest);
    memcpy(sector_bytes, words, sizeof words);
}

uint32_t stamp_read(const uint8_t *sector_bytes, uint32_t sector)
{
    static const uint8_t nothing[SECTOR_BYTES];
    uint8_t expected[SECTOR_BYTES];
    uint64_t head;
    if (!memcmp(sector_bytes, nothing, SECTOR_BYTES))
        return 0;
    memcpy(&head, sector_bytes, sizeof head);
    stamp_write(expected, sector, (uint32_t)head);
    return (uint32_t)head && !memcmp(sector_bytes, expected, SECTOR_BYTES) ? (uint32_t)head : STAMP_FOREIGN;
}
