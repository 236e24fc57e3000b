/* PUSH, POP and their kin, ENTER, LEAVE. The common sizes in 64-bit mode have functions of their own. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/stack.h"
#include "hv/dbt/vm.h"

static void push(struct dbt_cpu *cpu, unsigned bytes, uint64_t value)
{
    struct stack s = stack_now(cpu, bytes);
    stack_push(&s, value);
    stack_commit(&s);
}

static inline uint64_t stack_linear(struct dbt_cpu *cpu, uint64_t rsp)
{
    if (!segment_canonical(rsp))
        fault_raise_code(cpu, FAULT_SS, 0);
    return rsp;
}

static void push64_reg(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t rsp = cpu->gpr[CPU_RSP] - 8;
    mmu_store64(cpu, stack_linear(cpu, rsp), cpu->gpr[insn->rm]);
    cpu->gpr[CPU_RSP] = rsp;
}

static void pop64_reg(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t rsp = cpu->gpr[CPU_RSP], value = mmu_load64(cpu, stack_linear(cpu, rsp));
    cpu->gpr[CPU_RSP] = rsp + 8;
    cpu->gpr[insn->rm] = value;
}

static void push_e(struct dbt_cpu *cpu, const struct insn *insn)
{
    push(cpu, insn->bytes, exec_get_e(cpu, insn, insn->bytes));
}

static void push_i(struct dbt_cpu *cpu, const struct insn *insn)
{
    push(cpu, insn->bytes, insn->immediate);
}

/* The address of POP's operand is computed with the stack pointer as it is afterwards. */
static void pop_e(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct stack s = stack_now(cpu, insn->bytes);
    uint64_t value = stack_pop(&s);
    if (!insn->memory) {
        stack_commit(&s);
        exec_put(cpu, insn, insn->rm, insn->bytes, value);
        return;
    }
    uint64_t before = cpu->gpr[CPU_RSP];
    stack_commit(&s);
    uint64_t offset = exec_offset(cpu, insn), after = cpu->gpr[CPU_RSP];
    cpu->gpr[CPU_RSP] = before;
    exec_store(cpu, segment_linear(cpu, insn->segment, offset, insn->bytes, true), insn->bytes, value);
    cpu->gpr[CPU_RSP] = after;
}

static void push_seg(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint16_t selector = cpu->seg[insn->reg].selector;
    if (insn->bytes != 4 || cpu->vm->amd) {
        push(cpu, insn->bytes, selector);
        return;
    }
    struct stack s = stack_now(cpu, 4); /* Intel's: 16 bits are written, the pointer goes down by 4 */
    s.sp -= 2;
    s.bytes = 2;
    stack_push(&s, selector);
    stack_commit(&s);
}

static void pop_seg(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct stack s = stack_now(cpu, insn->bytes);
    if (insn->bytes == 4)
        s.bytes = 2;
    uint16_t selector = (uint16_t)stack_pop(&s);
    if (insn->bytes == 4)
        s.sp += 2;
    segment_load(cpu, insn->reg, selector);
    stack_commit(&s);
    if (insn->reg == CPU_SS)
        cpu->shadow = true;
    exec_done(cpu, insn);
}

static void pusha(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct stack s = stack_now(cpu, insn->bytes);
    for (unsigned i = CPU_RAX; i <= CPU_RDI; i++)
        stack_push(&s, cpu->gpr[i]);
    stack_commit(&s);
}

static void popa(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct stack s = stack_now(cpu, insn->bytes);
    uint64_t values[8];
    for (unsigned i = 8; i; i--)
        values[i - 1] = stack_pop(&s);
    stack_commit(&s);
    for (unsigned i = CPU_RAX; i <= CPU_RDI; i++)
        if (i != CPU_RSP)
            exec_put(cpu, insn, i, insn->bytes, values[i]);
}

static void pushf(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (cpu->rflags & CPU_VM && (cpu->rflags & CPU_IOPL) != CPU_IOPL)
        fault_gp(cpu);
    push(cpu, insn->bytes, cpu->rflags & ~(uint64_t)(CPU_VM | CPU_RF));
}

static void popf(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned iopl = (cpu->rflags & CPU_IOPL) >> 12;
    if (cpu->rflags & CPU_VM && iopl != 3)
        fault_gp(cpu);
    struct stack s = stack_now(cpu, insn->bytes);
    uint64_t value = stack_pop(&s), mask = CPU_ARITHMETIC | CPU_TF | CPU_DF | CPU_NT;
    if (insn->bytes > 2)
        mask |= CPU_AC | CPU_ID | CPU_RF;
    if (cpu->cpl <= iopl)
        mask |= CPU_IF;
    if (!cpu->cpl && !(cpu->rflags & CPU_VM))
        mask |= CPU_IOPL;
    stack_commit(&s);
    if (insn->bytes > 2)
        value &= ~(uint64_t)CPU_RF;
    cpu->rflags = (cpu->rflags & ~mask) | (value & mask);
    exec_done(cpu, insn);
}

static void enter(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct stack s = stack_now(cpu, insn->bytes);
    unsigned level = insn->immediate2 & 31;
    uint64_t rbp = cpu->gpr[CPU_RBP];
    stack_push(&s, rbp);
    uint64_t frame = s.sp;
    for (unsigned i = 1; i < level; i++) {
        struct stack from = s;
        from.sp = rbp - i * insn->bytes;
        stack_push(&s, stack_pop(&from));
    }
    if (level)
        stack_push(&s, frame);
    s.sp -= insn->immediate;
    mmu_check_store(cpu, (s.wide ? s.sp : (uint32_t)(s.ss.base + (s.sp & s.mask))), 1);
    stack_commit(&s);
    exec_put(cpu, insn, CPU_RBP, insn->bytes, frame);
}

static void leave(struct dbt_cpu *cpu, const struct insn *insn)
{
    struct stack s = stack_now(cpu, insn->bytes);
    s.sp = (s.sp & ~s.mask) | (cpu->gpr[CPU_RBP] & s.mask);
    uint64_t value = stack_pop(&s);
    stack_commit(&s);
    exec_put(cpu, insn, CPU_RBP, insn->bytes, value);
}

exec_fn *exec_stack_bind(const struct insn *insn)
{
    bool fast = insn->bytes == 8 && !insn->memory;
    switch (insn->kind) {
    case INSN_PUSH:
        return insn->form == INSN_FORM_I ? push_i : fast ? push64_reg : push_e;
    case INSN_POP:
        return fast ? pop64_reg : pop_e;
    case INSN_PUSH_SEG:
        return push_seg;
    case INSN_POP_SEG:
        return pop_seg;
    case INSN_PUSHA:
        return pusha;
    case INSN_POPA:
        return popa;
    case INSN_PUSHF:
        return pushf;
    case INSN_POPF:
        return popf;
    case INSN_ENTER:
        return enter;
    case INSN_LEAVE:
        return leave;
    default:
        return NULL;
    }
}
