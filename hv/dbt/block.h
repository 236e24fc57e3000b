/* Blocks of translated code, found by where the guest's code lies: its linear address, its place in host memory (that
 * is, its physical address), and the class of rights it runs with.
 *
 * The linear address is part of the key, since translated code has it built in. A block lies in one page. When its page
 * is written it dies: its entry becomes a jump to its exit, so whoever jumps to it leaves to the dispatcher; nobody
 * has to look for those jumps. Dead blocks and their code are only reused by dropping everything.
 *
 * Threads: the vCPU's own; each has a cache of its own. */
#ifndef HV_DBT_BLOCK_H
#define HV_DBT_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/tlb.h"

struct emit;

enum { BLOCK_MAX = 1 << 17, BLOCK_NONE = 0, BLOCK_HASH = 1 << 16, BLOCK_PAGES = 1 << 13 };

struct block {
    uint64_t linear;
    const uint8_t *host; /* its first byte */
    uint32_t entry;      /* in code memory: five bytes that can become a jump to `exit` */
    uint32_t exit;
    uint32_t parked_entry;       /* for those who come with parked flags (translator.h) */
    uint32_t next, next_on_page; /* in the lists below */
    uint8_t class;               /* enum tlb_class */
    uint8_t insns;
    bool dead;
};

struct block_cache {
    struct block *blocks; /* index 0 stays empty */
    uint32_t count;
    uint32_t hash[BLOCK_HASH], pages[BLOCK_PAGES];
};

int block_cache_init(struct block_cache *cache); /* 0 or -ENOMEM */
void block_cache_fini(struct block_cache *cache);
void block_cache_clear(struct block_cache *cache);

static inline bool block_cache_full(const struct block_cache *cache)
{
    return cache->count + 1 >= BLOCK_MAX;
}

/* An index, or BLOCK_NONE. */
uint32_t block_find(const struct block_cache *cache, uint64_t linear, const uint8_t *host, enum tlb_class class);
/* Takes a copy; the cache is not full. */
uint32_t block_add(struct block_cache *cache, const struct block *block);
/* All blocks on the page at host (page-aligned) die. Returns how many. */
unsigned block_drop_page(struct block_cache *cache, struct emit *emit, const uint8_t *host);

#endif
