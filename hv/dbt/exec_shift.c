/* Shifts and rotates, by an immediate or CL; double shifts. A count of zero changes no flag. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/flags.h"

#define SHIFT(op, bits)                                                                                                \
    static void op##bits##_r(struct dbt_cpu *cpu, const struct insn *insn)                                             \
    {                                                                                                                  \
        uint8_t count = insn->form == INSN_FORM_EI ? (uint8_t)insn->immediate : (uint8_t)cpu->gpr[CPU_RCX];            \
        exec_put##bits(cpu, insn, insn->rm,                                                                            \
                       flags_##op##bits(&cpu->rflags, exec_get##bits(cpu, insn, insn->rm), count));                    \
    }                                                                                                                  \
    static void op##bits##_m(struct dbt_cpu *cpu, const struct insn *insn)                                             \
    {                                                                                                                  \
        uint8_t count = insn->form == INSN_FORM_EI ? (uint8_t)insn->immediate : (uint8_t)cpu->gpr[CPU_RCX];            \
        uint64_t at = exec_linear(cpu, insn, bits / 8, true), flags = cpu->rflags;                                     \
        uint##bits##_t result = flags_##op##bits(&flags, mmu_modify##bits(cpu, at), count);                            \
        mmu_store##bits(cpu, at, result);                                                                              \
        cpu->rflags = flags;                                                                                           \
    }
#define SHIFT_ALL(op) SHIFT(op, 8) SHIFT(op, 16) SHIFT(op, 32) SHIFT(op, 64)
SHIFT_ALL(rol)
SHIFT_ALL(ror)
SHIFT_ALL(rcl)
SHIFT_ALL(rcr)
SHIFT_ALL(shl)
SHIFT_ALL(shr)
SHIFT_ALL(sar)

#define ROW(op)                                                                                                        \
    {                                                                                                                  \
        {op##8_r, op##8_m}, {op##16_r, op##16_m}, {op##32_r, op##32_m},                                                \
        {                                                                                                              \
            op##64_r, op##64_m                                                                                         \
        }                                                                                                              \
    }
static exec_fn *const shifts[8][4][2] = {ROW(rol), ROW(ror), ROW(rcl), ROW(rcr),
                                         ROW(shl), ROW(shr), ROW(shl), ROW(sar)};

static uint64_t shift_double(const struct insn *insn, uint64_t *flags, uint64_t a, uint64_t b, uint8_t count)
{
    bool left = insn->kind == INSN_SHLD;
    switch (insn->bytes) {
    case 2:
        return left ? flags_shld16(flags, (uint16_t)a, (uint16_t)b, count)
                    : flags_shrd16(flags, (uint16_t)a, (uint16_t)b, count);
    case 4:
        return left ? flags_shld32(flags, (uint32_t)a, (uint32_t)b, count)
                    : flags_shrd32(flags, (uint32_t)a, (uint32_t)b, count);
    default:
        return left ? flags_shld64(flags, a, b, count) : flags_shrd64(flags, a, b, count);
    }
}

static void double_shift(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint8_t count = insn->form == INSN_FORM_EGI ? (uint8_t)insn->immediate : (uint8_t)cpu->gpr[CPU_RCX];
    uint64_t flags = cpu->rflags, b = cpu->gpr[insn->reg];
    if (insn->memory) {
        uint64_t at = exec_linear(cpu, insn, insn->bytes, true);
        uint64_t a = insn->bytes == 2   ? mmu_modify16(cpu, at)
                     : insn->bytes == 4 ? mmu_modify32(cpu, at)
                                        : mmu_modify64(cpu, at);
        exec_store(cpu, at, insn->bytes, shift_double(insn, &flags, a, b, count));
    } else {
        exec_put(cpu, insn, insn->rm, insn->bytes, shift_double(insn, &flags, cpu->gpr[insn->rm], b, count));
    }
    cpu->rflags = flags;
}

exec_fn *exec_shift_bind(const struct insn *insn)
{
    if (insn->kind >= INSN_ROL && insn->kind <= INSN_SAR)
        return shifts[insn->kind - INSN_ROL][exec_size(insn)][insn->memory];
    if (insn->kind == INSN_SHLD || insn->kind == INSN_SHRD)
        return double_shift;
    return NULL;
}
