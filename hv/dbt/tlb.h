/* The soft TLB: what an access costs when nothing special is to be done.
 *
 *     e = entries[linear >> 12 & (TLB_ENTRIES - 1)][class];
 *     if (((linear + size - 1) & ~0xfff) == e->write)  host address = e->host + (linear & 0xfff)
 *
 * Two classes, as the page tables have two: kernel (CPL 0 to 2) and user (CPL 3). A tag is the page's linear address,
 * or tlb_none, which no access can match: not mapped, not allowed, or allowed only on the slow path (mmu.h): memory
 * that is not RAM, a write to ROM, to a page with decoded code, to one that the running dirty log holds clean, a
 * kernel's access to user pages under SMAP, a page with a data breakpoint. An access that crosses a page never matches,
 * since the entry after the next index cannot be in this one.
 *
 * Tags are withdrawn from other threads, too (tlb_withhold): before a page's code is decoded nobody may have a write
 * tag for it, and before the dirty log counts nobody any. So tags are read and written with one plain 64-bit access.
 * A filler sets the tag first and asks whether the page is watched afterwards, the withholder marks first and looks at
 * the tags afterwards: one of them sees the other.
 *
 * Threads: the vCPU's own, but for tlb_withhold(). */
#ifndef HV_DBT_TLB_H
#define HV_DBT_TLB_H

#include <stdbool.h>
#include <stdint.h>

enum { TLB_BITS = 10, TLB_ENTRIES = 1 << TLB_BITS, TLB_CLASSES = 2 };
enum tlb_class { TLB_KERNEL, TLB_USER };
static const uint64_t tlb_none = ~0ull; /* what tlb_fill() takes for "no tag"; see tlb_no_tag() for what it keeps */

struct tlb_entry {
    uint64_t read, write, fetch;
    uint8_t *host; /* of the page */
};

enum tlb_mark { TLB_MARK_GLOBAL = 1, TLB_MARK_LARGE = 2, TLB_MARK_LISTED = 4 };

enum tlb_flushed { TLB_FLUSHED_ALL, TLB_FLUSHED_LOCAL, TLB_FLUSHED_PAGE, TLB_FLUSHED_LARGE };

struct tlb {
    _Alignas(
        64) struct tlb_entry entries[TLB_ENTRIES][TLB_CLASSES]; /* so that every field is a short way from the index */
    uint8_t marks[TLB_CLASSES][TLB_ENTRIES];
    /* Entries that the next load of CR3 drops: so it costs what was used, not what there is. */
    uint16_t listed[TLB_CLASSES][TLB_ENTRIES];
    unsigned listed_count[TLB_CLASSES];
    uint64_t large_seen; /* a bit per hash of 1 GiB regions that had fills from large pages */
    /* What the last flush was, for those who keep translations of their own. */
    enum tlb_flushed last;
    uint64_t last_page;
    uint64_t flushes; /* counts flushes of every kind: who remembers translations elsewhere compares it */
};

static inline struct tlb_entry *tlb_at(struct tlb *tlb, enum tlb_class class, uint64_t linear)
{
    return &tlb->entries[linear >> 12 & (TLB_ENTRIES - 1)][class];
}

static inline uint64_t tlb_tag(const uint64_t *tag)
{
    return __atomic_load_n(tag, __ATOMIC_RELAXED);
}

static inline void tlb_set_tag(uint64_t *tag, uint64_t value)
{
    __atomic_store_n(tag, value, __ATOMIC_RELAXED);
}

/* The tag of an entry that has none. Tags are compared in two ways: for equality, or as (linear ^ tag) <= 4096 - size,
 * which is what generated code does. So it is not a multiple of the page size, and no address with this index has all
 * of its higher bits. */
static inline uint64_t tlb_no_tag(unsigned index)
{
    return ~((uint64_t)index << 12);
}

static inline bool tlb_is_tag(uint64_t tag)
{
    return !(tag & 0xfff);
}

static inline uint8_t *tlb_host(const struct tlb_entry *e, uint64_t linear)
{
    return e->host + (linear & 0xfff);
}

static inline bool tlb_hit(const uint64_t *tag, uint64_t linear, unsigned bytes)
{
    return ((linear + bytes - 1) & ~0xfffull) == tlb_tag(tag);
}

void tlb_init(struct tlb *tlb);
void tlb_flush(struct tlb *tlb);                       /* everything */
void tlb_flush_local(struct tlb *tlb);                 /* all but global pages */
void tlb_flush_page(struct tlb *tlb, uint64_t linear); /* INVLPG: 2M and 1G pages as a whole, global ones too */

/* Makes the entry of the page at linear; tags may be tlb_none. marks: GLOBAL, LARGE. */
void tlb_fill(struct tlb *tlb, enum tlb_class class, uint64_t linear, const struct tlb_entry *entry, unsigned marks);

/* One entry's write tag, by the owner. */
void tlb_withdraw_write(struct tlb *tlb, enum tlb_class class, uint64_t linear);

/* Any thread: takes the write tags away from the page at `host`, or from all pages if it is NULL; true if there was
 * one. Another vCPU may be in the middle of a store that it has checked before: who must know that it is over waits
 * for it to pass (dbt_vm_pass). */
bool tlb_withhold(struct tlb *tlb, const uint8_t *host);

#endif
