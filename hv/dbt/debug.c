/* See debug.h. */
#include "hv/dbt/debug.h"

#include "hv/dbt/cpu.h"
#include "hv/dbt/debugger.h"

enum { COUNT = 4, KIND_CODE = 0, KIND_WRITE = 1, KIND_IO = 2, KIND_ACCESS = 3 };

static bool enabled(const struct dbt_cpu *cpu, unsigned i)
{
    return cpu->dr7 >> 2 * i & 3;
}

static unsigned kind(const struct dbt_cpu *cpu, unsigned i)
{
    return cpu->dr7 >> (16 + 4 * i) & 3;
}

static unsigned length(const struct dbt_cpu *cpu, unsigned i)
{
    static const uint8_t lengths[] = {1, 2, 8, 4};
    return lengths[cpu->dr7 >> (18 + 4 * i) & 3];
}

static bool overlaps(const struct dbt_cpu *cpu, unsigned i, uint64_t at, unsigned bytes)
{
    uint64_t from = cpu->dr[i] & ~(uint64_t)(length(cpu, i) - 1);
    return at < from + length(cpu, i) && from < at + bytes;
}

void debug_changed(struct dbt_cpu *cpu)
{
    bool before = cpu->debug_data;
    cpu->debug_data = debugger_has_data(cpu);
    for (unsigned i = 0; i < COUNT; i++)
        if (enabled(cpu, i) && kind(cpu, i) & 1)
            cpu->debug_data = true;
    if (before || cpu->debug_data)
        tlb_flush(&cpu->tlb);
}

bool debug_watches_page(const struct dbt_cpu *cpu, uint64_t page)
{
    for (unsigned i = 0; i < COUNT; i++)
        if (enabled(cpu, i) && kind(cpu, i) & 1 && overlaps(cpu, i, page, 4096))
            return true;
    return debugger_watches(cpu, page, 4096);
}

void debug_check_data(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, bool write)
{
    for (unsigned i = 0; i < COUNT; i++)
        if ((kind(cpu, i) == KIND_ACCESS || (kind(cpu, i) == KIND_WRITE && write)) && overlaps(cpu, i, linear, bytes) &&
            enabled(cpu, i))
            cpu->debug_hits |= DEBUG_DR6_B0 << i;
    debugger_check_data(cpu, linear, bytes, write);
}

void debug_check_io(struct dbt_cpu *cpu, uint16_t port, unsigned bytes)
{
    if (!(cpu->cr4 & CPU_CR4_DE))
        return;
    for (unsigned i = 0; i < COUNT; i++)
        if (enabled(cpu, i) && kind(cpu, i) == KIND_IO && overlaps(cpu, i, port, bytes))
            cpu->debug_hits |= DEBUG_DR6_B0 << i;
}

uint32_t debug_check_code(const struct dbt_cpu *cpu, uint64_t linear)
{
    uint32_t hits = 0;
    for (unsigned i = 0; i < COUNT; i++)
        if (enabled(cpu, i) && kind(cpu, i) == KIND_CODE && cpu->dr[i] == linear)
            hits |= DEBUG_DR6_B0 << i;
    return hits;
}
