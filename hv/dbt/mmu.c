/* See mmu.h. Every slow path translates with the page tables and leaves an entry in the TLB, with the tags that the
 * next access of its kind may use. */
#include "hv/dbt/mmu.h"

#include "hv/bus.h"
#include "hv/dbt/debug.h"
#include "hv/dbt/device.h"
#include "hv/dbt/fault.h"
#include "hv/dbt/lockstep.h"
#include "hv/dbt/vm.h"
#include "hv/dbt/walk.h"
#include "hv/memory.h"

enum { PAGE = MEMORY_PAGE_BYTES };

/* Where a linear address leads. */
struct place {
    uint64_t gpa;
    uint8_t *host; /* NULL: a device */
    bool writable; /* not ROM */
};

static uint64_t wrap(const struct dbt_cpu *cpu, uint64_t linear)
{
    return cpu->code_bytes == 8 || cpu_long(cpu) ? linear : linear & 0xffffffffu;
}

static void find(const struct dbt_cpu *cpu, uint64_t gpa, struct place *place)
{
    place->gpa = gpa;
    place->writable = true;
    if (gpa < cpu->low_bytes) {
        place->host = cpu->low_host + gpa;
        return;
    }
    uint64_t page = gpa & ~(uint64_t)(PAGE - 1);
    place->host = memory_at_writable(cpu->memory, page, PAGE);
    if (!place->host) {
        place->writable = false;
        place->host = (uint8_t *)(uintptr_t)memory_at(cpu->memory, page, PAGE);
    }
    if (place->host)
        place->host += gpa - page;
}

/* What the next access may do without coming here. */
static void remember(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, const struct walk *walk,
                     const struct place *place)
{
    uint64_t page = linear & ~(uint64_t)(PAGE - 1);
    uint8_t *host = place->host - (linear - page);
    bool smap = class == TLB_KERNEL && walk->user && cpu->cr4 & CPU_CR4_SMAP;
    bool watched = cpu->debug_data && debug_watches_page(cpu, page);
    bool data = !smap && !watched;
    bool write = data && place->writable && walk->dirty &&
                 (walk->writable || (class == TLB_KERNEL && !(cpu->cr0 & CPU_CR0_WP))) &&
                 (!cpu->lockstep || cpu->lockstep->grants) && !memory_log_wants(cpu->memory, place->gpa) &&
                 (walk->user || class == TLB_KERNEL);
    bool fetch = walk->executable && !(class == TLB_KERNEL && walk->user && cpu->cr4 & CPU_CR4_SMEP);
    struct tlb_entry e = {
        .read = data ? page : tlb_none,
        .write = write ? page : tlb_none,
        .fetch = fetch ? page : tlb_none,
        .host = host,
    };
    tlb_fill(&cpu->tlb, class, linear, &e, (walk->global ? TLB_MARK_GLOBAL : 0) | (walk->large ? TLB_MARK_LARGE : 0));
    if (!write)
        return;
    /* The withholder marks the page (or starts the log, or takes from it) and then looks at our tags; we do it the
     * other way round. */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t gpa = place->gpa & ~(uint64_t)(PAGE - 1);
    if (memory_watches_page(cpu->memory, gpa) || memory_log_wants(cpu->memory, gpa))
        tlb_withdraw_write(&cpu->tlb, class, linear);
}

/* Raises what the access raises. */
static struct place translate(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, enum mmu_access access,
                              unsigned options)
{
    struct walk walk;
    struct place place;
    uint32_t code;
    if (cpu_long(cpu) && (uint64_t)((int64_t)(linear << 16) >> 16) != linear)
        fault_gp(cpu);
    if (walk_pages(cpu, class, linear, access, options, &walk, &code))
        fault_raise_page(cpu, linear, code);
    find(cpu, walk.gpa | (linear & (PAGE - 1)), &place);
    if (place.host)
        remember(cpu, class, linear, &walk, &place);
    if (cpu->lockstep && access == MMU_WRITE)
        lockstep_note_page(cpu->lockstep, linear);
    return place;
}

/* ---- pieces within one page ---- */

static uint64_t load_host(const uint8_t *host, unsigned bytes)
{
    uint64_t value = 0;
    switch (bytes) {
    case 1:
        return *(const volatile uint8_t *)host;
    case 2:
        return *(const volatile mmu_u16 *)host;
    case 4:
        return *(const volatile mmu_u32 *)host;
    case 8:
        return *(const volatile mmu_u64 *)host;
    default:
        memcpy(&value, host, bytes);
        return value;
    }
}

static void store_host(uint8_t *host, unsigned bytes, uint64_t value)
{
    switch (bytes) {
    case 1:
        *(volatile uint8_t *)host = (uint8_t)value;
        break;
    case 2:
        *(volatile mmu_u16 *)host = (uint16_t)value;
        break;
    case 4:
        *(volatile mmu_u32 *)host = (uint32_t)value;
        break;
    case 8:
        *(volatile mmu_u64 *)host = value;
        break;
    default:
        memcpy(host, &value, bytes);
    }
}

static uint64_t load_place(struct dbt_cpu *cpu, const struct place *place, unsigned bytes)
{
    return place->host ? load_host(place->host, bytes) : device_load(cpu, place->gpa, bytes);
}

static void store_place(struct dbt_cpu *cpu, const struct place *place, unsigned bytes, uint64_t value)
{
    if (!place->host || !place->writable) {
        device_store(cpu, place->gpa, bytes, value);
        return;
    }
    if (cpu->lockstep)
        lockstep_note_store(cpu->lockstep, place->host, bytes);
    store_host(place->host, bytes, value);
    memory_touched(cpu->memory, place->gpa, bytes);
}

static unsigned first_part(uint64_t linear, size_t bytes)
{
    unsigned left = PAGE - (linear & (PAGE - 1));
    return bytes < left ? (unsigned)bytes : left;
}

static uint64_t load(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, unsigned bytes, enum mmu_access access,
                     unsigned options)
{
    linear = wrap(cpu, linear);
    unsigned first = first_part(linear, bytes);
    struct place place = translate(cpu, class, linear, access, options);
    if (first == bytes) {
        if (cpu->debug_data)
            debug_check_data(cpu, linear, bytes, access == MMU_WRITE);
        return load_place(cpu, &place, bytes);
    }
    struct place rest = translate(cpu, class, wrap(cpu, linear + first), access, options);
    if (cpu->debug_data)
        debug_check_data(cpu, linear, bytes, access == MMU_WRITE);
    return load_place(cpu, &place, first) | load_place(cpu, &rest, bytes - first) << 8 * first;
}

static void store(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, unsigned bytes, uint64_t value,
                  unsigned options)
{
    linear = wrap(cpu, linear);
    unsigned first = first_part(linear, bytes);
    struct place place = translate(cpu, class, linear, MMU_WRITE, options);
    if (cpu->debug_data)
        debug_check_data(cpu, linear, bytes, true);
    if (first == bytes) {
        store_place(cpu, &place, bytes, value);
        return;
    }
    struct place rest = translate(cpu, class, wrap(cpu, linear + first), MMU_WRITE, options);
    store_place(cpu, &place, first, value);
    store_place(cpu, &rest, bytes - first, value >> 8 * first);
}

/* ---- the interface ---- */

uint64_t mmu_load_slow(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, unsigned bytes)
{
    return load(cpu, class, linear, bytes, MMU_READ, 0);
}

void mmu_store_slow(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, unsigned bytes, uint64_t value)
{
    store(cpu, class, linear, bytes, value, 0);
}

uint64_t mmu_load_locked(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes)
{
    return load(cpu, mmu_class(cpu), linear, bytes, MMU_WRITE, 0);
}

uint64_t mmu_load_system(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes)
{
    linear = wrap(cpu, linear);
    const struct tlb_entry *e = tlb_at(&cpu->tlb, TLB_KERNEL, linear);
    if (tlb_hit(&e->read, linear, bytes))
        return load_host(tlb_host(e, linear), bytes);
    return load(cpu, TLB_KERNEL, linear, bytes, MMU_READ, WALK_IMPLICIT);
}

void mmu_store_system(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, uint64_t value)
{
    linear = wrap(cpu, linear);
    const struct tlb_entry *e = tlb_at(&cpu->tlb, TLB_KERNEL, linear);
    if (tlb_hit(&e->write, linear, bytes))
        store_host(tlb_host(e, linear), bytes, value);
    else
        store(cpu, TLB_KERNEL, linear, bytes, value, WALK_IMPLICIT);
}

uint8_t *mmu_host(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, enum mmu_access access)
{
    linear = wrap(cpu, linear);
    const struct tlb_entry *e = mmu_entry(cpu, linear);
    const uint64_t *tag = access == MMU_WRITE ? &e->write : access == MMU_READ ? &e->read : &e->fetch;
    if (!tlb_hit(tag, linear, bytes)) {
        translate(cpu, mmu_class(cpu), linear, access, 0);
        if (!tlb_hit(tag, linear, bytes))
            return NULL;
    }
    return tlb_host(e, linear);
}

void mmu_load_bytes(struct dbt_cpu *cpu, uint64_t linear, void *to, size_t bytes)
{
    uint8_t *out = to;
    while (bytes) {
        unsigned part = first_part(linear, bytes);
        const uint8_t *host = mmu_host(cpu, linear, part, MMU_READ);
        if (host && part == 16) {
            memcpy(out, host, 16);
        } else if (host) {
            memcpy(out, host, part);
        } else {
            part = part < 8 ? part : 8;
            uint64_t value = mmu_load_slow(cpu, mmu_class(cpu), linear, part);
            memcpy(out, &value, part);
        }
        out += part;
        linear = wrap(cpu, linear + part);
        bytes -= part;
    }
}

void mmu_check_store(struct dbt_cpu *cpu, uint64_t linear, size_t bytes)
{
    unsigned first = first_part(linear, bytes);
    if (!tlb_hit(&mmu_entry(cpu, linear)->write, linear, first))
        translate(cpu, mmu_class(cpu), wrap(cpu, linear), MMU_WRITE, 0);
    if (first != bytes)
        translate(cpu, mmu_class(cpu), wrap(cpu, linear + first), MMU_WRITE, 0);
}

void mmu_store_bytes(struct dbt_cpu *cpu, uint64_t linear, const void *from, size_t bytes)
{
    const uint8_t *in = from;
    mmu_check_store(cpu, linear, bytes);
    while (bytes) {
        unsigned part = first_part(linear, bytes);
        uint8_t *host = mmu_host(cpu, linear, part, MMU_WRITE);
        if (host) {
            memcpy(host, in, part);
        } else {
            part = part < 8 ? part : 8;
            uint64_t value = 0;
            memcpy(&value, in, part);
            mmu_store_slow(cpu, mmu_class(cpu), linear, part, value);
        }
        in += part;
        linear = wrap(cpu, linear + part);
        bytes -= part;
    }
}

/* ---- locked ---- */

static bool swap_host(uint8_t *host, unsigned bytes, uint64_t *expected, uint64_t desired)
{
    bool done = false;
    switch (bytes) {
    case 1: {
        uint8_t was = (uint8_t)*expected;
        done = __atomic_compare_exchange_n(host, &was, (uint8_t)desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        *expected = was;
        break;
    }
    case 2: {
        uint16_t was = (uint16_t)*expected;
        __asm__ volatile("lock cmpxchgw %[new], %[at]"
                         : [at] "+m"(*(mmu_u16 *)host), "+a"(was), "=@ccz"(done)
                         : [new] "r"((uint16_t)desired)
                         : "memory");
        *expected = was;
        break;
    }
    case 4: {
        uint32_t was = (uint32_t)*expected;
        __asm__ volatile("lock cmpxchgl %[new], %[at]"
                         : [at] "+m"(*(mmu_u32 *)host), "+a"(was), "=@ccz"(done)
                         : [new] "r"((uint32_t)desired)
                         : "memory");
        *expected = was;
        break;
    }
    case 8:
        __asm__ volatile("lock cmpxchgq %[new], %[at]"
                         : [at] "+m"(*(mmu_u64 *)host), "+a"(*expected), "=@ccz"(done)
                         : [new] "r"(desired)
                         : "memory");
        break;
    }
    return done;
}

/* Across two pages, or in a device: as good as it gets, one after the other. */
static bool swap_split(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, uint64_t *expected, uint64_t desired)
{
    uint64_t mask = bytes == 8 ? ~0ull : (1ull << 8 * bytes) - 1;
    mmu_check_store(cpu, linear, bytes); /* nothing is raised with the lock held */
    pthread_mutex_lock(&cpu->vm->split_lock);
    uint64_t was = load(cpu, mmu_class(cpu), linear, bytes, MMU_WRITE, 0);
    bool same = was == (*expected & mask);
    store(cpu, mmu_class(cpu), linear, bytes, same ? desired : was, 0);
    pthread_mutex_unlock(&cpu->vm->split_lock);
    *expected = was;
    return same;
}

bool mmu_swap_locked(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, uint64_t *expected, uint64_t desired)
{
    linear = wrap(cpu, linear);
    const struct tlb_entry *e = mmu_entry(cpu, linear);
    if (tlb_hit(&e->write, linear, bytes))
        return swap_host(tlb_host(e, linear), bytes, expected, desired);
    if (first_part(linear, bytes) != bytes)
        return swap_split(cpu, linear, bytes, expected, desired);
    struct place place = translate(cpu, mmu_class(cpu), linear, MMU_WRITE, 0);
    if (!place.host || !place.writable)
        return swap_split(cpu, linear, bytes, expected, desired);
    if (cpu->lockstep)
        lockstep_note_store(cpu->lockstep, place.host, bytes);
    bool done = swap_host(place.host, bytes, expected, desired);
    memory_touched(cpu->memory, place.gpa, bytes);
    return done;
}

static bool is_device(struct dbt_cpu *cpu, uint64_t linear)
{
    struct place place = translate(cpu, mmu_class(cpu), linear, MMU_WRITE, 0);
    return !place.host || !place.writable;
}

bool mmu_update_locked(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, uint64_t *expected, uint64_t desired)
{
    linear = wrap(cpu, linear);
    const struct tlb_entry *e = mmu_entry(cpu, linear);
    if (tlb_hit(&e->write, linear, bytes))
        return swap_host(tlb_host(e, linear), bytes, expected, desired);
    bool crosses = first_part(linear, bytes) != bytes;
    if (!is_device(cpu, linear) && !(crosses && is_device(cpu, wrap(cpu, linear + bytes - 1))))
        return mmu_swap_locked(cpu, linear, bytes, expected, desired);
    store(cpu, mmu_class(cpu), linear, bytes, desired, 0);
    return true;
}

bool mmu_swap16_locked(struct dbt_cpu *cpu, uint64_t linear, uint64_t expected[2], const uint64_t desired[2])
{
    uint8_t *host = mmu_host(cpu, linear, 16, MMU_WRITE);
    struct place place = {.host = host};
    if (!host)
        place = translate(cpu, mmu_class(cpu), linear, MMU_WRITE, 0);
    if (!place.host || (!host && !place.writable)) {
        expected[0] = mmu_load64(cpu, linear);
        expected[1] = mmu_load64(cpu, linear + 8);
        return false;
    }
    bool done;
    if (cpu->lockstep)
        lockstep_note_store(cpu->lockstep, place.host, 16);
    struct pair {
        uint64_t word[2];
    } *at = (struct pair *)(void *)place.host;
    __asm__ volatile("lock cmpxchg16b %[at]"
                     : [at] "+m"(*at), "+a"(expected[0]), "+d"(expected[1]), "=@ccz"(done)
                     : "b"(desired[0]), "c"(desired[1])
                     : "memory");
    if (!host)
        memory_touched(cpu->memory, place.gpa, 16);
    return done;
}

/* ---- code ---- */

const uint8_t *mmu_fetch_host(struct dbt_cpu *cpu, uint64_t linear)
{
    const struct tlb_entry *e = mmu_entry(cpu, linear);
    if (tlb_hit(&e->fetch, linear, 1))
        return tlb_host(e, linear);
    return translate(cpu, mmu_class(cpu), linear, MMU_FETCH, 0).host;
}

uint8_t mmu_fetch(struct dbt_cpu *cpu, uint64_t linear)
{
    const struct tlb_entry *e = mmu_entry(cpu, linear);
    if (tlb_hit(&e->fetch, linear, 1))
        return *(const volatile uint8_t *)tlb_host(e, linear);
    struct place place = translate(cpu, mmu_class(cpu), linear, MMU_FETCH, 0);
    return (uint8_t)load_place(cpu, &place, 1);
}

uint64_t mmu_gpa(const struct dbt_cpu *cpu, const uint8_t *host)
{
    for (unsigned i = 0; i < memory_slot_count(cpu->memory); i++) {
        const struct memory_slot *s = memory_slot(cpu->memory, i);
        if (host >= s->host && (uint64_t)(host - s->host) < s->bytes)
            return s->gpa + (uint64_t)(host - s->host);
    }
    return ~0ull;
}
