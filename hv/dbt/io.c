/* See io.h. */
#include "hv/dbt/io.h"

#include "hv/dbt/fault.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/segment.h"

enum { BITMAP_OFFSET = 102, TSS32_BYTES = 104 };

void io_check(struct dbt_cpu *cpu, uint16_t port, unsigned bytes)
{
    const struct cpu_segment *tr = &cpu->seg[CPU_TR];
    bool v86 = cpu->rflags & CPU_VM;
    if (!(cpu->cr0 & CPU_CR0_PE) || (!v86 && cpu->cpl <= (cpu->rflags & CPU_IOPL) >> 12))
        return;
    if (!(tr->attributes & CPU_SEG_P) || (segment_system_type(tr) & ~2u) != SEGMENT_TSS32 ||
        tr->limit < TSS32_BYTES - 1)
        fault_gp(cpu);
    uint32_t at = (uint32_t)mmu_load_system(cpu, tr->base + BITMAP_OFFSET, 2) + port / 8;
    if (at + 1 > tr->limit) /* two bytes are read, whatever the ports */
        fault_gp(cpu);
    uint64_t bits = mmu_load_system(cpu, tr->base + at, 2) >> (port & 7);
    if (bits & ((1u << bytes) - 1))
        fault_gp(cpu);
}
