/* Control flow: jumps, calls, returns, loops, software interrupts, far transfers and system calls. All of them end a
 * run and set rip. */
#include "hv/dbt/debug.h"
#include "hv/dbt/debugger.h"
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/far.h"
#include "hv/dbt/flags.h"
#include "hv/dbt/interrupt.h"
#include "hv/dbt/stack.h"

/* Where a near transfer goes: cut to the operand size, inside the segment or canonical. */
static uint64_t target(struct dbt_cpu *cpu, const struct insn *insn, uint64_t rip)
{
    if (cpu->code_bytes == 8) {
        if (!segment_canonical(rip))
            fault_gp(cpu);
        return rip;
    }
    rip &= insn->bytes == 2 ? 0xffff : 0xffffffffu;
    if (rip > cpu->seg[CPU_CS].limit)
        fault_gp(cpu);
    return rip;
}

static uint64_t relative(struct dbt_cpu *cpu, const struct insn *insn)
{
    return target(cpu, insn, cpu->rip + insn->length + insn->immediate);
}

static void jcc(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (flags_condition(cpu->rflags, insn->opcode))
        cpu->rip = relative(cpu, insn);
    else
        exec_done(cpu, insn);
}

/* The conditions by themselves, since a switch on the code costs more than the jump. */
#define JCC(name, condition)                                                                                           \
    static void jcc_##name(struct dbt_cpu *cpu, const struct insn *insn)                                               \
    {                                                                                                                  \
        uint64_t f = cpu->rflags;                                                                                      \
        if (condition)                                                                                                 \
            cpu->rip = relative(cpu, insn);                                                                            \
        else                                                                                                           \
            exec_done(cpu, insn);                                                                                      \
    }
JCC(b, f &CPU_CF)
JCC(nb, !(f & CPU_CF))
JCC(z, f &CPU_ZF)
JCC(nz, !(f & CPU_ZF))
JCC(be, f &(CPU_CF | CPU_ZF))
JCC(nbe, !(f & (CPU_CF | CPU_ZF)))
JCC(s, f &CPU_SF)
JCC(ns, !(f & CPU_SF))
JCC(l, (f >> 7 ^ f >> 11) & 1)
JCC(nl, !((f >> 7 ^ f >> 11) & 1))
JCC(le, (f & CPU_ZF) | ((f >> 7 ^ f >> 11) & 1))
JCC(nle, !((f & CPU_ZF) | ((f >> 7 ^ f >> 11) & 1)))

static exec_fn *const conditions[16] = {jcc,   jcc,    jcc_b, jcc_nb, jcc_z, jcc_nz, jcc_be, jcc_nbe,
                                        jcc_s, jcc_ns, jcc,   jcc,    jcc_l, jcc_nl, jcc_le, jcc_nle};

static void jmp_j(struct dbt_cpu *cpu, const struct insn *insn)
{
    cpu->rip = relative(cpu, insn);
}

static void jmp_e(struct dbt_cpu *cpu, const struct insn *insn)
{
    cpu->rip = target(cpu, insn, exec_get_e(cpu, insn, insn->bytes));
}

static void call(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t next = exec_next(cpu, insn);
    uint64_t to =
        insn->form == INSN_FORM_J ? relative(cpu, insn) : target(cpu, insn, exec_get_e(cpu, insn, insn->bytes));
    struct stack s = stack_now(cpu, insn->bytes);
    stack_push(&s, next);
    stack_commit(&s);
    cpu->rip = to;
}

static void push64(struct dbt_cpu *cpu, uint64_t value)
{
    uint64_t rsp = cpu->gpr[CPU_RSP] - 8;
    if (!segment_canonical(rsp))
        fault_raise_code(cpu, FAULT_SS, 0);
    mmu_store64(cpu, rsp, value);
    cpu->gpr[CPU_RSP] = rsp;
}

static void call64_j(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t next = cpu->rip + insn->length, to = relative(cpu, insn);
    push64(cpu, next);
    cpu->rip = to;
}

static void ret(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct stack s = stack_now(cpu, insn->bytes);
    uint64_t to = target(cpu, insn, stack_pop(&s));
    s.sp += insn->form == INSN_FORM_I ? insn->immediate : 0;
    stack_commit(&s);
    cpu->rip = to;
}

static void ret64(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t rsp = cpu->gpr[CPU_RSP];
    if (!segment_canonical(rsp))
        fault_raise_code(cpu, FAULT_SS, 0);
    cpu->rip = target(cpu, insn, mmu_load64(cpu, rsp));
    cpu->gpr[CPU_RSP] = rsp + 8;
}

static void loop(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t count = (cpu->gpr[CPU_RCX] - 1) & exec_address_mask(insn);
    bool zf = cpu->rflags & CPU_ZF;
    bool again = count && (insn->kind == INSN_LOOP || zf == (insn->kind == INSN_LOOPE));
    uint64_t to = again ? relative(cpu, insn) : exec_next(cpu, insn);
    exec_put(cpu, insn, CPU_RCX, insn->address_bytes, count);
    cpu->rip = to;
}

static void jcxz(struct dbt_cpu *cpu, const struct insn *insn)
{
    bool zero = !(cpu->gpr[CPU_RCX] & exec_address_mask(insn));
    cpu->rip = zero ? relative(cpu, insn) : exec_next(cpu, insn);
}

/* ---- far ---- */

static void far_target(struct dbt_cpu *cpu, const struct insn *insn, uint16_t *selector, uint64_t *offset)
{
    *selector = insn->immediate2;
    *offset = insn->immediate;
    if (insn->form == INSN_FORM_FAR)
        return;
    uint64_t at = exec_linear(cpu, insn, insn->bytes + 2, false);
    *offset = exec_load(cpu, at, insn->bytes);
    *selector = mmu_load16(cpu, at + insn->bytes);
}

static void jmp_far(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint16_t selector;
    uint64_t offset;
    far_target(cpu, insn, &selector, &offset);
    far_jump(cpu, selector, offset, exec_next(cpu, insn));
}

static void call_far(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint16_t selector;
    uint64_t offset;
    far_target(cpu, insn, &selector, &offset);
    far_call(cpu, selector, offset, insn->bytes, exec_next(cpu, insn));
}

static void ret_far(struct dbt_cpu *cpu, const struct insn *insn)
{
    far_return(cpu, insn->bytes, insn->form == INSN_FORM_I ? (unsigned)insn->immediate : 0);
}

static void iret(struct dbt_cpu *cpu, const struct insn *insn)
{
    interrupt_return(cpu, insn->bytes, exec_next(cpu, insn));
}

/* ---- interrupts ---- */

static void soft_interrupt(struct dbt_cpu *cpu, const struct insn *insn, uint8_t vector)
{
    struct interrupt i = {.vector = vector, .soft = true, .rip = exec_next(cpu, insn)};
    interrupt_deliver(cpu, &i);
}

static void int_n(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (cpu->rflags & CPU_VM && (cpu->rflags & CPU_IOPL) != CPU_IOPL)
        fault_gp(cpu);
    soft_interrupt(cpu, insn, (uint8_t)insn->immediate);
}

static void int3(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!debugger_takes_breakpoint(cpu))
        soft_interrupt(cpu, insn, FAULT_BP);
}

static void into(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (cpu->rflags & CPU_OF)
        soft_interrupt(cpu, insn, FAULT_OF);
    else
        exec_done(cpu, insn);
}

static void int1(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct interrupt i = {.vector = FAULT_DB, .rip = exec_next(cpu, insn)};
    interrupt_deliver(cpu, &i);
}

static void bound(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t at = exec_linear(cpu, insn, 2 * insn->bytes, false);
    unsigned shift = 64 - 8 * insn->bytes;
    int64_t low = (int64_t)(exec_load(cpu, at, insn->bytes) << shift) >> shift;
    int64_t high = (int64_t)(exec_load(cpu, (uint32_t)(at + insn->bytes), insn->bytes) << shift) >> shift;
    int64_t index = (int64_t)(cpu->gpr[insn->reg] << shift) >> shift;
    if (index < low || index > high)
        fault_raise(cpu, FAULT_BR);
    exec_done(cpu, insn);
}

static void ud(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)insn;
    fault_ud(cpu);
}

static void syscall_fast(struct dbt_cpu *cpu, const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_SYSCALL:
        far_syscall(cpu, exec_next(cpu, insn));
        break;
    case INSN_SYSRET:
        far_sysret(cpu, insn->bytes);
        break;
    case INSN_SYSENTER:
        far_sysenter(cpu);
        break;
    default:
        far_sysexit(cpu, insn->bytes);
    }
}

exec_fn *exec_flow_bind(const struct insn *insn)
{
    bool wide = insn->bytes == 8;
    switch (insn->kind) {
    case INSN_UD:
        return ud;
    case INSN_JCC:
        return conditions[insn->opcode & 15];
    case INSN_JMP:
        return insn->form == INSN_FORM_J ? jmp_j : jmp_e;
    case INSN_CALL:
        return insn->form == INSN_FORM_J && wide ? call64_j : call;
    case INSN_RET:
        return insn->form == INSN_FORM_NONE && wide ? ret64 : ret;
    case INSN_LOOPNE:
    case INSN_LOOPE:
    case INSN_LOOP:
        return loop;
    case INSN_JCXZ:
        return jcxz;
    case INSN_JMP_FAR:
        return jmp_far;
    case INSN_CALL_FAR:
        return call_far;
    case INSN_RET_FAR:
        return ret_far;
    case INSN_IRET:
        return iret;
    case INSN_INT3:
        return int3;
    case INSN_INT:
        return int_n;
    case INSN_INTO:
        return into;
    case INSN_INT1:
        return int1;
    case INSN_BOUND:
        return bound;
    case INSN_SYSCALL ... INSN_SYSEXIT:
        return syscall_fast;
    default:
        return NULL;
    }
}
