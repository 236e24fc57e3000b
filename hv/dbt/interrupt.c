/* See interrupt.h: the way in. */
#include "hv/dbt/interrupt.h"

#include "hv/dbt/stack.h"
#include "hv/dbt/task.h"

enum { CODE_IDT = 2, CODE_EXTERNAL = 1, TSS64_RSP0 = 4, TSS64_IST1 = 36, SELECTOR_RPL = 3 };

struct gate {
    uint16_t selector;
    unsigned type, dpl, ist;
    bool present;
    uint64_t offset;
};

static _Noreturn void refuse(struct dbt_cpu *cpu, enum fault_vector fault, const struct interrupt *i)
{
    fault_raise_code(cpu, fault, (uint32_t)i->vector * 8 + CODE_IDT);
}

/* ---- real mode ---- */

static void deliver_real(struct dbt_cpu *cpu, const struct interrupt *i)
{
    uint32_t at = i->vector * 4u;
    if (at + 3 > cpu->idt.limit)
        refuse(cpu, FAULT_GP, i);
    uint32_t target = (uint32_t)mmu_load_system(cpu, cpu->idt.base + at, 4);
    struct stack s = stack_now(cpu, 2);
    stack_push(&s, cpu->rflags & 0xffff);
    stack_push(&s, cpu->seg[CPU_CS].selector);
    stack_push(&s, i->rip);
    stack_commit(&s);
    cpu->rflags &= ~(uint64_t)(CPU_IF | CPU_TF | CPU_AC | CPU_RF);
    cpu->rip = target & 0xffff;
    segment_load_real(cpu, CPU_CS, (uint16_t)(target >> 16));
}

/* ---- gates ---- */

static struct gate read_gate(struct dbt_cpu *cpu, const struct interrupt *i)
{
    unsigned bytes = cpu_long(cpu) ? 16 : 8;
    uint32_t at = i->vector * bytes;
    if (at + bytes - 1 > cpu->idt.limit)
        refuse(cpu, FAULT_GP, i);
    uint64_t raw = mmu_load_system(cpu, cpu->idt.base + at, 8);
    uint64_t upper = cpu_long(cpu) ? mmu_load_system(cpu, cpu->idt.base + at + 8, 4) : 0;
    uint32_t low = (uint32_t)raw, high = (uint32_t)(raw >> 32);
    struct gate g = {
        .selector = (uint16_t)(low >> 16),
        .type = high >> 8 & 0x1f,
        .dpl = high >> 13 & 3,
        .ist = cpu_long(cpu) ? high & 7 : 0,
        .present = high >> 15 & 1,
        .offset = (low & 0xffff) | (high & 0xffff0000u) | upper << 32,
    };
    bool known = g.type == SEGMENT_INTERRUPT_GATE32 || g.type == SEGMENT_TRAP_GATE32;
    if (!cpu_long(cpu)) {
        known =
            known || g.type == SEGMENT_INTERRUPT_GATE16 || g.type == SEGMENT_TRAP_GATE16 || g.type == SEGMENT_TASK_GATE;
        if (g.type == SEGMENT_INTERRUPT_GATE16 || g.type == SEGMENT_TRAP_GATE16)
            g.offset &= 0xffff;
    }
    if (!known || (i->soft && g.dpl < cpu->cpl))
        refuse(cpu, FAULT_GP, i);
    if (!g.present)
        refuse(cpu, FAULT_NP, i);
    return g;
}

/* The handler's code segment; *cpl: what it will run at. */
static struct cpu_segment read_target(struct dbt_cpu *cpu, const struct gate *g, unsigned *cpl)
{
    uint64_t raw;
    uint32_t code = g->selector & ~3u;
    if (segment_null(g->selector))
        fault_raise_code(cpu, FAULT_GP, 0);
    if (!segment_read(cpu, g->selector, &raw))
        fault_raise_code(cpu, FAULT_GP, code);
    struct cpu_segment cs = segment_unpack(g->selector, raw);
    if (!segment_is_code(&cs) || segment_dpl(&cs) > cpu->cpl)
        fault_raise_code(cpu, FAULT_GP, code);
    if (cpu_long(cpu) && (cs.attributes & (CPU_SEG_L | CPU_SEG_DB)) != CPU_SEG_L)
        fault_raise_code(cpu, FAULT_GP, code);
    if (!(cs.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    *cpl = cs.attributes & SEGMENT_CONFORMING ? cpu->cpl : segment_dpl(&cs);
    if (cpu->rflags & CPU_VM && *cpl)
        fault_raise_code(cpu, FAULT_GP, code);
    return cs;
}

static void enter(struct dbt_cpu *cpu, const struct gate *g, struct cpu_segment *cs, unsigned cpl)
{
    uint64_t clear = CPU_TF | CPU_NT | CPU_RF | CPU_VM;
    if (g->type == SEGMENT_INTERRUPT_GATE32 || g->type == SEGMENT_INTERRUPT_GATE16)
        clear |= CPU_IF;
    segment_set_accessed(cpu, cs);
    cs->selector = (uint16_t)((cs->selector & ~3u) | cpl);
    cpu->rflags &= ~clear;
    cpu->seg[CPU_CS] = *cs;
    cpu->rip = g->offset;
}

static uint64_t pushed_flags(const struct dbt_cpu *cpu, const struct interrupt *i)
{
    return i->restarts ? cpu->rflags | CPU_RF : cpu->rflags;
}

/* ---- protected mode ---- */

static void inner_stack(struct dbt_cpu *cpu, unsigned cpl, uint16_t *ss, uint32_t *sp)
{
    const struct cpu_segment *tr = &cpu->seg[CPU_TR];
    bool wide = segment_system_type(tr) >= SEGMENT_TSS32;
    uint32_t at = wide ? 4 + 8 * cpl : 2 + 4 * cpl, bytes = wide ? 6 : 4;
    if (!(tr->attributes & CPU_SEG_P) || at + bytes - 1 > tr->limit)
        fault_raise_code(cpu, FAULT_TS, tr->selector & ~3u);
    *sp = (uint32_t)mmu_load_system(cpu, tr->base + at, wide ? 4 : 2);
    *ss = (uint16_t)mmu_load_system(cpu, tr->base + at + bytes - 2, 2);
}

static void push_frame(struct dbt_cpu *cpu, struct stack *s, const struct interrupt *i)
{
    stack_push(s, pushed_flags(cpu, i));
    stack_push(s, cpu->seg[CPU_CS].selector);
    stack_push(s, i->rip);
    if (i->has_code)
        stack_push(s, i->code);
}

static void deliver_inner(struct dbt_cpu *cpu, const struct interrupt *i, const struct gate *g, struct cpu_segment *cs,
                          unsigned cpl, unsigned bytes)
{
    static const uint8_t saved[] = {CPU_GS, CPU_FS, CPU_DS, CPU_ES};
    uint16_t selector;
    uint32_t sp;
    inner_stack(cpu, cpl, &selector, &sp);
    struct cpu_segment ss = segment_check_stack(cpu, selector, cpl, FAULT_TS);
    struct stack s = stack_of(cpu, &ss, sp, bytes, false, cpl);
    bool v86 = cpu->rflags & CPU_VM;
    for (unsigned n = 0; v86 && n < sizeof saved; n++)
        stack_push(&s, cpu->seg[saved[n]].selector);
    stack_push(&s, cpu->seg[CPU_SS].selector);
    stack_push(&s, cpu->gpr[CPU_RSP]);
    push_frame(cpu, &s, i);
    segment_set_accessed(cpu, &ss);
    for (unsigned n = 0; v86 && n < sizeof saved; n++)
        segment_set_null(&cpu->seg[saved[n]], 0);
    enter(cpu, g, cs, cpl);
    cpu->seg[CPU_SS] = ss;
    stack_commit(&s);
}

static void deliver_protected(struct dbt_cpu *cpu, const struct interrupt *i)
{
    struct gate g = read_gate(cpu, i);
    if (g.type == SEGMENT_TASK_GATE) {
        task_switch(cpu, g.selector, TASK_INTERRUPT, i->rip, i->has_code ? &i->code : NULL);
        return;
    }
    unsigned cpl;
    struct cpu_segment cs = read_target(cpu, &g, &cpl);
    unsigned bytes = g.type >= SEGMENT_INTERRUPT_GATE32 ? 4 : 2;
    if (cpl < cpu->cpl) {
        deliver_inner(cpu, i, &g, &cs, cpl, bytes);
    } else {
        struct stack s = stack_now(cpu, bytes);
        push_frame(cpu, &s, i);
        enter(cpu, &g, &cs, cpl);
        stack_commit(&s);
    }
    cpu_mode_changed(cpu);
}

/* ---- long mode ---- */

static uint64_t stack64(struct dbt_cpu *cpu, unsigned at)
{
    const struct cpu_segment *tr = &cpu->seg[CPU_TR];
    if (!(tr->attributes & CPU_SEG_P) || at + 7 > tr->limit)
        fault_raise_code(cpu, FAULT_TS, tr->selector & ~3u);
    uint64_t rsp = mmu_load_system(cpu, tr->base + at, 8);
    if (!segment_canonical(rsp))
        fault_raise_code(cpu, FAULT_SS, 0);
    return rsp;
}

static void deliver_long(struct dbt_cpu *cpu, const struct interrupt *i)
{
    struct gate g = read_gate(cpu, i);
    unsigned cpl;
    struct cpu_segment cs = read_target(cpu, &g, &cpl), ss = cpu->seg[CPU_SS];
    uint64_t rsp = cpu->gpr[CPU_RSP];
    if (g.ist)
        rsp = stack64(cpu, TSS64_IST1 + 8 * (g.ist - 1));
    else if (cpl < cpu->cpl)
        rsp = stack64(cpu, TSS64_RSP0 + 8 * cpl);
    if (!segment_canonical(g.offset))
        fault_raise_code(cpu, FAULT_GP, 0);
    if (cpl < cpu->cpl) {
        segment_set_null(&ss, (uint16_t)cpl);
        ss.attributes = (uint16_t)(cpl << CPU_SEG_DPL_SHIFT);
    }
    struct stack s = stack_of(cpu, &ss, rsp & ~15ull, 8, true, cpl);
    s.code = 0;
    stack_push(&s, cpu->seg[CPU_SS].selector);
    stack_push(&s, cpu->gpr[CPU_RSP]);
    push_frame(cpu, &s, i);
    enter(cpu, &g, &cs, cpl);
    cpu->seg[CPU_SS] = ss;
    cpu->gpr[CPU_RSP] = s.sp;
    cpu_mode_changed(cpu);
}

void interrupt_deliver(struct dbt_cpu *cpu, const struct interrupt *i)
{
    if (!(cpu->cr0 & CPU_CR0_PE))
        deliver_real(cpu, i);
    else if (cpu_long(cpu))
        deliver_long(cpu, i);
    else
        deliver_protected(cpu, i);
}
