/* See control.h. */
#include "hv/dbt/control.h"

#include "hv/dbt/fault.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/segment.h"
#include "hv/dbt/vm.h"

enum { PCID = 0xfff, PDPTE_COUNT = 4, PDPTE_RESERVED = 0x1e6, XCR0_X87 = 1, XCR0_SSE = 2, XCR0_AVX = 4 };
static const uint64_t cr0_known = CPU_CR0_PE | CPU_CR0_MP | CPU_CR0_EM | CPU_CR0_TS | CPU_CR0_ET | CPU_CR0_NE |
                                  CPU_CR0_WP | CPU_CR0_AM | CPU_CR0_NW | CPU_CR0_CD | 0x80000000u;
static const uint64_t no_flush = 1ull << 63;

/* PAE outside long mode: a bad one of the four top entries is found when they are loaded. */
static void check_pdptes(struct dbt_cpu *cpu, uint64_t cr3)
{
    for (unsigned i = 0; i < PDPTE_COUNT; i++) {
        uint64_t gpa = (cr3 & 0xffffffe0u) + 8 * i, entry = ~0ull;
        memory_read(cpu->memory, gpa, &entry, 8);
        if (entry & 1 && entry & (PDPTE_RESERVED | (~cpu->physical_mask & ~0xfffull)))
            fault_gp(cpu);
    }
}

static void enter_long(struct dbt_cpu *cpu)
{
    const struct cpu_segment *tr = &cpu->seg[CPU_TR];
    if (!(cpu->cr4 & CPU_CR4_PAE) || cpu->seg[CPU_CS].attributes & CPU_SEG_L ||
        (tr->attributes & CPU_SEG_P && (segment_system_type(tr) & ~2u) == SEGMENT_TSS16))
        fault_gp(cpu);
    cpu->efer |= CPU_EFER_LMA;
}

void control_set_cr0(struct dbt_cpu *cpu, uint64_t value)
{
    uint64_t old = cpu->cr0;
    if (value >> 32)
        fault_gp(cpu);
    value = (value & cr0_known) | CPU_CR0_ET;
    bool paging = value & cpu_cr0_pg, was_paging = old & cpu_cr0_pg;
    if ((paging && !(value & CPU_CR0_PE)) || (value & CPU_CR0_NW && !(value & CPU_CR0_CD)))
        fault_gp(cpu);
    if (paging && !was_paging) {
        if (cpu->efer & CPU_EFER_LME)
            enter_long(cpu);
        else if (cpu->cr4 & CPU_CR4_PAE)
            check_pdptes(cpu, cpu->cr3);
    } else if (!paging && was_paging) {
        if (cpu->cr4 & CPU_CR4_PCIDE || cpu->code_bytes == 8)
            fault_gp(cpu);
        cpu->efer &= ~(uint64_t)CPU_EFER_LMA;
    }
    cpu->cr0 = value;
    if ((old ^ value) & (cpu_cr0_pg | CPU_CR0_WP | CPU_CR0_PE))
        tlb_flush(&cpu->tlb);
    cpu_mode_changed(cpu);
}

void control_set_cr3(struct dbt_cpu *cpu, uint64_t value)
{
    if (cpu_long(cpu)) {
        if (cpu->cr4 & CPU_CR4_PCIDE)
            value &= ~no_flush; /* a flush more does no harm */
        if (value & ~cpu->physical_mask & ~0xfffull)
            fault_gp(cpu);
    } else {
        value &= 0xffffffffu;
        if (cpu->cr4 & CPU_CR4_PAE && cpu->cr0 & cpu_cr0_pg)
            check_pdptes(cpu, value);
    }
    cpu->cr3 = value;
    tlb_flush_local(&cpu->tlb);
}

void control_set_cr4(struct dbt_cpu *cpu, uint64_t value)
{
    uint64_t old = cpu->cr4, changed = old ^ value;
    if (value & ~cpu->vm->cr4_known)
        fault_gp(cpu);
    if (cpu_long(cpu) && !(value & CPU_CR4_PAE))
        fault_gp(cpu);
    if (value & ~old & CPU_CR4_PCIDE && (!cpu_long(cpu) || cpu->cr3 & PCID))
        fault_gp(cpu);
    if (changed & CPU_CR4_PAE && value & CPU_CR4_PAE && cpu->cr0 & cpu_cr0_pg && !cpu_long(cpu))
        check_pdptes(cpu, cpu->cr3);
    cpu->cr4 = value;
    if (changed & (CPU_CR4_PGE | CPU_CR4_PAE | CPU_CR4_PSE | CPU_CR4_SMEP | CPU_CR4_SMAP | CPU_CR4_PCIDE))
        tlb_flush(&cpu->tlb);
}

void control_set_efer(struct dbt_cpu *cpu, uint64_t value)
{
    if (value & ~cpu->vm->efer_known || ((value ^ cpu->efer) & CPU_EFER_LME && cpu->cr0 & cpu_cr0_pg))
        fault_gp(cpu);
    uint64_t changed = value ^ cpu->efer;
    cpu->efer = (value & ~(uint64_t)CPU_EFER_LMA) | (cpu->efer & CPU_EFER_LMA);
    if (changed & CPU_EFER_NX)
        tlb_flush(&cpu->tlb);
}

void control_set_xcr0(struct dbt_cpu *cpu, uint64_t value)
{
    if (value & ~cpu->vm->vm.model.xcr0 || !(value & XCR0_X87) || (value & XCR0_AVX && !(value & XCR0_SSE)))
        fault_gp(cpu);
    cpu->xcr0 = value;
}
