/* A map of bits that lives on members and in memory: which regions are hot, which granules a member missed.
 *
 * On a member it is a row of sectors of 512 bytes, each with its own checksum, so that a torn or rotten sector is
 * found; its bits then count as set. Both maps may err to that side: it costs copying, never data. Thread: the
 * owner's. Limits: bits as given to bit_map_init(). */
#ifndef REPLICATION_BIT_MAP_H
#define REPLICATION_BIT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BIT_MAP_SECTOR_BYTES = 512, BIT_MAP_SECTOR_BITS = (BIT_MAP_SECTOR_BYTES - 4) * 8, BIT_MAP_BLOCK_BYTES = 4096 };

struct bit_map {
    uint64_t bits, set; /* how many there are, how many are set */
    size_t bytes;       /* on a member */
    uint8_t *sectors;
    uint8_t *dirty; /* a byte a block: changed since bit_map_seal() */
};

/* What a map of that many bits takes on a member: a multiple of BIT_MAP_BLOCK_BYTES. */
uint64_t bit_map_bytes(uint64_t bits);

/* All bits clear. -ENOMEM. */
int bit_map_init(struct bit_map *map, uint64_t bits);
/* More bits, clear; those that are there stay where they are, on members as well. What bit_map_seal() returned is no
 * more. -ENOMEM: nothing has changed. */
int bit_map_grow(struct bit_map *map, uint64_t bits);
void bit_map_fini(struct bit_map *map);

bool bit_map_test(const struct bit_map *map, uint64_t bit);
void bit_map_set(struct bit_map *map, uint64_t bit);
void bit_map_clear(struct bit_map *map, uint64_t bit);
void bit_map_set_all(struct bit_map *map);
void bit_map_clear_all(struct bit_map *map);
/* The first set bit from `from` on; map->bits if there is none. */
uint64_t bit_map_next(const struct bit_map *map, uint64_t from);

size_t bit_map_blocks(const struct bit_map *map);
/* Makes block `block` ready to be written: checksums set, no longer dirty. Returns its BIT_MAP_BLOCK_BYTES. */
const void *bit_map_seal(struct bit_map *map, size_t block);
void bit_map_soil(struct bit_map *map); /* every block is dirty */
/* Adds what a member's bytes say (map->bytes of them). Returns how many sectors were bad. */
unsigned bit_map_merge(struct bit_map *map, const void *bytes);

#endif
