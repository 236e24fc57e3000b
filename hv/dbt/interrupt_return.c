/* See interrupt.h: the way back. */
#include "hv/dbt/interrupt.h"

#include "hv/dbt/stack.h"
#include "hv/dbt/task.h"

enum { SELECTOR_RPL = 3 };

struct frame {
    uint64_t rip, flags, rsp;
    uint16_t cs, ss;
};

/* What IRET may change of RFLAGS at this CPL and size. */
static uint64_t changeable(const struct dbt_cpu *cpu, unsigned bytes)
{
    uint64_t mask = CPU_ARITHMETIC | CPU_TF | CPU_DF | CPU_NT;
    if (bytes > 2)
        mask |= CPU_RF | CPU_AC | CPU_ID;
    if (cpu->cpl <= (cpu->rflags & CPU_IOPL) >> 12)
        mask |= CPU_IF;
    if (!cpu->cpl) {
        mask |= CPU_IOPL;
        if (bytes > 2)
            mask |= CPU_VIF | CPU_VIP;
    }
    return mask;
}

static void set_flags(struct dbt_cpu *cpu, uint64_t flags, uint64_t mask)
{
    cpu->rflags = (cpu->rflags & ~mask) | (flags & mask) | 2;
}

static void return_real(struct dbt_cpu *cpu, unsigned bytes)
{
    struct stack s = stack_now(cpu, bytes);
    uint64_t rip = stack_pop(&s), cs = stack_pop(&s), flags = stack_pop(&s);
    bool v86 = cpu->rflags & CPU_VM;
    if (rip > 0xffff)
        fault_gp(cpu);
    uint64_t mask = CPU_ARITHMETIC | CPU_TF | CPU_IF | CPU_DF | CPU_NT | (v86 ? 0 : CPU_IOPL);
    if (bytes == 4)
        mask |= CPU_RF | CPU_AC | CPU_ID;
    stack_commit(&s);
    set_flags(cpu, flags, mask);
    cpu->rip = rip;
    segment_load_real(cpu, CPU_CS, (uint16_t)cs);
}

static struct cpu_segment check_code(struct dbt_cpu *cpu, const struct frame *f)
{
    uint64_t raw;
    uint32_t code = f->cs & ~3u;
    unsigned rpl = f->cs & SELECTOR_RPL;
    if (segment_null(f->cs))
        fault_gp(cpu);
    if (!segment_read(cpu, f->cs, &raw))
        fault_raise_code(cpu, FAULT_GP, code);
    struct cpu_segment cs = segment_unpack(f->cs, raw);
    bool conforming = cs.attributes & SEGMENT_CONFORMING;
    if (!segment_is_code(&cs) || rpl < cpu->cpl || (conforming ? segment_dpl(&cs) > rpl : segment_dpl(&cs) != rpl))
        fault_raise_code(cpu, FAULT_GP, code);
    if (cpu_long(cpu) && cs.attributes & CPU_SEG_L && cs.attributes & CPU_SEG_DB)
        fault_raise_code(cpu, FAULT_GP, code);
    if (!(cs.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    bool wide = cpu_long(cpu) && cs.attributes & CPU_SEG_L;
    if (wide ? !segment_canonical(f->rip) : f->rip > cs.limit)
        fault_gp(cpu);
    return cs;
}

/* The stack of an outer privilege, or a null one in 64-bit mode. */
static struct cpu_segment check_stack(struct dbt_cpu *cpu, const struct frame *f, const struct cpu_segment *cs)
{
    struct cpu_segment ss;
    unsigned rpl = f->cs & SELECTOR_RPL;
    bool wide = cpu_long(cpu) && cs->attributes & CPU_SEG_L;
    if (segment_null(f->ss) && wide && rpl != 3) {
        if ((f->ss & SELECTOR_RPL) != rpl)
            fault_gp(cpu);
        segment_set_null(&ss, f->ss);
        ss.attributes = (uint16_t)(rpl << CPU_SEG_DPL_SHIFT);
        return ss;
    }
    ss = segment_check_stack(cpu, f->ss, rpl, FAULT_GP);
    segment_set_accessed(cpu, &ss);
    return ss;
}

/* From CPL 0 to virtual 8086 mode. */
static void return_v86(struct dbt_cpu *cpu, struct stack *s, const struct frame *f)
{
    static const uint8_t saved[] = {CPU_ES, CPU_DS, CPU_FS, CPU_GS};
    uint64_t rsp = stack_pop(s), ss = stack_pop(s), selectors[4];
    for (unsigned n = 0; n < 4; n++)
        selectors[n] = stack_pop(s);
    set_flags(cpu, f->flags, ~(uint64_t)0x8028 & 0x3fffff);
    cpu->rip = f->rip & 0xffff;
    for (unsigned n = 0; n < 4; n++)
        segment_load_real(cpu, saved[n], (uint16_t)selectors[n]);
    segment_load_real(cpu, CPU_SS, (uint16_t)ss);
    segment_load_real(cpu, CPU_CS, f->cs);
    cpu->gpr[CPU_RSP] = rsp;
    cpu_mode_changed(cpu);
}

static void return_task(struct dbt_cpu *cpu, uint64_t next)
{
    uint16_t link = (uint16_t)mmu_load_system(cpu, cpu->seg[CPU_TR].base, 2);
    task_switch(cpu, link, TASK_RETURN, next, NULL);
}

static void return_protected(struct dbt_cpu *cpu, unsigned bytes, uint64_t next)
{
    if (cpu->rflags & CPU_NT) {
        if (cpu_long(cpu))
            fault_gp(cpu);
        return_task(cpu, next);
        return;
    }
    struct stack s = stack_now(cpu, bytes);
    struct frame f = {.rip = stack_pop(&s)};
    f.cs = (uint16_t)stack_pop(&s);
    f.flags = stack_pop(&s);
    if (!cpu_long(cpu) && bytes == 4 && f.flags & CPU_VM && !cpu->cpl) {
        return_v86(cpu, &s, &f);
        return;
    }
    unsigned rpl = f.cs & SELECTOR_RPL;
    bool outer = rpl > cpu->cpl || cpu->code_bytes == 8;
    if (outer) {
        f.rsp = stack_pop(&s);
        f.ss = (uint16_t)stack_pop(&s);
    }
    struct cpu_segment cs = check_code(cpu, &f), ss = cpu->seg[CPU_SS];
    if (outer)
        ss = check_stack(cpu, &f, &cs);
    segment_set_accessed(cpu, &cs);
    uint64_t mask = changeable(cpu, bytes);
    bool leaves = rpl > cpu->cpl;
    set_flags(cpu, f.flags, mask);
    cpu->rip = f.rip;
    cpu->seg[CPU_CS] = cs;
    cpu->seg[CPU_SS] = ss;
    if (outer)
        s = stack_of(cpu, &ss, f.rsp, bytes, cpu_long(cpu) && cs.attributes & CPU_SEG_L, rpl);
    stack_commit(&s);
    cpu_mode_changed(cpu);
    if (leaves)
        segment_drop_inner(cpu);
}

void interrupt_return(struct dbt_cpu *cpu, unsigned bytes, uint64_t next)
{
    if (cpu->rflags & CPU_VM && (cpu->rflags & CPU_IOPL) != CPU_IOPL)
        fault_gp(cpu);
    if (!cpu_protected(cpu))
        return_real(cpu, bytes);
    else
        return_protected(cpu, bytes, next);
    if (cpu->nmi_masked) {
        cpu->nmi_masked = false;
        cpu_attention(cpu, CPU_ATTENTION_EVENT);
    }
}
