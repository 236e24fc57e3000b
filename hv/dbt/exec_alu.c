/* ADD to CMP, TEST, NOT, NEG, INC, DEC: one function per operation, size and kind of operands, since these are what a
 * program mostly is. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/flags.h"

enum { FORM_RR, FORM_RM, FORM_MR, FORM_RI, FORM_MI, FORM_LR, FORM_LI, FORM_COUNT };

/* Names: destination, source; r register, m memory, i immediate, l locked memory. */
#define ALU_READ(op, bits)                                                                                             \
    static void op##bits##_rr(struct dbt_cpu *cpu, const struct insn *insn)                                            \
    {                                                                                                                  \
        bool to_reg = insn->form == INSN_FORM_GE;                                                                      \
        unsigned to = to_reg ? insn->reg : insn->rm, from = to_reg ? insn->rm : insn->reg;                             \
        ALU_RESULT(op, bits, exec_get##bits(cpu, insn, to), exec_get##bits(cpu, insn, from), PUT_REG(bits, to))        \
    }                                                                                                                  \
    static void op##bits##_ri(struct dbt_cpu *cpu, const struct insn *insn)                                            \
    {                                                                                                                  \
        ALU_RESULT(op, bits, exec_get##bits(cpu, insn, insn->rm), (uint##bits##_t)insn->immediate,                     \
                   PUT_REG(bits, insn->rm))                                                                            \
    }                                                                                                                  \
    static void op##bits##_rm(struct dbt_cpu *cpu, const struct insn *insn)                                            \
    {                                                                                                                  \
        uint##bits##_t b = mmu_load##bits(cpu, exec_linear(cpu, insn, bits / 8, false));                               \
        ALU_RESULT(op, bits, exec_get##bits(cpu, insn, insn->reg), b, PUT_REG(bits, insn->reg))                        \
    }

#define PUT_REG(bits, to) exec_put##bits(cpu, insn, to, result)
#define DROP_RESULT(bits, to) (void)result

#define ALU_RESULT(op, bits, a, b, put)                                                                                \
    uint##bits##_t result = flags_##op##bits(&cpu->rflags, a, b);                                                      \
    put;

/* Memory destinations: flags are committed after the store has succeeded. */
#define ALU_MEMORY(op, bits, name, source)                                                                             \
    static void op##bits##_m##name(struct dbt_cpu *cpu, const struct insn *insn)                                       \
    {                                                                                                                  \
        uint64_t at = exec_linear(cpu, insn, bits / 8, true), flags = cpu->rflags;                                     \
        uint##bits##_t result = flags_##op##bits(&flags, mmu_modify##bits(cpu, at), source);                           \
        mmu_store##bits(cpu, at, result);                                                                              \
        cpu->rflags = flags;                                                                                           \
    }                                                                                                                  \
    static void op##bits##_l##name(struct dbt_cpu *cpu, const struct insn *insn)                                       \
    {                                                                                                                  \
        uint64_t at = exec_linear(cpu, insn, bits / 8, true), flags, old = mmu_modify##bits(cpu, at), result;          \
        do {                                                                                                           \
            flags = cpu->rflags;                                                                                       \
            result = flags_##op##bits(&flags, (uint##bits##_t)old, source);                                            \
        } while (!mmu_update_locked(cpu, at, bits / 8, &old, result));                                                 \
        cpu->rflags = flags;                                                                                           \
    }

#define ALU_WRITES(op, bits)                                                                                           \
    ALU_READ(op, bits)                                                                                                 \
    ALU_MEMORY(op, bits, r, exec_get##bits(cpu, insn, insn->reg))                                                      \
    ALU_MEMORY(op, bits, i, (uint##bits##_t)insn->immediate)

#define ALU_ALL(op) ALU_WRITES(op, 8) ALU_WRITES(op, 16) ALU_WRITES(op, 32) ALU_WRITES(op, 64)

ALU_ALL(add)
ALU_ALL(or)
ALU_ALL(adc)
ALU_ALL(sbb)
ALU_ALL(and)
ALU_ALL(sub)
ALU_ALL(xor)

/* CMP and TEST write nothing but flags. */
#define COMPARE(name, op, bits)                                                                                        \
    static void name##bits##_rr(struct dbt_cpu *cpu, const struct insn *insn)                                          \
    {                                                                                                                  \
        bool to_reg = insn->form == INSN_FORM_GE;                                                                      \
        unsigned to = to_reg ? insn->reg : insn->rm, from = to_reg ? insn->rm : insn->reg;                             \
        flags_##op##bits(&cpu->rflags, exec_get##bits(cpu, insn, to), exec_get##bits(cpu, insn, from));                \
    }                                                                                                                  \
    static void name##bits##_ri(struct dbt_cpu *cpu, const struct insn *insn)                                          \
    {                                                                                                                  \
        flags_##op##bits(&cpu->rflags, exec_get##bits(cpu, insn, insn->rm), (uint##bits##_t)insn->immediate);          \
    }                                                                                                                  \
    static void name##bits##_rm(struct dbt_cpu *cpu, const struct insn *insn)                                          \
    {                                                                                                                  \
        uint##bits##_t b = mmu_load##bits(cpu, exec_linear(cpu, insn, bits / 8, false));                               \
        flags_##op##bits(&cpu->rflags, exec_get##bits(cpu, insn, insn->reg), b);                                       \
    }                                                                                                                  \
    static void name##bits##_mr(struct dbt_cpu *cpu, const struct insn *insn)                                          \
    {                                                                                                                  \
        uint##bits##_t a = mmu_load##bits(cpu, exec_linear(cpu, insn, bits / 8, false));                               \
        flags_##op##bits(&cpu->rflags, a, exec_get##bits(cpu, insn, insn->reg));                                       \
    }                                                                                                                  \
    static void name##bits##_mi(struct dbt_cpu *cpu, const struct insn *insn)                                          \
    {                                                                                                                  \
        uint##bits##_t a = mmu_load##bits(cpu, exec_linear(cpu, insn, bits / 8, false));                               \
        flags_##op##bits(&cpu->rflags, a, (uint##bits##_t)insn->immediate);                                            \
    }

COMPARE(cmp, sub, 8)
COMPARE(cmp, sub, 16)
COMPARE(cmp, sub, 32)
COMPARE(cmp, sub, 64)
COMPARE(test, and, 8)
COMPARE(test, and, 16)
COMPARE(test, and, 32)
COMPARE(test, and, 64)

#define ROW(op, bits)                                                                                                  \
    {                                                                                                                  \
        [FORM_RR] = op##bits##_rr, [FORM_RM] = op##bits##_rm, [FORM_MR] = op##bits##_mr, [FORM_RI] = op##bits##_ri,    \
        [FORM_MI] = op##bits##_mi, [FORM_LR] = op##bits##_lr, [FORM_LI] = op##bits##_li                                \
    }
#define ROW_COMPARE(op, bits)                                                                                          \
    {                                                                                                                  \
        [FORM_RR] = op##bits##_rr, [FORM_RM] = op##bits##_rm, [FORM_MR] = op##bits##_mr, [FORM_RI] = op##bits##_ri,    \
        [FORM_MI] = op##bits##_mi                                                                                      \
    }
#define ROWS(row, op)                                                                                                  \
    {                                                                                                                  \
        row(op, 8), row(op, 16), row(op, 32), row(op, 64)                                                              \
    }

static exec_fn *const arithmetic[8][4][FORM_COUNT] = {
    ROWS(ROW, add), ROWS(ROW, or),  ROWS(ROW, adc), ROWS(ROW, sbb),
    ROWS(ROW, and), ROWS(ROW, sub), ROWS(ROW, xor), ROWS(ROW_COMPARE, cmp),
};
static exec_fn *const tests[4][FORM_COUNT] = ROWS(ROW_COMPARE, test);

/* ---- one operand ---- */

static inline uint8_t flags_not8(uint64_t *rflags, uint8_t a)
{
    (void)rflags;
    return (uint8_t)~a;
}

static inline uint16_t flags_not16(uint64_t *rflags, uint16_t a)
{
    (void)rflags;
    return (uint16_t)~a;
}

static inline uint32_t flags_not32(uint64_t *rflags, uint32_t a)
{
    (void)rflags;
    return ~a;
}

static inline uint64_t flags_not64(uint64_t *rflags, uint64_t a)
{
    (void)rflags;
    return ~a;
}

#define UNARY(op, bits)                                                                                                \
    static void op##bits##_r(struct dbt_cpu *cpu, const struct insn *insn)                                             \
    {                                                                                                                  \
        exec_put##bits(cpu, insn, insn->rm, flags_##op##bits(&cpu->rflags, exec_get##bits(cpu, insn, insn->rm)));      \
    }                                                                                                                  \
    static void op##bits##_m(struct dbt_cpu *cpu, const struct insn *insn)                                             \
    {                                                                                                                  \
        uint64_t at = exec_linear(cpu, insn, bits / 8, true), flags = cpu->rflags;                                     \
        uint##bits##_t result = flags_##op##bits(&flags, mmu_modify##bits(cpu, at));                                   \
        mmu_store##bits(cpu, at, result);                                                                              \
        cpu->rflags = flags;                                                                                           \
    }                                                                                                                  \
    static void op##bits##_l(struct dbt_cpu *cpu, const struct insn *insn)                                             \
    {                                                                                                                  \
        uint64_t at = exec_linear(cpu, insn, bits / 8, true), flags, old = mmu_modify##bits(cpu, at), result;          \
        do {                                                                                                           \
            flags = cpu->rflags;                                                                                       \
            result = flags_##op##bits(&flags, (uint##bits##_t)old);                                                    \
        } while (!mmu_update_locked(cpu, at, bits / 8, &old, result));                                                 \
        cpu->rflags = flags;                                                                                           \
    }
#define UNARY_ALL(op) UNARY(op, 8) UNARY(op, 16) UNARY(op, 32) UNARY(op, 64)
UNARY_ALL(not )
UNARY_ALL(neg)
UNARY_ALL(inc)
UNARY_ALL(dec)

#define ROW_UNARY(op, bits)                                                                                            \
    {                                                                                                                  \
        op##bits##_r, op##bits##_m, op##bits##_l                                                                       \
    }
static exec_fn *const nots[4][3] = ROWS(ROW_UNARY, not ), *const negs[4][3] = ROWS(ROW_UNARY, neg),
                      *const incs[4][3] = ROWS(ROW_UNARY, inc), *const decs[4][3] = ROWS(ROW_UNARY, dec);

static unsigned form_of(const struct insn *insn)
{
    bool locked = insn->prefixes & INSN_LOCK;
    if (insn->form == INSN_FORM_EI)
        return !insn->memory ? FORM_RI : locked ? FORM_LI : FORM_MI;
    if (!insn->memory)
        return FORM_RR;
    return insn->form == INSN_FORM_GE ? FORM_RM : locked ? FORM_LR : FORM_MR;
}

exec_fn *exec_alu_bind(const struct insn *insn)
{
    unsigned size = exec_size(insn), one = !insn->memory ? 0 : insn->prefixes & INSN_LOCK ? 2 : 1;
    switch (insn->kind) {
    case INSN_ADD ... INSN_CMP:
        return arithmetic[insn->kind - INSN_ADD][size][form_of(insn)];
    case INSN_TEST:
        return tests[size][form_of(insn)];
    case INSN_NOT:
        return nots[size][one];
    case INSN_NEG:
        return negs[size][one];
    case INSN_INC:
        return incs[size][one];
    case INSN_DEC:
        return decs[size][one];
    default:
        return NULL;
    }
}
