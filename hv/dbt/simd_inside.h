/* What the parts of simd.h share. Threads: the vCPU's own. */
#ifndef HV_DBT_SIMD_INSIDE_H
#define HV_DBT_SIMD_INSIDE_H

#include <string.h>

#include "hv/dbt/decode.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/segment.h"
#include "hv/dbt/simd.h"
#include "hv/dbt/simd_table.h"
#include "hv/dbt/simd_thunk.h"

enum simd_component { SIMD_XSTATE_X87 = 1, SIMD_XSTATE_SSE = 2, SIMD_XSTATE_AVX = 4 };
enum simd_area { /* offsets in the XSAVE area */
                 SIMD_FCW = 0,
                 SIMD_FSW = 2,
                 SIMD_FTW = 4,
                 SIMD_FOP = 6,
                 SIMD_FIP = 8,
                 SIMD_FDP = 16,
                 SIMD_MXCSR = 24,
                 SIMD_ST = 32,
                 SIMD_XMM = 160,
};
enum { SIMD_MXCSR_MM = 0x20000 }; /* AMD: legacy operands need no alignment */

static inline uint16_t simd_get16(const uint8_t *area, unsigned offset)
{
    uint16_t value;
    memcpy(&value, area + offset, sizeof(value));
    return value;
}

static inline uint32_t simd_get32(const uint8_t *area, unsigned offset)
{
    uint32_t value;
    memcpy(&value, area + offset, sizeof(value));
    return value;
}

static inline void simd_put16(uint8_t *area, unsigned offset, uint16_t value)
{
    memcpy(area + offset, &value, sizeof(value));
}

static inline void simd_put32(uint8_t *area, unsigned offset, uint32_t value)
{
    memcpy(area + offset, &value, sizeof(value));
}

static inline void simd_put64(uint8_t *area, unsigned offset, uint64_t value)
{
    memcpy(area + offset, &value, sizeof(value));
}

/* Gives components that XSTATE_BV says are initial their initial bytes. */
void simd_settle(struct dbt_cpu *cpu, unsigned components);

/* These are about to be read or written: their bytes count, and they are initial no longer. */
static inline void simd_touch(struct dbt_cpu *cpu, unsigned components)
{
    unsigned initial = components & ~(unsigned)cpu->xsave[CPU_XSAVE_HEADER];
    if (__builtin_expect(initial, 0))
        simd_settle(cpu, initial);
}

/* An exception is pending that is not masked. */
static inline bool simd_x87_pending(const uint8_t *area)
{
    return simd_get16(area, SIMD_FSW) & ~simd_get16(area, SIMD_FCW) & 0x3f;
}

/* The offset of the memory operand in its segment. */
static inline uint64_t simd_offset(const struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t offset = (uint64_t)(int64_t)insn->displacement;
    if (insn->base != INSN_NO_REGISTER)
        offset += cpu->gpr[insn->base];
    if (insn->index != INSN_NO_REGISTER)
        offset += cpu->gpr[insn->index] << insn->scale;
    if (insn->rip_relative)
        offset += cpu->rip + insn->length;
    return insn->address_bytes == 8 ? offset : insn->address_bytes == 4 ? (uint32_t)offset : (uint16_t)offset;
}

static inline uint64_t simd_linear(struct dbt_cpu *cpu, const struct insn *insn, unsigned bytes, bool write)
{
    return segment_linear(cpu, (enum cpu_seg)insn->segment, simd_offset(cpu, insn), bytes, write);
}

/* The instruction's memory operand, into the frame. */
static inline void simd_load(struct dbt_cpu *cpu, uint64_t linear, uint8_t *to, unsigned bytes)
{
    const struct tlb_entry *e = mmu_entry(cpu, linear);
    if (__builtin_expect(!tlb_hit(&e->read, linear, bytes), 0)) {
        mmu_load_bytes(cpu, linear, to, bytes);
        return;
    }
    const void *host = tlb_host(e, linear);
    switch (bytes) {
    case 4:
        memcpy(to, host, 4);
        break;
    case 8:
        memcpy(to, host, 8);
        break;
    case 16:
        memcpy(to, host, 16);
        break;
    default:
        memcpy(to, host, bytes);
    }
}

/* simd_masked.c: moves under a mask, gathers, VZEROUPPER. What a lane does not take part in is not touched, so its
 * faults do not count. */
void simd_masked_execute(struct dbt_cpu *cpu, const struct insn *insn, const struct simd_op *op);
/* VGATHER with operands that must differ. */
bool simd_masked_undefined(const struct insn *insn);

/* simd_x87.c */
enum simd_result simd_x87_execute(struct dbt_cpu *cpu, const struct insn *insn);

#endif
