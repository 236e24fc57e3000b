/* See jump_cache.h. */
#include "hv/dbt/jump_cache.h"

#include <string.h>

enum { WORD_BITS = 64, PAGE_BITS = 12 };

static uint64_t *filter_word(struct jump_cache *jumps, enum tlb_class class, uint64_t linear, uint64_t *bit)
{
    unsigned hash = linear >> PAGE_BITS & (JUMP_FILTER_WORDS * WORD_BITS - 1);
    *bit = 1ull << (hash % WORD_BITS);
    return &jumps->filter[class][hash / WORD_BITS];
}

void jump_cache_flush(struct jump_cache *jumps, enum tlb_class class)
{
    for (unsigned i = 0; i < JUMP_ENTRIES; i++)
        jumps->entries[class][i].linear = jump_none(i);
    memset(jumps->filter[class], 0, sizeof jumps->filter[class]);
    jumps->local[class] = false;
}

void jump_cache_put(struct jump_cache *jumps, enum tlb_class class, uint64_t linear, uint64_t code, bool global)
{
    uint64_t bit;
    *filter_word(jumps, class, linear, &bit) |= bit;
    jumps->local[class] |= !global;
    jumps->entries[class][jump_index(linear)] = (struct jump){linear, code};
}

static void forget_page(struct jump_cache *jumps, enum tlb_class class, uint64_t linear)
{
    uint64_t bit;
    if (!(*filter_word(jumps, class, linear, &bit) & bit))
        return;
    for (unsigned i = 0; i < JUMP_ENTRIES; i++) {
        struct jump *j = &jumps->entries[class][i];
        if (j->linear >> PAGE_BITS == linear >> PAGE_BITS)
            j->linear = jump_none(i);
    }
}

void jump_cache_follow(struct jump_cache *jumps, const struct tlb *tlb)
{
    uint64_t missed = tlb->flushes - jumps->flushes;
    jumps->flushes = tlb->flushes;
    if (!missed)
        return;
    for (unsigned class = 0; class < TLB_CLASSES; class ++) {
        if (missed > 1 || tlb->last == TLB_FLUSHED_ALL || tlb->last == TLB_FLUSHED_LARGE)
            jump_cache_flush(jumps, class);
        else if (tlb->last == TLB_FLUSHED_PAGE)
            forget_page(jumps, class, tlb->last_page);
        else if (jumps->local[class])
            jump_cache_flush(jumps, class);
    }
}
