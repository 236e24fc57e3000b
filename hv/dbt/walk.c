/* See walk.h. An entry is changed with one compare-and-swap; if somebody else changed it meanwhile the walk starts
 * again. A table outside RAM reads as all ones, which is a reserved bit. */
#include "hv/dbt/walk.h"

#include <errno.h>

#include "hv/dbt/fault.h"
#include "hv/memory.h"

enum {
    ENTRY_P = 1,
    ENTRY_W = 2,
    ENTRY_U = 4,
    ENTRY_A = 0x20,
    ENTRY_D = 0x40,
    ENTRY_PS = 0x80,
    ENTRY_G = 0x100,
    AGAIN = 1,
};
static const uint64_t entry_nx = 1ull << 63, address_bits = 0x000ffffffffff000ull;

struct level {
    uint64_t gpa; /* of the entry */
    uint64_t entry;
};

struct rights {
    bool user, writable, executable;
};

static uint64_t load_entry(const struct dbt_cpu *cpu, uint64_t gpa, unsigned bytes)
{
    const uint8_t *host = gpa < cpu->low_bytes ? cpu->low_host + gpa : memory_at(cpu->memory, gpa, bytes);
    if (!host)
        return ~0ull;
    return bytes == 4 ? *(const volatile mmu_u32 *)host : *(const volatile mmu_u64 *)host;
}

/* False: it is not what was read any more. */
static bool set_bits(struct dbt_cpu *cpu, uint64_t gpa, unsigned bytes, uint64_t entry, uint64_t bits)
{
    if ((entry & bits) == bits)
        return true;
    uint8_t *host = memory_at_writable(cpu->memory, gpa, bytes);
    if (!host) /* in ROM: stays as it is */
        return true;
    bool done;
    if (bytes == 4) {
        uint32_t expected = (uint32_t)entry;
        done = __atomic_compare_exchange_n((uint32_t *)(void *)host, &expected, (uint32_t)(entry | bits), false,
                                           __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    } else {
        done = __atomic_compare_exchange_n((uint64_t *)(void *)host, &entry, entry | bits, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    }
    if (done)
        memory_touched(cpu->memory, gpa, bytes);
    return done;
}

static uint32_t code_of(const struct dbt_cpu *cpu, enum tlb_class class, enum mmu_access access, uint32_t why)
{
    bool tells_fetch = cpu->cr4 & CPU_CR4_SMEP || (cpu->cr4 & CPU_CR4_PAE && cpu->efer & CPU_EFER_NX);
    return why | (access == MMU_WRITE ? FAULT_PAGE_W : 0) | (class == TLB_USER ? FAULT_PAGE_U : 0) |
           (access == MMU_FETCH && tells_fetch ? FAULT_PAGE_I : 0);
}

static bool allowed(const struct dbt_cpu *cpu, enum tlb_class class, enum mmu_access access, unsigned options,
                    const struct rights *r)
{
    if (access == MMU_FETCH && !r->executable)
        return false;
    if (class == TLB_USER)
        return r->user && (access != MMU_WRITE || r->writable);
    if (r->user && access == MMU_FETCH)
        return !(cpu->cr4 & CPU_CR4_SMEP);
    if (r->user && cpu->cr4 & CPU_CR4_SMAP && (options & WALK_IMPLICIT || !(cpu->rflags & CPU_AC)))
        return false;
    return access != MMU_WRITE || r->writable || !(cpu->cr0 & CPU_CR0_WP);
}

static void take_rights(const struct dbt_cpu *cpu, struct rights *r, uint64_t entry)
{
    r->user = r->user && entry & ENTRY_U;
    r->writable = r->writable && entry & ENTRY_W;
    r->executable = r->executable && !(cpu->efer & CPU_EFER_NX && entry & entry_nx);
}

/* Of an entry of 8 bytes; large_bits: address bits that a page of this size does not have. */
static bool reserved(const struct dbt_cpu *cpu, uint64_t entry, unsigned level, bool large)
{
    uint64_t bad = address_bits & ~cpu->physical_mask;
    if (!(cpu->efer & CPU_EFER_NX))
        bad |= entry_nx;
    if (!(cpu->efer & CPU_EFER_LMA))
        bad |= 0x7ff0000000000000ull;
    if (large)
        bad |= level == 1 ? 0x1fe000 : 0x3fffe000; /* 12 is PAT */
    if (level == 3)
        bad |= ENTRY_PS;
    return entry & bad;
}

static bool is_large(const struct dbt_cpu *cpu, uint64_t entry, unsigned level)
{
    if (!(entry & ENTRY_PS) || !level)
        return false;
    return level == 1 || (level == 2 && cpu->efer & CPU_EFER_LMA);
}

/* The last entry is found: checks the rights, sets A and D. 0, -EFAULT, AGAIN. */
static int finish(struct dbt_cpu *cpu, enum tlb_class class, enum mmu_access access, unsigned options,
                  const struct level *at, unsigned bytes, const struct rights *r, struct walk *walk, uint32_t *code)
{
    if (!allowed(cpu, class, access, options, r)) {
        *code = code_of(cpu, class, access, FAULT_PAGE_P);
        return -EFAULT;
    }
    if (!set_bits(cpu, at->gpa, bytes, at->entry, ENTRY_A | (access == MMU_WRITE ? ENTRY_D : 0)))
        return AGAIN;
    walk->user = r->user;
    walk->writable = r->writable;
    walk->executable = r->executable;
    walk->global = at->entry & ENTRY_G && cpu->cr4 & CPU_CR4_PGE;
    walk->dirty = at->entry & ENTRY_D || access == MMU_WRITE;
    return 0;
}

/* PAE and long mode: 3 or 4 levels of 512 entries; the third of PAE has 4 entries without rights. */
static int walk_wide(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, enum mmu_access access,
                     unsigned options, struct walk *walk, uint32_t *code)
{
    bool lma = cpu->efer & CPU_EFER_LMA;
    struct rights r = {true, true, true};
    uint64_t table = lma ? cpu->cr3 & address_bits : cpu->cr3 & 0xffffffe0u;
    for (unsigned level = lma ? 3 : 2;; level--) {
        unsigned shift = 12 + 9 * level;
        bool pae_top = !lma && level == 2;
        struct level at = {.gpa = table + 8 * (linear >> shift & (pae_top ? 3 : 511))};
        at.entry = load_entry(cpu, at.gpa, 8);
        bool large = is_large(cpu, at.entry, level);
        if (!(at.entry & ENTRY_P)) {
            *code = code_of(cpu, class, access, 0);
            return -EFAULT;
        }
        if (pae_top ? at.entry & (0x1e6 | (~cpu->physical_mask & ~0xfffull)) : reserved(cpu, at.entry, level, large)) {
            *code = code_of(cpu, class, access, FAULT_PAGE_P | FAULT_PAGE_RSVD);
            return -EFAULT;
        }
        if (!pae_top)
            take_rights(cpu, &r, at.entry);
        if (large || !level) {
            uint64_t inside = (1ull << shift) - 1;
            walk->gpa = ((at.entry & address_bits & ~inside) | (linear & inside)) & ~0xfffull;
            walk->large = large;
            return finish(cpu, class, access, options, &at, 8, &r, walk, code);
        }
        if (!pae_top && !set_bits(cpu, at.gpa, 8, at.entry, ENTRY_A))
            return AGAIN;
        table = at.entry & address_bits;
    }
}

static int walk_32(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, enum mmu_access access, unsigned options,
                   struct walk *walk, uint32_t *code)
{
    struct rights r = {true, true, true};
    struct level at = {.gpa = (cpu->cr3 & 0xfffff000u) + 4 * (linear >> 22 & 1023)};
    at.entry = load_entry(cpu, at.gpa, 4) & 0xffffffffu;
    bool large = at.entry & ENTRY_PS && cpu->cr4 & CPU_CR4_PSE;
    if (!(at.entry & ENTRY_P)) {
        *code = code_of(cpu, class, access, 0);
        return -EFAULT;
    }
    if (large && at.entry & 0x200000) { /* PSE-36: bits 13 to 20 are address bits 32 to 39 */
        *code = code_of(cpu, class, access, FAULT_PAGE_P | FAULT_PAGE_RSVD);
        return -EFAULT;
    }
    r.user = at.entry & ENTRY_U;
    r.writable = at.entry & ENTRY_W;
    if (large) {
        walk->gpa = ((at.entry & 0xffc00000u) | (at.entry & 0x1fe000) << 19 | (linear & 0x3fffff)) & ~0xfffull;
        walk->large = true;
        return finish(cpu, class, access, options, &at, 4, &r, walk, code);
    }
    if (!set_bits(cpu, at.gpa, 4, at.entry, ENTRY_A))
        return AGAIN;
    at.gpa = (at.entry & 0xfffff000u) + 4 * (linear >> 12 & 1023);
    at.entry = load_entry(cpu, at.gpa, 4) & 0xffffffffu;
    if (!(at.entry & ENTRY_P)) {
        *code = code_of(cpu, class, access, 0);
        return -EFAULT;
    }
    r.user = r.user && at.entry & ENTRY_U;
    r.writable = r.writable && at.entry & ENTRY_W;
    walk->gpa = at.entry & 0xfffff000u;
    walk->large = false;
    return finish(cpu, class, access, options, &at, 4, &r, walk, code);
}

int walk_pages(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, enum mmu_access access, unsigned options,
               struct walk *walk, uint32_t *code)
{
    if (!(cpu->cr0 & cpu_cr0_pg)) {
        *walk = (struct walk){linear & 0xfffff000u, true, true, true, false, false, true};
        return 0;
    }
    int rc;
    do {
        rc = cpu->cr4 & CPU_CR4_PAE ? walk_wide(cpu, class, linear, access, options, walk, code)
                                    : walk_32(cpu, class, linear, access, options, walk, code);
    } while (rc == AGAIN);
    return rc;
}
