/* BMI1 and BMI2, by the host's own instructions; without them in the host they are not shown and undefined (host.h). */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/flags.h"
#include "hv/dbt/host.h"

/* dst = op(a, b) with flags; op b, a, dst in AT&T order */
#define THREE(op)                                                                                                      \
    static uint64_t op##64(uint64_t * rflags, uint64_t a, uint64_t b)                                                  \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        uint64_t to;                                                                                                   \
        __asm__(FLAGS_LOAD #op " %[b], %[a], %[to]" FLAGS_SAVE                                                         \
                : [to] "=&r"(to), "+&a"(ax)                                                                            \
                : [a] "r"(a), [b] "r"(b)                                                                               \
                : "cc");                                                                                               \
        flags_from_ax(rflags, ax);                                                                                     \
        return to;                                                                                                     \
    }                                                                                                                  \
    static uint64_t op##32(uint64_t * rflags, uint64_t a, uint64_t b)                                                  \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        uint64_t to;                                                                                                   \
        __asm__(FLAGS_LOAD #op " %k[b], %k[a], %k[to]" FLAGS_SAVE                                                      \
                : [to] "=&r"(to), "+&a"(ax)                                                                            \
                : [a] "r"(a), [b] "r"(b)                                                                               \
                : "cc");                                                                                               \
        flags_from_ax(rflags, ax);                                                                                     \
        return to;                                                                                                     \
    }
THREE(andn)
THREE(bextr)
THREE(bzhi)
THREE(pext)
THREE(pdep)
THREE(sarx)
THREE(shlx)
THREE(shrx)

#define TWO(op)                                                                                                        \
    static uint64_t op##64(uint64_t * rflags, uint64_t a)                                                              \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        uint64_t to;                                                                                                   \
        __asm__(FLAGS_LOAD #op " %[a], %[to]" FLAGS_SAVE : [to] "=&r"(to), "+&a"(ax) : [a] "r"(a) : "cc");             \
        flags_from_ax(rflags, ax);                                                                                     \
        return to;                                                                                                     \
    }                                                                                                                  \
    static uint64_t op##32(uint64_t * rflags, uint64_t a)                                                              \
    {                                                                                                                  \
        uint32_t ax = flags_to_ax(*rflags);                                                                            \
        uint64_t to;                                                                                                   \
        __asm__(FLAGS_LOAD #op " %k[a], %k[to]" FLAGS_SAVE : [to] "=&r"(to), "+&a"(ax) : [a] "r"(a) : "cc");           \
        flags_from_ax(rflags, ax);                                                                                     \
        return to;                                                                                                     \
    }
TWO(blsr)
TWO(blsmsk)
TWO(blsi)

/* The assembler's order is (last source, middle, first): what is in ModRM.rm and in VEX.vvvv differs between them. */
#define EXEC_RM_LAST(op) /* reg = op(vvvv, rm) */                                                                      \
    static void op(struct dbt_cpu *cpu, const struct insn *insn)                                                       \
    {                                                                                                                  \
        uint64_t e = exec_get_e(cpu, insn, insn->bytes), v = cpu->gpr[insn->vex];                                      \
        cpu->gpr[insn->reg] = insn->bytes == 8 ? op##64(&cpu->rflags, v, e) : op##32(&cpu->rflags, v, e);              \
    }
EXEC_RM_LAST(andn)
EXEC_RM_LAST(pext)
EXEC_RM_LAST(pdep)

#define EXEC_RM_FIRST(op) /* reg = op(rm, vvvv) */                                                                     \
    static void op(struct dbt_cpu *cpu, const struct insn *insn)                                                       \
    {                                                                                                                  \
        uint64_t e = exec_get_e(cpu, insn, insn->bytes), v = cpu->gpr[insn->vex];                                      \
        cpu->gpr[insn->reg] = insn->bytes == 8 ? op##64(&cpu->rflags, e, v) : op##32(&cpu->rflags, e, v);              \
    }
EXEC_RM_FIRST(bextr)
EXEC_RM_FIRST(bzhi)
EXEC_RM_FIRST(sarx)
EXEC_RM_FIRST(shlx)
EXEC_RM_FIRST(shrx)

#define EXEC_LOWEST(op) /* vvvv = op(rm) */                                                                            \
    static void op(struct dbt_cpu *cpu, const struct insn *insn)                                                       \
    {                                                                                                                  \
        uint64_t e = exec_get_e(cpu, insn, insn->bytes);                                                               \
        cpu->gpr[insn->vex] = insn->bytes == 8 ? op##64(&cpu->rflags, e) : op##32(&cpu->rflags, e);                    \
    }
EXEC_LOWEST(blsr)
EXEC_LOWEST(blsmsk)
EXEC_LOWEST(blsi)

static void mulx(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t e = exec_get_e(cpu, insn, insn->bytes);
    if (insn->bytes == 8) {
        unsigned __int128 product = (unsigned __int128)e * cpu->gpr[CPU_RDX];
        cpu->gpr[insn->vex] = (uint64_t)product;
        cpu->gpr[insn->reg] = (uint64_t)(product >> 64);
    } else {
        uint64_t product = e * (uint32_t)cpu->gpr[CPU_RDX];
        cpu->gpr[insn->vex] = (uint32_t)product;
        cpu->gpr[insn->reg] = product >> 32;
    }
}

static void rorx(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t e = exec_get_e(cpu, insn, insn->bytes);
    unsigned bits = insn->bytes * 8, by = insn->immediate & (bits - 1);
    cpu->gpr[insn->reg] = bits == 64 ? e >> by | e << (-by & 63) : (uint32_t)(e >> by | e << (-by & 31));
}

exec_fn *exec_bmi_bind(const struct insn *insn)
{
    static exec_fn *const list[] = {andn, bextr, blsr, blsmsk, blsi, bzhi, pext, pdep, mulx, rorx, sarx, shlx, shrx};
    if (insn->kind < INSN_ANDN || insn->kind > INSN_SHRX)
        return NULL;
    bool bmi1 = insn->kind <= INSN_BLSI;
    return host_has(bmi1 ? HOST_BMI1 : HOST_BMI2) ? list[insn->kind - INSN_ANDN] : NULL;
}
