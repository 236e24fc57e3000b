/* See tlb.h. */
#include "hv/dbt/tlb.h"

#include <stdatomic.h>
#include <string.h>

enum { LARGE_BITS = 30, FILTER_BITS = 63 };

static void drop(struct tlb *tlb, unsigned class, unsigned index)
{
    struct tlb_entry *e = &tlb->entries[index][class];
    tlb_set_tag(&e->read, tlb_no_tag(index));
    tlb_set_tag(&e->write, tlb_no_tag(index));
    tlb_set_tag(&e->fetch, tlb_no_tag(index));
}

static unsigned index_of(uint64_t linear)
{
    return linear >> 12 & (TLB_ENTRIES - 1);
}

void tlb_init(struct tlb *tlb)
{
    memset(tlb, 0, sizeof *tlb);
    tlb_flush(tlb);
}

void tlb_flush(struct tlb *tlb)
{
    for (unsigned class = 0; class < TLB_CLASSES; class ++) {
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            drop(tlb, class, i);
        memset(tlb->marks[class], 0, sizeof tlb->marks[class]);
        tlb->listed_count[class] = 0;
    }
    tlb->large_seen = 0;
    tlb->last = TLB_FLUSHED_ALL;
    tlb->flushes++;
}

void tlb_flush_local(struct tlb *tlb)
{
    for (unsigned class = 0; class < TLB_CLASSES; class ++) {
        for (unsigned n = 0; n < tlb->listed_count[class]; n++) {
            unsigned i = tlb->listed[class][n];
            if (!(tlb->marks[class][i] & TLB_MARK_GLOBAL))
                drop(tlb, class, i);
            tlb->marks[class][i] &= (uint8_t)~TLB_MARK_LISTED;
        }
        tlb->listed_count[class] = 0;
    }
    tlb->last = TLB_FLUSHED_LOCAL;
    tlb->flushes++;
}

static uint64_t filter(uint64_t linear)
{
    return 1ull << (linear >> LARGE_BITS & FILTER_BITS);
}

/* The pieces of a large page that are in the TLB: of all pages in the same GiB, since which size it had is not kept. */
static void drop_large(struct tlb *tlb, enum tlb_class class, uint64_t linear)
{
    for (unsigned i = 0; i < TLB_ENTRIES; i++) {
        struct tlb_entry *e = &tlb->entries[i][class];
        if (!(tlb->marks[class][i] & TLB_MARK_LARGE))
            continue;
        uint64_t page = tlb_is_tag(e->read) ? e->read : tlb_is_tag(e->write) ? e->write : e->fetch;
        if (page >> LARGE_BITS == linear >> LARGE_BITS)
            drop(tlb, class, i);
    }
}

void tlb_flush_page(struct tlb *tlb, uint64_t linear)
{
    for (unsigned class = 0; class < TLB_CLASSES; class ++) {
        drop(tlb, class, index_of(linear));
        if (tlb->large_seen & filter(linear))
            drop_large(tlb, class, linear);
    }
    tlb->last = tlb->large_seen & filter(linear) ? TLB_FLUSHED_LARGE : TLB_FLUSHED_PAGE;
    tlb->last_page = linear;
    tlb->flushes++;
}

static uint64_t kept(uint64_t tag, unsigned index)
{
    return tag == tlb_none ? tlb_no_tag(index) : tag;
}

void tlb_fill(struct tlb *tlb, enum tlb_class class, uint64_t linear, const struct tlb_entry *entry, unsigned marks)
{
    unsigned i = index_of(linear);
    struct tlb_entry *e = &tlb->entries[i][class];
    uint8_t *mark = &tlb->marks[class][i];
    drop(tlb, class, i);
    atomic_thread_fence(memory_order_release);
    __atomic_store_n(&e->host, entry->host, __ATOMIC_RELAXED);
    tlb_set_tag(&e->read, kept(entry->read, i));
    tlb_set_tag(&e->write, kept(entry->write, i));
    tlb_set_tag(&e->fetch, kept(entry->fetch, i));
    if (marks & TLB_MARK_LARGE)
        tlb->large_seen |= filter(linear);
    if (!(marks & TLB_MARK_GLOBAL) && !(*mark & TLB_MARK_LISTED)) {
        tlb->listed[class][tlb->listed_count[class]++] = (uint16_t)i;
        marks |= TLB_MARK_LISTED;
    }
    *mark = (uint8_t)((*mark & TLB_MARK_LISTED) | marks);
}

void tlb_withdraw_write(struct tlb *tlb, enum tlb_class class, uint64_t linear)
{
    tlb_set_tag(&tlb_at(tlb, class, linear)->write, tlb_no_tag(index_of(linear)));
}

bool tlb_withhold(struct tlb *tlb, const uint8_t *host)
{
    bool found = false;
    for (unsigned class = 0; class < TLB_CLASSES; class ++) {
        for (unsigned i = 0; i < TLB_ENTRIES; i++) {
            struct tlb_entry *e = &tlb->entries[i][class];
            uint64_t tag = tlb_tag(&e->write);
            if (!tlb_is_tag(tag) || (host && __atomic_load_n(&e->host, __ATOMIC_RELAXED) != host))
                continue;
            tlb_set_tag(&e->write, tlb_no_tag(i));
            found = true;
        }
    }
    return found;
}
