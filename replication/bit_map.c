#include "replication/bit_map.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replication/checksum.h"

enum { SECTORS_PER_BLOCK = BIT_MAP_BLOCK_BYTES / BIT_MAP_SECTOR_BYTES, CRC_AT = BIT_MAP_SECTOR_BYTES - 4 };

uint64_t bit_map_bytes(uint64_t bits)
{
    uint64_t sectors = (bits + BIT_MAP_SECTOR_BITS - 1) / BIT_MAP_SECTOR_BITS;
    return (sectors + SECTORS_PER_BLOCK - 1) / SECTORS_PER_BLOCK * BIT_MAP_BLOCK_BYTES;
}

int bit_map_init(struct bit_map *map, uint64_t bits)
{
    struct bit_map m = {.bits = bits, .bytes = bit_map_bytes(bits)};
    m.sectors = aligned_alloc(BIT_MAP_BLOCK_BYTES, m.bytes);
    m.dirty = calloc(bit_map_blocks(&m), 1);
    if (!m.sectors || !m.dirty) {
        bit_map_fini(&m);
        return -ENOMEM;
    }
    memset(m.sectors, 0, m.bytes);
    *map = m;
    return 0;
}

int bit_map_grow(struct bit_map *map, uint64_t bits)
{
    struct bit_map larger;
    if (bits <= map->bits)
        return 0;
    int rc = bit_map_init(&larger, bits);
    if (rc)
        return rc;
    memcpy(larger.sectors, map->sectors, map->bytes);
    memcpy(larger.dirty, map->dirty, bit_map_blocks(map));
    larger.set = map->set;
    bit_map_fini(map);
    *map = larger;
    return 0;
}

void bit_map_fini(struct bit_map *map)
{
    free(map->sectors);
    free(map->dirty);
    memset(map, 0, sizeof *map);
}

static uint8_t *byte_of(const struct bit_map *map, uint64_t bit)
{
    return map->sectors + bit / BIT_MAP_SECTOR_BITS * BIT_MAP_SECTOR_BYTES + bit % BIT_MAP_SECTOR_BITS / 8;
}

static void soil(struct bit_map *map, uint64_t bit)
{
    map->dirty[bit / BIT_MAP_SECTOR_BITS / SECTORS_PER_BLOCK] = 1;
}

bool bit_map_test(const struct bit_map *map, uint64_t bit)
{
    return *byte_of(map, bit) >> (bit % BIT_MAP_SECTOR_BITS % 8) & 1;
}

void bit_map_set(struct bit_map *map, uint64_t bit)
{
    if (bit_map_test(map, bit))
        return;
    *byte_of(map, bit) |= (uint8_t)(1 << (bit % BIT_MAP_SECTOR_BITS % 8));
    map->set++;
    soil(map, bit);
}

void bit_map_clear(struct bit_map *map, uint64_t bit)
{
    if (!bit_map_test(map, bit))
        return;
    *byte_of(map, bit) &= (uint8_t) ~(1 << (bit % BIT_MAP_SECTOR_BITS % 8));
    map->set--;
    soil(map, bit);
}

void bit_map_set_all(struct bit_map *map)
{
    for (uint64_t bit = 0; bit < map->bits; bit++)
        bit_map_set(map, bit);
}

void bit_map_clear_all(struct bit_map *map)
{
    memset(map->sectors, 0, map->bytes);
    map->set = 0;
    bit_map_soil(map);
}

uint64_t bit_map_next(const struct bit_map *map, uint64_t from)
{
    for (uint64_t bit = from; bit < map->bits;) {
        uint8_t byte = *byte_of(map, bit);
        unsigned in_byte = bit % BIT_MAP_SECTOR_BITS % 8;
        byte = (uint8_t)(byte >> in_byte << in_byte);
        if (byte) {
            bit += (unsigned)__builtin_ctz(byte) - in_byte;
            return bit < map->bits ? bit : map->bits;
        }
        bit += 8 - in_byte;
    }
    return map->bits;
}

size_t bit_map_blocks(const struct bit_map *map)
{
    return map->bytes / BIT_MAP_BLOCK_BYTES;
}

const void *bit_map_seal(struct bit_map *map, size_t block)
{
    uint8_t *at = map->sectors + block * BIT_MAP_BLOCK_BYTES;
    for (int i = 0; i < SECTORS_PER_BLOCK; i++) {
        uint8_t *sector = at + i * BIT_MAP_SECTOR_BYTES;
        uint32_t crc = htobe32(checksum_bytes(sector, CRC_AT));
        memcpy(sector + CRC_AT, &crc, sizeof crc);
    }
    map->dirty[block] = 0;
    return at;
}

void bit_map_soil(struct bit_map *map)
{
    memset(map->dirty, 1, bit_map_blocks(map));
}

unsigned bit_map_merge(struct bit_map *map, const void *bytes)
{
    const uint8_t *at = bytes;
    unsigned bad = 0;
    for (uint64_t first = 0; first < map->bits; first += BIT_MAP_SECTOR_BITS, at += BIT_MAP_SECTOR_BYTES) {
        uint32_t crc;
        memcpy(&crc, at + CRC_AT, sizeof crc);
        bool good = be32toh(crc) == checksum_bytes(at, CRC_AT);
        bad += !good;
        for (uint64_t bit = 0; bit < BIT_MAP_SECTOR_BITS && first + bit < map->bits; bit++)
            if (!good || at[bit / 8] >> (bit % 8) & 1)
                bit_map_set(map, first + bit);
    }
    return bad;
}
