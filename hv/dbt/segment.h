/* Segments: descriptors, their checks, and from offsets to linear addresses.
 *
 * Source: Intel SDM vol. 3 ch. 3 and 5. Threads: the vCPU's own. */
#ifndef HV_DBT_SEGMENT_H
#define HV_DBT_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/cpu.h"
#include "hv/dbt/fault.h"

enum segment_type { /* of system descriptors */
                    SEGMENT_TSS16 = 1,
                    SEGMENT_LDT = 2,
                    SEGMENT_TSS16_BUSY = 3,
                    SEGMENT_CALL_GATE16 = 4,
                    SEGMENT_TASK_GATE = 5,
                    SEGMENT_INTERRUPT_GATE16 = 6,
                    SEGMENT_TRAP_GATE16 = 7,
                    SEGMENT_TSS32 = 9, /* and 64 */
                    SEGMENT_TSS32_BUSY = 11,
                    SEGMENT_CALL_GATE32 = 12, /* and 64 */
                    SEGMENT_INTERRUPT_GATE32 = 14,
                    SEGMENT_TRAP_GATE32 = 15,
};

enum { SEGMENT_CODE = 8, SEGMENT_CONFORMING = 4, SEGMENT_EXPAND_DOWN = 4, SEGMENT_RW = 2, SEGMENT_ACCESSED = 1 };

static inline bool segment_is_code(const struct cpu_segment *s)
{
    return (s->attributes & (CPU_SEG_S | SEGMENT_CODE)) == (CPU_SEG_S | SEGMENT_CODE);
}

static inline bool segment_is_data(const struct cpu_segment *s)
{
    return (s->attributes & (CPU_SEG_S | SEGMENT_CODE)) == CPU_SEG_S;
}

static inline unsigned segment_dpl(const struct cpu_segment *s)
{
    return (s->attributes & CPU_SEG_DPL) >> CPU_SEG_DPL_SHIFT;
}

static inline unsigned segment_system_type(const struct cpu_segment *s)
{
    return s->attributes & CPU_SEG_TYPE;
}

static inline bool segment_null(uint16_t selector)
{
    return !(selector & ~3u);
}

/* The eight bytes of a descriptor; false if the table does not reach that far. May raise #PF. */
bool segment_read(struct dbt_cpu *cpu, uint16_t selector, uint64_t *raw);
/* The upper eight bytes of a system descriptor in long mode. */
bool segment_read_upper(struct dbt_cpu *cpu, uint16_t selector, uint64_t *raw);
struct cpu_segment segment_unpack(uint16_t selector, uint64_t raw);
/* Changes the descriptor's type in the table: accessed, busy. */
void segment_write_type(struct dbt_cpu *cpu, uint16_t selector, unsigned type);
void segment_set_accessed(struct dbt_cpu *cpu, struct cpu_segment *s);

/* MOV, POP, LxS to ES, SS, DS, FS, GS. Raises. */
void segment_load(struct dbt_cpu *cpu, enum cpu_seg seg, uint16_t selector);
/* What a real-mode or virtual 8086 load does. */
void segment_load_real(struct dbt_cpu *cpu, enum cpu_seg seg, uint16_t selector);
/* The checks of SS for a stack of privilege cpl; vector: FAULT_TS or FAULT_GP. Does not load. */
struct cpu_segment segment_check_stack(struct dbt_cpu *cpu, uint16_t selector, unsigned cpl, enum fault_vector vector);
/* After a return to an outer privilege: data segments that it may not use become null. */
void segment_drop_inner(struct dbt_cpu *cpu);
void segment_set_null(struct cpu_segment *s, uint16_t selector);

void segment_load_ldtr(struct dbt_cpu *cpu, uint16_t selector);
void segment_load_tr(struct dbt_cpu *cpu, uint16_t selector);

/* Outside 64-bit mode: raises unless [offset, offset+bytes) may be read or written. */
void segment_check(struct dbt_cpu *cpu, enum cpu_seg seg, uint32_t offset, unsigned bytes, bool write);

static inline bool segment_canonical(uint64_t linear)
{
    return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

static inline uint64_t segment_linear(struct dbt_cpu *cpu, enum cpu_seg seg, uint64_t offset, unsigned bytes,
                                      bool write)
{
    if (cpu->code_bytes == 8) {
        if (seg >= CPU_FS)
            offset += cpu->seg[seg].base;
        if (__builtin_expect(!segment_canonical(offset), 0))
            fault_raise_code(cpu, seg == CPU_SS ? FAULT_SS : FAULT_GP, 0);
        return offset;
    }
    bool flat = cpu->seg_flat[seg] & (write ? CPU_FLAT_WRITE : CPU_FLAT_READ);
    if (!flat || (uint64_t)(uint32_t)offset + bytes > 1ull << 32) /* 4 GiB are a limit, too */
        segment_check(cpu, seg, (uint32_t)offset, bytes, write);
    return (uint32_t)(cpu->seg[seg].base + offset);
}

/* For operands that must be aligned: #GP for that comes before what else is wrong with the address. */
static inline uint64_t segment_linear_aligned(struct dbt_cpu *cpu, enum cpu_seg seg, uint64_t offset, unsigned bytes,
                                              unsigned alignment, bool write)
{
    uint64_t base = cpu->code_bytes == 8 && seg < CPU_FS ? 0 : cpu->seg[seg].base;
    if ((base + offset) & (alignment - 1))
        fault_raise_code(cpu, FAULT_GP, 0);
    return segment_linear(cpu, seg, offset, bytes, write);
}

#endif
