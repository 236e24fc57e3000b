/* See far.h. */
#include "hv/dbt/far.h"

#include "hv/dbt/stack.h"
#include "hv/dbt/task.h"

enum { SELECTOR_RPL = 3 };

static struct cpu_segment read_any(struct dbt_cpu *cpu, uint16_t selector, uint64_t *raw)
{
    if (segment_null(selector))
        fault_gp(cpu);
    if (!segment_read(cpu, selector, raw))
        fault_raise_code(cpu, FAULT_GP, selector & ~3u);
    return segment_unpack(selector, *raw);
}

static bool wide_code(const struct dbt_cpu *cpu, const struct cpu_segment *cs)
{
    return cpu_long(cpu) && cs->attributes & CPU_SEG_L;
}

static void check_target(struct dbt_cpu *cpu, const struct cpu_segment *cs, uint64_t offset)
{
    if (wide_code(cpu, cs) ? !segment_canonical(offset) : offset > cs->limit)
        fault_gp(cpu);
}

/* A code segment that JMP or CALL names directly: same privilege. */
static void check_direct(struct dbt_cpu *cpu, const struct cpu_segment *cs)
{
    uint32_t code = cs->selector & ~3u;
    unsigned rpl = cs->selector & SELECTOR_RPL, dpl = segment_dpl(cs);
    bool allowed = cs->attributes & SEGMENT_CONFORMING ? dpl <= cpu->cpl : rpl <= cpu->cpl && dpl == cpu->cpl;
    if (!allowed || (wide_code(cpu, cs) && cs->attributes & CPU_SEG_DB))
        fault_raise_code(cpu, FAULT_GP, code);
    if (!(cs->attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
}

static void enter(struct dbt_cpu *cpu, struct cpu_segment *cs, uint64_t offset, unsigned cpl)
{
    segment_set_accessed(cpu, cs);
    cs->selector = (uint16_t)((cs->selector & ~3u) | cpl);
    cpu->seg[CPU_CS] = *cs;
    cpu->rip = offset;
    cpu_mode_changed(cpu);
}

/* ---- gates ---- */

struct gate {
    struct cpu_segment cs;
    uint64_t offset;
    unsigned bytes, parameters;
};

static struct gate read_gate(struct dbt_cpu *cpu, const struct cpu_segment *s, uint64_t raw)
{
    uint32_t code = s->selector & ~3u;
    uint64_t upper = 0, target;
    unsigned rpl = s->selector & SELECTOR_RPL;
    if (segment_dpl(s) < cpu->cpl || segment_dpl(s) < rpl)
        fault_raise_code(cpu, FAULT_GP, code);
    if (cpu_long(cpu)) {
        if (!segment_read_upper(cpu, s->selector, &upper) || upper >> 40 & 0x1f)
            fault_raise_code(cpu, FAULT_GP, code);
    }
    if (!(s->attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    bool narrow = segment_system_type(s) == SEGMENT_CALL_GATE16;
    struct gate g = {
        .offset = (raw & 0xffff) | (narrow ? 0 : raw >> 32 & 0xffff0000u) | upper << 32,
        .bytes = cpu_long(cpu) ? 8
                 : narrow      ? 2
                               : 4,
        .parameters = raw >> 32 & 31,
    };
    uint16_t selector = (uint16_t)(raw >> 16);
    g.cs = read_any(cpu, selector, &target);
    if (!segment_is_code(&g.cs) || segment_dpl(&g.cs) > cpu->cpl ||
        (cpu_long(cpu) && (g.cs.attributes & (CPU_SEG_L | CPU_SEG_DB)) != CPU_SEG_L))
        fault_raise_code(cpu, FAULT_GP, selector & ~3u);
    if (!(g.cs.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, selector & ~3u);
    return g;
}

static void jump_system(struct dbt_cpu *cpu, const struct cpu_segment *s, uint64_t raw, uint64_t next)
{
    uint32_t code = s->selector & ~3u;
    unsigned type = segment_system_type(s);
    if (type == SEGMENT_CALL_GATE32 || (type == SEGMENT_CALL_GATE16 && !cpu_long(cpu))) {
        struct gate g = read_gate(cpu, s, raw);
        if (!(g.cs.attributes & SEGMENT_CONFORMING) && segment_dpl(&g.cs) != cpu->cpl)
            fault_raise_code(cpu, FAULT_GP, g.cs.selector & ~3u);
        check_target(cpu, &g.cs, g.offset);
        enter(cpu, &g.cs, g.offset, cpu->cpl);
        return;
    }
    bool tss = (type & ~2u) == SEGMENT_TSS32 || (type & ~2u) == SEGMENT_TSS16, task = type == SEGMENT_TASK_GATE;
    if (cpu_long(cpu) || !(tss || task) || segment_dpl(s) < cpu->cpl || segment_dpl(s) < (s->selector & 3u))
        fault_raise_code(cpu, FAULT_GP, code);
    if (!(s->attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    task_switch(cpu, task ? (uint16_t)(raw >> 16) : s->selector, TASK_JUMP, next, NULL);
}

void far_jump(struct dbt_cpu *cpu, uint16_t selector, uint64_t offset, uint64_t next)
{
    if (!cpu_protected(cpu)) {
        if (offset > cpu->seg[CPU_CS].limit)
            fault_gp(cpu);
        cpu->rip = offset;
        segment_load_real(cpu, CPU_CS, selector);
        return;
    }
    uint64_t raw;
    struct cpu_segment s = read_any(cpu, selector, &raw);
    if (!(s.attributes & CPU_SEG_S)) {
        jump_system(cpu, &s, raw, next);
        return;
    }
    if (!segment_is_code(&s))
        fault_raise_code(cpu, FAULT_GP, selector & ~3u);
    check_direct(cpu, &s);
    check_target(cpu, &s, offset);
    enter(cpu, &s, offset, cpu->cpl);
}

/* ---- calls ---- */

static void inner_stack(struct dbt_cpu *cpu, unsigned cpl, uint16_t *ss, uint64_t *sp)
{
    const struct cpu_segment *tr = &cpu->seg[CPU_TR];
    bool wide = segment_system_type(tr) >= SEGMENT_TSS32;
    uint32_t at = cpu_long(cpu) || wide ? 4 + 8 * cpl : 2 + 4 * cpl, bytes = cpu_long(cpu) ? 8 : wide ? 6 : 4;
    if (!(tr->attributes & CPU_SEG_P) || at + bytes - 1 > tr->limit)
        fault_raise_code(cpu, FAULT_TS, tr->selector & ~3u);
    *ss = (uint16_t)cpl;
    *sp = mmu_load_system(cpu, tr->base + at, cpu_long(cpu) ? 8 : wide ? 4 : 2);
    if (!cpu_long(cpu))
        *ss = (uint16_t)mmu_load_system(cpu, tr->base + at + bytes - 2, 2);
}

static void call_inner(struct dbt_cpu *cpu, struct gate *g, uint64_t next)
{
    unsigned cpl = segment_dpl(&g->cs);
    uint16_t selector;
    uint64_t sp;
    struct cpu_segment ss;
    inner_stack(cpu, cpl, &selector, &sp);
    if (cpu_long(cpu)) {
        segment_set_null(&ss, selector);
        ss.attributes = (uint16_t)(cpl << CPU_SEG_DPL_SHIFT);
        if (!segment_canonical(sp))
            fault_raise_code(cpu, FAULT_SS, 0);
    } else {
        ss = segment_check_stack(cpu, selector, cpl, FAULT_TS);
    }
    check_target(cpu, &g->cs, g->offset);
    struct stack from = stack_now(cpu, g->bytes), to = stack_of(cpu, &ss, sp, g->bytes, cpu_long(cpu), cpl);
    uint64_t parameters[31];
    unsigned count = cpu_long(cpu) ? 0 : g->parameters;
    for (unsigned i = 0; i < count; i++)
        parameters[i] = stack_pop(&from);
    stack_push(&to, cpu->seg[CPU_SS].selector);
    stack_push(&to, cpu->gpr[CPU_RSP]);
    for (unsigned i = count; i; i--)
        stack_push(&to, parameters[i - 1]);
    stack_push(&to, cpu->seg[CPU_CS].selector);
    stack_push(&to, next);
    if (ss.attributes & CPU_SEG_P)
        segment_set_accessed(cpu, &ss);
    cpu->seg[CPU_SS] = ss;
    enter(cpu, &g->cs, g->offset, cpl);
    stack_commit(&to);
}

static void call_system(struct dbt_cpu *cpu, const struct cpu_segment *s, uint64_t raw, uint64_t next)
{
    unsigned type = segment_system_type(s);
    if (type == SEGMENT_CALL_GATE32 || (type == SEGMENT_CALL_GATE16 && !cpu_long(cpu))) {
        struct gate g = read_gate(cpu, s, raw);
        if (!(g.cs.attributes & SEGMENT_CONFORMING) && segment_dpl(&g.cs) < cpu->cpl) {
            call_inner(cpu, &g, next);
            return;
        }
        check_target(cpu, &g.cs, g.offset);
        struct stack st = stack_now(cpu, g.bytes);
        stack_push(&st, cpu->seg[CPU_CS].selector);
        stack_push(&st, next);
        enter(cpu, &g.cs, g.offset, cpu->cpl);
        stack_commit(&st);
        return;
    }
    uint32_t code = s->selector & ~3u;
    bool tss = (type & ~2u) == SEGMENT_TSS32 || (type & ~2u) == SEGMENT_TSS16, task = type == SEGMENT_TASK_GATE;
    if (cpu_long(cpu) || !(tss || task) || segment_dpl(s) < cpu->cpl || segment_dpl(s) < (s->selector & 3u))
        fault_raise_code(cpu, FAULT_GP, code);
    if (!(s->attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    task_switch(cpu, task ? (uint16_t)(raw >> 16) : s->selector, TASK_CALL, next, NULL);
}

void far_call(struct dbt_cpu *cpu, uint16_t selector, uint64_t offset, unsigned bytes, uint64_t next)
{
    struct stack st = stack_now(cpu, bytes);
    if (!cpu_protected(cpu)) {
        if (offset > cpu->seg[CPU_CS].limit)
            fault_gp(cpu);
        stack_push(&st, cpu->seg[CPU_CS].selector);
        stack_push(&st, next);
        stack_commit(&st);
        cpu->rip = offset;
        segment_load_real(cpu, CPU_CS, selector);
        return;
    }
    uint64_t raw;
    struct cpu_segment s = read_any(cpu, selector, &raw);
    if (!(s.attributes & CPU_SEG_S)) {
        call_system(cpu, &s, raw, next);
        return;
    }
    if (!segment_is_code(&s))
        fault_raise_code(cpu, FAULT_GP, selector & ~3u);
    check_direct(cpu, &s);
    check_target(cpu, &s, offset);
    stack_push(&st, cpu->seg[CPU_CS].selector);
    stack_push(&st, next);
    enter(cpu, &s, offset, cpu->cpl);
    stack_commit(&st);
}

/* ---- returns ---- */

static void return_outer(struct dbt_cpu *cpu, struct stack *st, struct cpu_segment *cs, uint64_t offset,
                         unsigned drop_bytes)
{
    unsigned rpl = cs->selector & SELECTOR_RPL;
    st->sp += drop_bytes;
    uint64_t sp = stack_pop(st);
    uint16_t selector = (uint16_t)stack_pop(st);
    struct cpu_segment ss;
    if (segment_null(selector) && wide_code(cpu, cs) && rpl != 3) {
        if ((selector & SELECTOR_RPL) != rpl)
            fault_gp(cpu);
        segment_set_null(&ss, selector);
        ss.attributes = (uint16_t)(rpl << CPU_SEG_DPL_SHIFT);
    } else {
        ss = segment_check_stack(cpu, selector, rpl, FAULT_GP);
        segment_set_accessed(cpu, &ss);
    }
    struct stack to = stack_of(cpu, &ss, sp, st->bytes, wide_code(cpu, cs), rpl);
    segment_set_accessed(cpu, cs);
    cpu->seg[CPU_SS] = ss;
    cpu->seg[CPU_CS] = *cs;
    cpu->rip = offset;
    to.sp += drop_bytes;
    stack_commit(&to);
    cpu_mode_changed(cpu);
    segment_drop_inner(cpu);
}

void far_return(struct dbt_cpu *cpu, unsigned bytes, unsigned drop_bytes)
{
    struct stack st = stack_now(cpu, bytes);
    uint64_t offset = stack_pop(&st), raw;
    uint16_t selector = (uint16_t)stack_pop(&st);
    if (!cpu_protected(cpu)) {
        if (offset > cpu->seg[CPU_CS].limit)
            fault_gp(cpu);
        st.sp += drop_bytes;
        stack_commit(&st);
        cpu->rip = offset;
        segment_load_real(cpu, CPU_CS, selector);
        return;
    }
    struct cpu_segment cs = read_any(cpu, selector, &raw);
    uint32_t code = selector & ~3u;
    unsigned rpl = selector & SELECTOR_RPL, dpl = segment_dpl(&cs);
    bool conforming = cs.attributes & SEGMENT_CONFORMING;
    if (!segment_is_code(&cs) || rpl < cpu->cpl || (conforming ? dpl > rpl : dpl != rpl) ||
        (wide_code(cpu, &cs) && cs.attributes & CPU_SEG_DB))
        fault_raise_code(cpu, FAULT_GP, code);
    if (!(cs.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    check_target(cpu, &cs, offset);
    if (rpl > cpu->cpl) {
        return_outer(cpu, &st, &cs, offset, drop_bytes);
        return;
    }
    st.sp += drop_bytes;
    enter(cpu, &cs, offset, cpu->cpl);
    stack_commit(&st);
}
