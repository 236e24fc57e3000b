/* Where code at a linear address has its translation: what indirect jumps, returns and jumps to another page look into,
 * inline.
 *
 * One table per class of rights, so that no jump of CPL 3 finds a translation made for CPL 0. An entry stands for a
 * translation of addresses, too, and goes with it: jump_cache_follow() is called before translated code runs again
 * after anything that may have flushed the TLB.
 *
 * Threads: the vCPU's own. */
#ifndef HV_DBT_JUMP_CACHE_H
#define HV_DBT_JUMP_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/tlb.h"

enum { JUMP_BITS = 12, JUMP_ENTRIES = 1 << JUMP_BITS, JUMP_FILTER_WORDS = 16, JUMP_ENTRY_BITS = 4 };

struct jump {
    uint64_t linear; /* jump_none() of its index: nothing */
    uint64_t code;
};

struct jump_cache {
    _Alignas(64) struct jump entries[TLB_CLASSES][JUMP_ENTRIES];
    uint64_t filter[TLB_CLASSES][JUMP_FILTER_WORDS]; /* a bit for each page (hashed) that has an entry */
    bool local[TLB_CLASSES];                         /* has entries of pages that are not global */
    uint64_t flushes;                                /* of the TLB, as far as followed */
};

/* As generated code computes it. */
static inline unsigned jump_index(uint64_t linear)
{
    return (unsigned)((linear ^ linear >> JUMP_BITS) & (JUMP_ENTRIES - 1));
}

/* No address with this index. */
static inline uint64_t jump_none(unsigned index)
{
    return index ? ~0ull : 1;
}

void jump_cache_flush(struct jump_cache *jumps, enum tlb_class class);
void jump_cache_put(struct jump_cache *jumps, enum tlb_class class, uint64_t linear, uint64_t code, bool global);
/* Drops what the TLB has dropped since the last call. */
void jump_cache_follow(struct jump_cache *jumps, const struct tlb *tlb);

#endif
