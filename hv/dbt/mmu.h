/* Memory as instructions see it: linear addresses, with the rights of the running CPL.
 *
 * Fast path inline through the TLB, slow path for everything else: page walk with A and D bits (set atomically), page
 * faults with the architecture's error codes, devices (LAPIC page, bus), stores to pages with decoded code (they drop
 * it before the next instruction), accesses that cross a page (both pages are checked before a byte is written).
 * Raises (fault.h) #PF, and #GP(0) for an address that is not canonical; who must say #SS for it checks first
 * (segment.h).
 *
 * Plain accesses of a natural size and alignment are single host accesses, so vCPUs see each other's stores as
 * processors do. Locked ones: mmu_locked().
 *
 * Source: Intel SDM vol. 3 ch. 4. Threads: the vCPU's own. */
#ifndef HV_DBT_MMU_H
#define HV_DBT_MMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hv/dbt/cpu.h"
#include "hv/dbt/tlb.h"

enum mmu_access { MMU_READ, MMU_WRITE, MMU_FETCH };

/* ---- slow paths; class says whose rights count ---- */
uint64_t mmu_load_slow(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, unsigned bytes);
void mmu_store_slow(struct dbt_cpu *cpu, enum tlb_class class, uint64_t linear, unsigned bytes, uint64_t value);

/* As mmu_load_slow(), but raises what a store would. */
uint64_t mmu_load_locked(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes);

static inline enum tlb_class mmu_class(const struct dbt_cpu *cpu)
{
    return cpu->cpl == 3 ? TLB_USER : TLB_KERNEL;
}

/* Guest memory may be changed by others meanwhile and is aligned as the guest likes: one volatile access each. */
typedef uint16_t mmu_u16 __attribute__((aligned(1), may_alias));
typedef uint32_t mmu_u32 __attribute__((aligned(1), may_alias));
typedef uint64_t mmu_u64 __attribute__((aligned(1), may_alias));

static inline struct tlb_entry *mmu_entry(const struct dbt_cpu *cpu, uint64_t linear)
{
    return &cpu->tlb_now[(linear >> 12 & (TLB_ENTRIES - 1)) * TLB_CLASSES];
}

#define MMU_ACCESSORS(bits, type, wide)                                                                                \
    static inline wide mmu_load##bits(struct dbt_cpu *cpu, uint64_t linear)                                            \
    {                                                                                                                  \
        const struct tlb_entry *e = mmu_entry(cpu, linear);                                                            \
        if (__builtin_expect(tlb_hit(&e->read, linear, sizeof(wide)), 1))                                              \
            return *(const volatile type *)tlb_host(e, linear);                                                        \
        return (wide)mmu_load_slow(cpu, mmu_class(cpu), linear, sizeof(wide));                                         \
    }                                                                                                                  \
    static inline void mmu_store##bits(struct dbt_cpu *cpu, uint64_t linear, wide value)                               \
    {                                                                                                                  \
        const struct tlb_entry *e = mmu_entry(cpu, linear);                                                            \
        if (__builtin_expect(tlb_hit(&e->write, linear, sizeof(wide)), 1))                                             \
            *(volatile type *)tlb_host(e, linear) = value;                                                             \
        else                                                                                                           \
            mmu_store_slow(cpu, mmu_class(cpu), linear, sizeof(wide), value);                                          \
    }                                                                                                                  \
    static inline wide mmu_modify##bits(struct dbt_cpu *cpu, uint64_t linear)                                          \
    {                                                                                                                  \
        const struct tlb_entry *e = mmu_entry(cpu, linear);                                                            \
        if (__builtin_expect(tlb_hit(&e->write, linear, sizeof(wide)), 1))                                             \
            return *(const volatile type *)tlb_host(e, linear);                                                        \
        return (wide)mmu_load_locked(cpu, linear, sizeof(wide));                                                       \
    }
/* mmu_modify: the load of a read-modify-write that is not locked: raises what the store would. */
MMU_ACCESSORS(8, uint8_t, uint8_t)
MMU_ACCESSORS(16, mmu_u16, uint16_t)
MMU_ACCESSORS(32, mmu_u32, uint32_t)
MMU_ACCESSORS(64, mmu_u64, uint64_t)

/* Any number of bytes up to a page; for wide operands and tables. A store checks all of it before it writes. */
void mmu_load_bytes(struct dbt_cpu *cpu, uint64_t linear, void *to, size_t bytes);
void mmu_store_bytes(struct dbt_cpu *cpu, uint64_t linear, const void *from, size_t bytes);
/* Raises what a store there would raise: for instructions that write several places. */
void mmu_check_store(struct dbt_cpu *cpu, uint64_t linear, size_t bytes);

/* The processor's own accesses to GDT, IDT, LDT and TSS: with the kernel's rights, whatever the CPL; 1 to 8 bytes. */
uint64_t mmu_load_system(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes);
void mmu_store_system(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, uint64_t value);

/* Where `bytes` at linear are in host memory, if it is plain RAM, allowed, and in one page; else NULL (raises what is
 * to be raised). For string instructions and such: valid until the next access. */
uint8_t *mmu_host(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, enum mmu_access access);

/* A locked read-modify-write of 1, 2, 4, 8 bytes: compare and swap in memory, true if *expected was there; otherwise
 * *expected is what is there. The first load comes from mmu_load_locked(). Atomic between vCPUs; where it crosses a
 * page only against others that do, under one lock of the machine. */
bool mmu_swap_locked(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, uint64_t *expected, uint64_t desired);
/* The same, where a false is followed by another try with what is there: a register of a device may never be twice the
 * same, so there desired, which was made of what was read first, is written whatever it reads now. */
bool mmu_update_locked(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, uint64_t *expected, uint64_t desired);
/* CMPXCHG16B; linear is a multiple of 16. */
bool mmu_swap16_locked(struct dbt_cpu *cpu, uint64_t linear, uint64_t expected[2], const uint64_t desired[2]);

/* Code at linear. mmu_fetch_host: where the byte is in host memory, or NULL where it is neither RAM nor ROM; raises.
 * The rest of its page follows. mmu_fetch: the same as a byte, from wherever. */
const uint8_t *mmu_fetch_host(struct dbt_cpu *cpu, uint64_t linear);
uint8_t mmu_fetch(struct dbt_cpu *cpu, uint64_t linear);

/* The guest physical address of a host address inside a slot. */
uint64_t mmu_gpa(const struct dbt_cpu *cpu, const uint8_t *host);

#endif
