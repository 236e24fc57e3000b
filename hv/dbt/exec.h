/* Executing decoded instructions: how a function of the interpreter reaches its operands.
 *
 * An exec function is called with cpu->rip at the instruction. One that ends a run (insn_ends_run) sets rip itself,
 * exec_done() for "the next one"; for the others the loop adds the length. It raises faults before it has written
 * anything.
 *
 * exec_bind() picks the function for an instruction, once, when it is decoded. Threads: the vCPU's own. */
#ifndef HV_DBT_EXEC_H
#define HV_DBT_EXEC_H

#include "hv/dbt/cpu.h"
#include "hv/dbt/decode.h"
#include "hv/dbt/fault.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/segment.h"

typedef void exec_fn(struct dbt_cpu *cpu, const struct insn *insn);
exec_fn *exec_bind(const struct insn *insn);

static inline uint64_t exec_next(const struct dbt_cpu *cpu, const struct insn *insn)
{
    return (cpu->rip + insn->length) & cpu->ip_mask;
}

static inline void exec_done(struct dbt_cpu *cpu, const struct insn *insn)
{
    cpu->rip = exec_next(cpu, insn);
}

/* ---- registers ---- */

static inline uint8_t *exec_byte(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg)
{
    uint8_t *bytes = (uint8_t *)cpu->gpr;
    if (reg >= 4 && reg < 8 && !(insn->prefixes & INSN_REX)) /* AH, CH, DH, BH */
        return bytes + 8 * (reg - 4) + 1;
    return bytes + 8 * reg;
}

static inline uint8_t exec_get8(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg)
{
    return *exec_byte(cpu, insn, reg);
}

static inline uint16_t exec_get16(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg)
{
    (void)insn;
    return (uint16_t)cpu->gpr[reg];
}

static inline uint32_t exec_get32(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg)
{
    (void)insn;
    return (uint32_t)cpu->gpr[reg];
}

static inline uint64_t exec_get64(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg)
{
    (void)insn;
    return cpu->gpr[reg];
}

static inline void exec_put8(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg, uint8_t value)
{
    *exec_byte(cpu, insn, reg) = value;
}

static inline void exec_put16(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg, uint16_t value)
{
    (void)insn;
    *(mmu_u16 *)&cpu->gpr[reg] = value;
}

static inline void exec_put32(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg, uint32_t value)
{
    (void)insn;
    cpu->gpr[reg] = value;
}

static inline void exec_put64(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg, uint64_t value)
{
    (void)insn;
    cpu->gpr[reg] = value;
}

static inline uint64_t exec_get(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return exec_get8(cpu, insn, reg);
    case 2:
        return (uint16_t)cpu->gpr[reg];
    case 4:
        return (uint32_t)cpu->gpr[reg];
    default:
        return cpu->gpr[reg];
    }
}

static inline void exec_put(struct dbt_cpu *cpu, const struct insn *insn, unsigned reg, unsigned bytes, uint64_t value)
{
    switch (bytes) {
    case 1:
        exec_put8(cpu, insn, reg, (uint8_t)value);
        break;
    case 2:
        exec_put16(cpu, insn, reg, (uint16_t)value);
        break;
    case 4:
        cpu->gpr[reg] = (uint32_t)value;
        break;
    default:
        cpu->gpr[reg] = value;
    }
}

/* ---- the memory operand ---- */

static inline uint64_t exec_address_mask(const struct insn *insn)
{
    return insn->address_bytes == 8 ? ~0ull : insn->address_bytes == 4 ? 0xffffffffu : 0xffff;
}

static inline uint64_t exec_offset(const struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t offset = (uint64_t)(int64_t)insn->displacement;
    if (insn->base != INSN_NO_REGISTER)
        offset += cpu->gpr[insn->base];
    if (insn->index != INSN_NO_REGISTER)
        offset += cpu->gpr[insn->index] << insn->scale;
    if (insn->rip_relative)
        offset += cpu->rip + insn->length;
    return insn->address_bytes == 8 ? offset : offset & exec_address_mask(insn);
}

static inline uint64_t exec_linear(struct dbt_cpu *cpu, const struct insn *insn, unsigned bytes, bool write)
{
    return segment_linear(cpu, insn->segment, exec_offset(cpu, insn), bytes, write);
}

static inline uint64_t exec_load(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes)
{
    switch (bytes) {
    case 1:
        return mmu_load8(cpu, linear);
    case 2:
        return mmu_load16(cpu, linear);
    case 4:
        return mmu_load32(cpu, linear);
    default:
        return mmu_load64(cpu, linear);
    }
}

static inline void exec_store(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, uint64_t value)
{
    switch (bytes) {
    case 1:
        mmu_store8(cpu, linear, (uint8_t)value);
        break;
    case 2:
        mmu_store16(cpu, linear, (uint16_t)value);
        break;
    case 4:
        mmu_store32(cpu, linear, (uint32_t)value);
        break;
    default:
        mmu_store64(cpu, linear, value);
    }
}

/* E as a source, E as a destination, for what need not be fast. */
static inline uint64_t exec_get_e(struct dbt_cpu *cpu, const struct insn *insn, unsigned bytes)
{
    if (insn->memory)
        return exec_load(cpu, exec_linear(cpu, insn, bytes, false), bytes);
    return exec_get(cpu, insn, insn->rm, bytes);
}

static inline void exec_put_e(struct dbt_cpu *cpu, const struct insn *insn, unsigned bytes, uint64_t value)
{
    if (insn->memory)
        exec_store(cpu, exec_linear(cpu, insn, bytes, true), bytes, value);
    else
        exec_put(cpu, insn, insn->rm, bytes, value);
}

static inline unsigned exec_size(const struct insn *insn) /* index of tables by operand size */
{
    return insn->bytes == 1 ? 0 : insn->bytes == 2 ? 1 : insn->bytes == 4 ? 2 : 3;
}

static inline void exec_need_cpl0(struct dbt_cpu *cpu)
{
    if (cpu->cpl)
        fault_gp(cpu);
}

#endif
