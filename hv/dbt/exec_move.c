/* Moves and what needs no flags: MOV, MOVZX, MOVSX, LEA, XCHG of registers, CMOVcc, SETcc, BSWAP, CBW, XLAT, NOP; flag
 * bits by themselves. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/flags.h"

#define MOVE(bits)                                                                                                     \
    static void mov##bits##_rr(struct dbt_cpu *cpu, const struct insn *insn)                                           \
    {                                                                                                                  \
        bool to_reg = insn->form == INSN_FORM_GE;                                                                      \
        exec_put##bits(cpu, insn, to_reg ? insn->reg : insn->rm,                                                       \
                       exec_get##bits(cpu, insn, to_reg ? insn->rm : insn->reg));                                      \
    }                                                                                                                  \
    static void mov##bits##_rm(struct dbt_cpu *cpu, const struct insn *insn)                                           \
    {                                                                                                                  \
        exec_put##bits(cpu, insn, insn->reg, mmu_load##bits(cpu, exec_linear(cpu, insn, bits / 8, false)));            \
    }                                                                                                                  \
    static void mov##bits##_mr(struct dbt_cpu *cpu, const struct insn *insn)                                           \
    {                                                                                                                  \
        mmu_store##bits(cpu, exec_linear(cpu, insn, bits / 8, true), exec_get##bits(cpu, insn, insn->reg));            \
    }                                                                                                                  \
    static void mov##bits##_ri(struct dbt_cpu *cpu, const struct insn *insn)                                           \
    {                                                                                                                  \
        exec_put##bits(cpu, insn, insn->rm, (uint##bits##_t)insn->immediate);                                          \
    }                                                                                                                  \
    static void mov##bits##_mi(struct dbt_cpu *cpu, const struct insn *insn)                                           \
    {                                                                                                                  \
        mmu_store##bits(cpu, exec_linear(cpu, insn, bits / 8, true), (uint##bits##_t)insn->immediate);                 \
    }                                                                                                                  \
    static void mov##bits##_offset(struct dbt_cpu *cpu, const struct insn *insn)                                       \
    {                                                                                                                  \
        bool store = insn->opcode & 2;                                                                                 \
        uint64_t at = segment_linear(cpu, insn->segment, insn->immediate, bits / 8, store);                            \
        if (store)                                                                                                     \
            mmu_store##bits(cpu, at, (uint##bits##_t)cpu->gpr[CPU_RAX]);                                               \
        else                                                                                                           \
            exec_put##bits(cpu, &accumulator, CPU_RAX, mmu_load##bits(cpu, at));                                       \
    }
static const struct insn accumulator; /* AL is AL with and without REX */
MOVE(8)
MOVE(16)
MOVE(32)
MOVE(64)

enum { FORM_RR, FORM_RM, FORM_MR, FORM_RI, FORM_MI, FORM_OFFSET, FORM_COUNT };
#define ROW(bits)                                                                                                      \
    {                                                                                                                  \
        mov##bits##_rr, mov##bits##_rm, mov##bits##_mr, mov##bits##_ri, mov##bits##_mi, mov##bits##_offset             \
    }
static exec_fn *const moves[4][FORM_COUNT] = {ROW(8), ROW(16), ROW(32), ROW(64)};

static unsigned form_of(const struct insn *insn)
{
    if (insn->form == INSN_FORM_OFFSET)
        return FORM_OFFSET;
    if (insn->form == INSN_FORM_EI)
        return insn->memory ? FORM_MI : FORM_RI;
    if (!insn->memory)
        return FORM_RR;
    return insn->form == INSN_FORM_GE ? FORM_RM : FORM_MR;
}

/* ---- widening ---- */

#define WIDEN(name, from, type)                                                                                        \
    static void name(struct dbt_cpu *cpu, const struct insn *insn)                                                     \
    {                                                                                                                  \
        type value = (type)(insn->memory ? mmu_load##from(cpu, exec_linear(cpu, insn, from / 8, false))                \
                                         : exec_get##from(cpu, insn, insn->rm));                                       \
        exec_put(cpu, insn, insn->reg, insn->bytes, (uint64_t)value);                                                  \
    }
WIDEN(movzx8, 8, uint8_t)
WIDEN(movzx16, 16, uint16_t)
WIDEN(movsx8, 8, int8_t)
WIDEN(movsx16, 16, int16_t)
WIDEN(movsxd, 32, int32_t)

static void lea(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_put(cpu, insn, insn->reg, insn->bytes, exec_offset(cpu, insn));
}

static void lea64(struct dbt_cpu *cpu, const struct insn *insn)
{
    cpu->gpr[insn->reg] = exec_offset(cpu, insn);
}

static void xchg_reg(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t a = exec_get(cpu, insn, insn->rm, insn->bytes), b = exec_get(cpu, insn, insn->reg, insn->bytes);
    exec_put(cpu, insn, insn->rm, insn->bytes, b);
    exec_put(cpu, insn, insn->reg, insn->bytes, a);
}

static void cmov(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t value = exec_get_e(cpu, insn, insn->bytes);
    if (flags_condition(cpu->rflags, insn->opcode))
        exec_put(cpu, insn, insn->reg, insn->bytes, value);
    else if (insn->bytes == 4)
        cpu->gpr[insn->reg] = (uint32_t)cpu->gpr[insn->reg];
}

static void setcc(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_put_e(cpu, insn, 1, flags_condition(cpu->rflags, insn->opcode));
}

static void bswap(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t *reg = &cpu->gpr[insn->rm];
    if (insn->bytes == 8)
        *reg = __builtin_bswap64(*reg);
    else if (insn->bytes == 4)
        *reg = __builtin_bswap32((uint32_t)*reg);
    else
        exec_put16(cpu, insn, insn->rm, 0); /* undefined: what processors do */
}

static void cbw(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t rax = cpu->gpr[CPU_RAX];
    int64_t value = insn->bytes == 2 ? (int8_t)rax : insn->bytes == 4 ? (int16_t)rax : (int32_t)rax;
    exec_put(cpu, insn, CPU_RAX, insn->bytes, (uint64_t)value);
}

static void cwd(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t sign = cpu->gpr[CPU_RAX] >> (8 * insn->bytes - 1) & 1;
    exec_put(cpu, insn, CPU_RDX, insn->bytes, 0 - sign);
}

static void xlat(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t offset = (cpu->gpr[CPU_RBX] + (uint8_t)cpu->gpr[CPU_RAX]) & exec_address_mask(insn);
    exec_put8(cpu, insn, CPU_RAX, mmu_load8(cpu, segment_linear(cpu, insn->segment, offset, 1, false)));
}

static void nop(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)cpu;
    (void)insn;
}

static void pause_hint(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)cpu;
    (void)insn;
    __builtin_ia32_pause();
}

/* ---- flags ---- */

static void sahf(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)insn;
    uint64_t mask = CPU_SF | CPU_ZF | CPU_AF | CPU_PF | CPU_CF;
    cpu->rflags = (cpu->rflags & ~mask) | (cpu->gpr[CPU_RAX] >> 8 & mask);
}

static void lahf(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)insn;
    uint64_t mask = CPU_SF | CPU_ZF | CPU_AF | CPU_PF | CPU_CF;
    ((uint8_t *)&cpu->gpr[CPU_RAX])[1] = (uint8_t)((cpu->rflags & mask) | 2);
}

static void flag_bit(struct dbt_cpu *cpu, const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_CMC:
        cpu->rflags ^= CPU_CF;
        break;
    case INSN_CLC:
        cpu->rflags &= ~(uint64_t)CPU_CF;
        break;
    case INSN_STC:
        cpu->rflags |= CPU_CF;
        break;
    case INSN_CLD:
        cpu->rflags &= ~(uint64_t)CPU_DF;
        break;
    case INSN_STD:
        cpu->rflags |= CPU_DF;
        break;
    }
}

exec_fn *exec_move_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_MOV:
        return moves[exec_size(insn)][form_of(insn)];
    case INSN_XCHG:
        return insn->memory ? NULL : xchg_reg;
    case INSN_LEA:
        return insn->bytes == 8 && insn->address_bytes == 8 ? lea64 : lea;
    case INSN_MOVZX8:
        return movzx8;
    case INSN_MOVZX16:
        return movzx16;
    case INSN_MOVSX8:
        return movsx8;
    case INSN_MOVSX16:
        return movsx16;
    case INSN_MOVSXD:
        return insn->bytes == 2 ? moves[1][form_of(insn)] : movsxd; /* 16 bits are only moved */
    case INSN_CBW:
        return cbw;
    case INSN_CWD:
        return cwd;
    case INSN_BSWAP:
        return bswap;
    case INSN_CMOV:
        return cmov;
    case INSN_SETCC:
        return setcc;
    case INSN_XLAT:
        return xlat;
    case INSN_NOP:
        return nop;
    case INSN_PAUSE:
        return pause_hint;
    case INSN_SAHF:
        return sahf;
    case INSN_LAHF:
        return lahf;
    case INSN_CMC ... INSN_STD:
        return flag_bit;
    default:
        return NULL;
    }
}
