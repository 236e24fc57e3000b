/* MUL, IMUL, DIV, IDIV. A division is checked first, so that the host's own never faults; it is still the host's that
 * leaves the flags. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/flags.h"

typedef unsigned __int128 wide;
typedef __int128 signed_wide;

#define MULTIPLY(op, bits, suffix, reg)                                                                                \
    static void op##bits(uint64_t *rflags, uint##bits##_t a, uint##bits##_t b, uint##bits##_t *low,                    \
                         uint##bits##_t *high)                                                                         \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        uint##bits##_t lo, hi;                                                                                         \
        __asm__(FLAGS_LOAD "mov" suffix " %[a], %%" reg "\n\t" #op suffix " %[b]\n\tmov" suffix " %%" reg              \
                           ", %[lo]" FLAGS_SAVE                                                                        \
                : "+&a"(ax), [lo] "=&r"(lo), "=&d"(hi)                                                                 \
                : [a] "r"(a), [b] "r"(b)                                                                               \
                : "cc");                                                                                               \
        *low = lo;                                                                                                     \
        *high = hi;                                                                                                    \
        flags_from_ax(rflags, ax);                                                                                     \
    }
MULTIPLY(mul, 16, "w", "ax")
MULTIPLY(mul, 32, "l", "eax")
MULTIPLY(mul, 64, "q", "rax")
MULTIPLY(imul, 16, "w", "ax")
MULTIPLY(imul, 32, "l", "eax")
MULTIPLY(imul, 64, "q", "rax")

#define MULTIPLY8(op)                                                                                                  \
    static uint16_t op##8(uint64_t * rflags, uint8_t a, uint8_t b)                                                     \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        uint16_t result;                                                                                               \
        __asm__(FLAGS_LOAD "movb %[a], %%al\n\t" #op "b %[b]\n\tmovw %%ax, %[result]" FLAGS_SAVE                       \
                : "+&a"(ax), [result] "=&r"(result)                                                                    \
                : [a] "r"(a), [b] "r"(b)                                                                               \
                : "cc");                                                                                               \
        flags_from_ax(rflags, ax);                                                                                     \
        return result;                                                                                                 \
    }
MULTIPLY8(mul)
MULTIPLY8(imul)

static void multiply(struct dbt_cpu *cpu, const struct insn *insn)
{
    bool is_signed = insn->kind == INSN_IMUL_WIDE;
    uint64_t b = exec_get_e(cpu, insn, insn->bytes), *gpr = cpu->gpr;
    switch (insn->bytes) {
    case 1: {
        uint8_t a = (uint8_t)gpr[CPU_RAX];
        exec_put16(cpu, insn, CPU_RAX,
                   is_signed ? imul8(&cpu->rflags, a, (uint8_t)b) : mul8(&cpu->rflags, a, (uint8_t)b));
        break;
    }
    case 2: {
        uint16_t low, high;
        (is_signed ? imul16 : mul16)(&cpu->rflags, (uint16_t)gpr[CPU_RAX], (uint16_t)b, &low, &high);
        exec_put16(cpu, insn, CPU_RAX, low);
        exec_put16(cpu, insn, CPU_RDX, high);
        break;
    }
    case 4: {
        uint32_t low, high;
        (is_signed ? imul32 : mul32)(&cpu->rflags, (uint32_t)gpr[CPU_RAX], (uint32_t)b, &low, &high);
        gpr[CPU_RAX] = low;
        gpr[CPU_RDX] = high;
        break;
    }
    default:
        (is_signed ? imul64 : mul64)(&cpu->rflags, gpr[CPU_RAX], b, &gpr[CPU_RAX], &gpr[CPU_RDX]);
    }
}

#define IMUL(bits)                                                                                                     \
    static void imul_reg##bits(struct dbt_cpu *cpu, const struct insn *insn)                                           \
    {                                                                                                                  \
        uint##bits##_t e = insn->memory ? mmu_load##bits(cpu, exec_linear(cpu, insn, bits / 8, false))                 \
                                        : exec_get##bits(cpu, insn, insn->rm);                                         \
        uint##bits##_t by =                                                                                            \
            insn->form == INSN_FORM_GEI ? (uint##bits##_t)insn->immediate : exec_get##bits(cpu, insn, insn->reg);      \
        exec_put##bits(cpu, insn, insn->reg, flags_imul##bits(&cpu->rflags, e, by));                                   \
    }
IMUL(16)
IMUL(32)
IMUL(64)

/* ---- division ---- */

#define DIVIDE(op, bits, suffix, reg)                                                                                  \
    static void op##bits(uint64_t *rflags, uint##bits##_t *low, uint##bits##_t *high, uint##bits##_t by)               \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        uint##bits##_t lo = *low, hi = *high;                                                                          \
        __asm__(FLAGS_LOAD "mov" suffix " %[lo], %%" reg "\n\t" #op suffix " %[by]\n\tmov" suffix " %%" reg            \
                           ", %[lo]" FLAGS_SAVE                                                                        \
                : "+&a"(ax), [lo] "+&r"(lo), "+&d"(hi)                                                                 \
                : [by] "r"(by)                                                                                         \
                : "cc");                                                                                               \
        *low = lo;                                                                                                     \
        *high = hi;                                                                                                    \
        flags_from_ax(rflags, ax);                                                                                     \
    }
DIVIDE(div, 16, "w", "ax")
DIVIDE(div, 32, "l", "eax")
DIVIDE(div, 64, "q", "rax")
DIVIDE(idiv, 16, "w", "ax")
DIVIDE(idiv, 32, "l", "eax")
DIVIDE(idiv, 64, "q", "rax")

#define DIVIDE8(op)                                                                                                    \
    static uint16_t op##8(uint64_t * rflags, uint16_t a, uint8_t by)                                                   \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        __asm__(FLAGS_LOAD "movw %[a], %%ax\n\t" #op "b %[by]\n\tmovw %%ax, %[a]" FLAGS_SAVE                           \
                : "+&a"(ax), [a] "+&r"(a)                                                                              \
                : [by] "r"(by)                                                                                         \
                : "cc");                                                                                               \
        flags_from_ax(rflags, ax);                                                                                     \
        return a;                                                                                                      \
    }
DIVIDE8(div)
DIVIDE8(idiv)

/* Does the quotient fit? bits: of the divisor. */
static bool fits(wide dividend, uint64_t by, unsigned bits)
{
    return by && dividend >> bits < by;
}

static bool fits_signed(signed_wide dividend, int64_t by, unsigned bits)
{
    if (!by)
        return false;
    wide magnitude = dividend < 0 ? -(wide)dividend : (wide)dividend;
    uint64_t divisor = by < 0 ? -(uint64_t)by : (uint64_t)by;
    wide quotient = magnitude / divisor, limit = (wide)1 << (bits - 1);
    return (dividend < 0) != (by < 0) ? quotient <= limit : quotient < limit;
}

static int64_t extend(uint64_t value, unsigned bits)
{
    return (int64_t)(value << (64 - bits)) >> (64 - bits);
}

static bool allowed(const struct insn *insn, uint64_t low, uint64_t high, uint64_t by)
{
    unsigned bits = insn->bytes * 8;
    uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    wide dividend = (wide)(high & mask) << bits | (low & mask);
    if (insn->kind == INSN_DIV)
        return fits(dividend, by & mask, bits);
    signed_wide extended = (signed_wide)(dividend << (128 - 2 * bits)) >> (128 - 2 * bits);
    return fits_signed(extended, extend(by, bits), bits);
}

static void divide(struct dbt_cpu *cpu, const struct insn *insn)
{
    bool is_signed = insn->kind == INSN_IDIV;
    uint64_t by = exec_get_e(cpu, insn, insn->bytes), *gpr = cpu->gpr;
    uint64_t high = insn->bytes == 1 ? gpr[CPU_RAX] >> 8 : gpr[CPU_RDX];
    if (!allowed(insn, gpr[CPU_RAX], high, by))
        fault_raise(cpu, FAULT_DE);
    switch (insn->bytes) {
    case 1: {
        uint16_t a = (uint16_t)gpr[CPU_RAX];
        exec_put16(cpu, insn, CPU_RAX,
                   is_signed ? idiv8(&cpu->rflags, a, (uint8_t)by) : div8(&cpu->rflags, a, (uint8_t)by));
        break;
    }
    case 2: {
        uint16_t low = (uint16_t)gpr[CPU_RAX], top = (uint16_t)gpr[CPU_RDX];
        (is_signed ? idiv16 : div16)(&cpu->rflags, &low, &top, (uint16_t)by);
        exec_put16(cpu, insn, CPU_RAX, low);
        exec_put16(cpu, insn, CPU_RDX, top);
        break;
    }
    case 4: {
        uint32_t low = (uint32_t)gpr[CPU_RAX], top = (uint32_t)gpr[CPU_RDX];
        (is_signed ? idiv32 : div32)(&cpu->rflags, &low, &top, (uint32_t)by);
        gpr[CPU_RAX] = low;
        gpr[CPU_RDX] = top;
        break;
    }
    default:
        (is_signed ? idiv64 : div64)(&cpu->rflags, &gpr[CPU_RAX], &gpr[CPU_RDX], by);
    }
}

exec_fn *exec_multiply_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_MUL:
    case INSN_IMUL_WIDE:
        return multiply;
    case INSN_DIV:
    case INSN_IDIV:
        return divide;
    case INSN_IMUL:
        return insn->bytes == 2 ? imul_reg16 : insn->bytes == 4 ? imul_reg32 : imul_reg64;
    default:
        return NULL;
    }
}
