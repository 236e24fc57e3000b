/* Decimal and ASCII adjustments, SALC: only outside 64-bit mode, so the host cannot do them for us. Flags that the
 * manual leaves undefined are what the description's own arithmetic gives. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"

static void set_result_flags(struct dbt_cpu *cpu, uint8_t value)
{
    cpu->rflags &= ~(uint64_t)(CPU_SF | CPU_ZF | CPU_PF);
    cpu->rflags |= (value & 0x80 ? CPU_SF : 0) | (value ? 0 : CPU_ZF) | (__builtin_parity(value) ? 0 : CPU_PF);
}

static void daa_das(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint8_t al = (uint8_t)cpu->gpr[CPU_RAX], old = al;
    bool cf = cpu->rflags & CPU_CF, af = cpu->rflags & CPU_AF, subtract = insn->kind == INSN_DAS;
    bool low = (old & 15) > 9 || af, high = old > 0x99 || cf;
    bool carry = high;
    if (low) {
        carry = carry || (subtract && old < 6);
        al = (uint8_t)(subtract ? al - 6 : al + 6);
    }
    if (high)
        al = (uint8_t)(subtract ? al - 0x60 : al + 0x60);
    cpu->rflags &= ~(uint64_t)(CPU_CF | CPU_AF | CPU_OF);
    cpu->rflags |= (carry ? CPU_CF : 0) | (low ? CPU_AF : 0);
    set_result_flags(cpu, al);
    exec_put8(cpu, insn, CPU_RAX, al);
}

static void aaa_aas(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint16_t ax = (uint16_t)cpu->gpr[CPU_RAX];
    bool adjust = (ax & 15) > 9 || cpu->rflags & CPU_AF;
    if (adjust)
        ax = (uint16_t)(insn->kind == INSN_AAA ? ax + 0x106 : ax - 6 - 0x100);
    cpu->rflags &= ~(uint64_t)(CPU_CF | CPU_AF | CPU_OF);
    cpu->rflags |= adjust ? CPU_CF | CPU_AF : 0;
    ax &= 0xff0f;
    set_result_flags(cpu, (uint8_t)ax);
    exec_put16(cpu, insn, CPU_RAX, ax);
}

static void aam(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint8_t by = (uint8_t)insn->immediate, al = (uint8_t)cpu->gpr[CPU_RAX];
    if (!by)
        fault_raise(cpu, FAULT_DE);
    exec_put16(cpu, insn, CPU_RAX, (uint16_t)(al / by << 8 | al % by));
    cpu->rflags &= ~(uint64_t)(CPU_CF | CPU_AF | CPU_OF);
    set_result_flags(cpu, al % by);
}

static void aad(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint16_t ax = (uint16_t)cpu->gpr[CPU_RAX];
    uint8_t al = (uint8_t)((ax & 0xff) + (ax >> 8) * (uint8_t)insn->immediate);
    exec_put16(cpu, insn, CPU_RAX, al);
    cpu->rflags &= ~(uint64_t)(CPU_CF | CPU_AF | CPU_OF);
    set_result_flags(cpu, al);
}

static void salc(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_put8(cpu, insn, CPU_RAX, cpu->rflags & CPU_CF ? 0xff : 0);
}

exec_fn *exec_decimal_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_DAA:
    case INSN_DAS:
        return daa_das;
    case INSN_AAA:
    case INSN_AAS:
        return aaa_aas;
    case INSN_AAM:
        return aam;
    case INSN_AAD:
        return aad;
    case INSN_SALC:
        return salc;
    default:
        return NULL;
    }
}
