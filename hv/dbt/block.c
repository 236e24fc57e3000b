/* See block.h. */
#include "hv/dbt/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/dbt/emit.h"

enum { PAGE_BITS = 12, GOLDEN_SHIFT = 64 - 16 };
static const uint64_t golden = 0x9e3779b97f4a7c15ull;

static uint32_t *hash_at(const struct block_cache *cache, uint64_t linear, const uint8_t *host)
{
    uint64_t key = linear ^ (uint64_t)(uintptr_t)host << 7;
    uint32_t *all = (uint32_t *)(uintptr_t)cache->hash;
    return &all[key * golden >> GOLDEN_SHIFT & (BLOCK_HASH - 1)];
}

static uint32_t *page_at(struct block_cache *cache, const uint8_t *host)
{
    return &cache->pages[(uintptr_t)host >> PAGE_BITS & (BLOCK_PAGES - 1)];
}

int block_cache_init(struct block_cache *cache)
{
    cache->blocks = calloc(BLOCK_MAX, sizeof *cache->blocks);
    block_cache_clear(cache);
    return cache->blocks ? 0 : -ENOMEM;
}

void block_cache_fini(struct block_cache *cache)
{
    free(cache->blocks);
}

void block_cache_clear(struct block_cache *cache)
{
    cache->count = 0;
    memset(cache->hash, 0, sizeof cache->hash);
    memset(cache->pages, 0, sizeof cache->pages);
}

uint32_t block_find(const struct block_cache *cache, uint64_t linear, const uint8_t *host, enum tlb_class class)
{
    for (uint32_t i = *hash_at(cache, linear, host); i != BLOCK_NONE; i = cache->blocks[i].next) {
        const struct block *b = &cache->blocks[i];
        if (b->linear == linear && b->host == host && b->class == class)
            return i;
    }
    return BLOCK_NONE;
}

uint32_t block_add(struct block_cache *cache, const struct block *block)
{
    uint32_t i = ++cache->count, *hash = hash_at(cache, block->linear, block->host);
    uint32_t *page = page_at(cache, block->host);
    cache->blocks[i] = *block;
    cache->blocks[i].next = *hash;
    cache->blocks[i].next_on_page = *page;
    *hash = i;
    *page = i;
    return i;
}

static void unlink_hash(struct block_cache *cache, uint32_t index)
{
    struct block *b = &cache->blocks[index];
    for (uint32_t *at = hash_at(cache, b->linear, b->host); *at != BLOCK_NONE; at = &cache->blocks[*at].next) {
        if (*at == index) {
            *at = b->next;
            return;
        }
    }
}

unsigned block_drop_page(struct block_cache *cache, struct emit *emit, const uint8_t *host)
{
    unsigned dropped = 0;
    uint32_t *at = page_at(cache, host);
    while (*at != BLOCK_NONE) {
        uint32_t index = *at;
        struct block *b = &cache->blocks[index];
        if ((uintptr_t)b->host >> PAGE_BITS != (uintptr_t)host >> PAGE_BITS) {
            at = &b->next_on_page;
            continue;
        }
        *at = b->next_on_page;
        unlink_hash(cache, index);
        emit_nop5_to_jump(emit, b->entry, b->exit);
        b->dead = true;
        dropped++;
    }
    return dropped;
}
