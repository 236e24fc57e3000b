/* See task.h. */
#include "hv/dbt/task.h"

#include <stdbool.h>
#include <stddef.h>

#include "hv/dbt/debug.h"
#include "hv/dbt/stack.h"

enum { TSS32_BYTES = 104, TSS16_BYTES = 44, SELECTOR_LDT = 4, SELECTOR_RPL = 3, TRAP_OFFSET = 100 };

static const uint8_t segments[] = {CPU_ES, CPU_CS, CPU_SS, CPU_DS, CPU_FS, CPU_GS};

/* Where the fields of both formats are. */
struct layout {
    unsigned word, cr3, eip, flags, gpr, segments, segment_count, segment_step, ldt, limit;
};
static const struct layout layout32 = {4, 28, 32, 36, 40, 72, 6, 4, 96, TSS32_BYTES - 1};
static const struct layout layout16 = {2, 0, 14, 16, 18, 34, 4, 2, 42, TSS16_BYTES - 1};

struct image {
    uint32_t cr3, eip, flags, gpr[8];
    uint16_t segment[6], ldt;
    bool trap;
};

static const struct layout *layout_of(const struct cpu_segment *tss)
{
    return segment_system_type(tss) >= SEGMENT_TSS32 ? &layout32 : &layout16;
}

static struct cpu_segment check(struct dbt_cpu *cpu, uint16_t selector, enum task_reason reason)
{
    uint64_t raw;
    uint32_t code = selector & ~3u;
    enum fault_vector wrong = reason == TASK_RETURN ? FAULT_TS : FAULT_GP;
    if (segment_null(selector) || selector & SELECTOR_LDT || !segment_read(cpu, selector, &raw))
        fault_raise_code(cpu, wrong, code);
    struct cpu_segment tss = segment_unpack(selector, raw);
    unsigned type = segment_system_type(&tss);
    bool busy = type & SEGMENT_RW;
    if (tss.attributes & CPU_SEG_S || ((type & ~2u) != SEGMENT_TSS32 && (type & ~2u) != SEGMENT_TSS16) ||
        busy != (reason == TASK_RETURN))
        fault_raise_code(cpu, wrong, code);
    if (!(tss.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    if (tss.limit < layout_of(&tss)->limit)
        fault_raise_code(cpu, FAULT_TS, code);
    return tss;
}

static void save(struct dbt_cpu *cpu, uint64_t next, uint64_t flags)
{
    const struct cpu_segment *tr = &cpu->seg[CPU_TR];
    const struct layout *l = layout_of(tr);
    mmu_store_system(cpu, tr->base + l->eip, l->word, next);
    mmu_store_system(cpu, tr->base + l->flags, l->word, flags);
    for (unsigned i = 0; i < 8; i++)
        mmu_store_system(cpu, tr->base + l->gpr + l->word * i, l->word, cpu->gpr[i]);
    for (unsigned i = 0; i < l->segment_count; i++)
        mmu_store_system(cpu, tr->base + l->segments + l->segment_step * i, 2, cpu->seg[segments[i]].selector);
}

static void read_image(struct dbt_cpu *cpu, const struct cpu_segment *tss, struct image *image)
{
    const struct layout *l = layout_of(tss);
    *image = (struct image){0};
    image->cr3 = l == &layout32 ? (uint32_t)mmu_load_system(cpu, tss->base + l->cr3, 4) : 0;
    image->eip = (uint32_t)mmu_load_system(cpu, tss->base + l->eip, l->word);
    image->flags = (uint32_t)mmu_load_system(cpu, tss->base + l->flags, l->word);
    for (unsigned i = 0; i < 8; i++)
        image->gpr[i] = (uint32_t)mmu_load_system(cpu, tss->base + l->gpr + l->word * i, l->word);
    for (unsigned i = 0; i < l->segment_count; i++)
        image->segment[i] = (uint16_t)mmu_load_system(cpu, tss->base + l->segments + l->segment_step * i, 2);
    image->ldt = (uint16_t)mmu_load_system(cpu, tss->base + l->ldt, 2);
    image->trap = l == &layout32 && mmu_load_system(cpu, tss->base + TRAP_OFFSET, 2) & 1;
}

/* ---- the new task's segments: faults are its own, and #TS ---- */

static void load_ldt(struct dbt_cpu *cpu, uint16_t selector)
{
    uint64_t raw;
    uint32_t code = selector & ~3u;
    segment_set_null(&cpu->seg[CPU_LDTR], selector);
    if (segment_null(selector))
        return;
    if (selector & SELECTOR_LDT || !segment_read(cpu, selector, &raw))
        fault_raise_code(cpu, FAULT_TS, code);
    struct cpu_segment ldt = segment_unpack(selector, raw);
    if (ldt.attributes & CPU_SEG_S || segment_system_type(&ldt) != SEGMENT_LDT || !(ldt.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_TS, code);
    cpu->seg[CPU_LDTR] = ldt;
}

static struct cpu_segment check_code(struct dbt_cpu *cpu, uint16_t selector)
{
    uint64_t raw;
    uint32_t code = selector & ~3u;
    if (segment_null(selector) || !segment_read(cpu, selector, &raw))
        fault_raise_code(cpu, FAULT_TS, code);
    struct cpu_segment cs = segment_unpack(selector, raw);
    unsigned rpl = selector & SELECTOR_RPL;
    bool conforming = cs.attributes & SEGMENT_CONFORMING;
    if (!segment_is_code(&cs) || (conforming ? segment_dpl(&cs) > rpl : segment_dpl(&cs) != rpl))
        fault_raise_code(cpu, FAULT_TS, code);
    if (!(cs.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    return cs;
}

static void load_data(struct dbt_cpu *cpu, enum cpu_seg seg, uint16_t selector)
{
    uint64_t raw;
    uint32_t code = selector & ~3u;
    if (segment_null(selector))
        return;
    if (!segment_read(cpu, selector, &raw))
        fault_raise_code(cpu, FAULT_TS, code);
    struct cpu_segment s = segment_unpack(selector, raw);
    bool conforming = segment_is_code(&s) && s.attributes & SEGMENT_CONFORMING;
    bool readable = segment_is_data(&s) || (segment_is_code(&s) && s.attributes & SEGMENT_RW);
    if (!readable || (!conforming && ((selector & 3u) > segment_dpl(&s) || cpu->cpl > segment_dpl(&s))))
        fault_raise_code(cpu, FAULT_TS, code);
    if (!(s.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code);
    segment_set_accessed(cpu, &s);
    cpu->seg[seg] = s;
}

static void load_segments(struct dbt_cpu *cpu, const struct image *image)
{
    if (cpu->rflags & CPU_VM) {
        load_ldt(cpu, image->ldt);
        for (unsigned i = 0; i < 6; i++)
            segment_load_real(cpu, segments[i], image->segment[i]);
        return;
    }
    unsigned cpl = image->segment[1] & SELECTOR_RPL;
    for (unsigned i = 0; i < 6; i++)
        segment_set_null(&cpu->seg[segments[i]], image->segment[i]);
    cpu->seg[CPU_SS].attributes = (uint16_t)(cpl << CPU_SEG_DPL_SHIFT);
    cpu_mode_changed(cpu);
    load_ldt(cpu, image->ldt);
    struct cpu_segment cs = check_code(cpu, image->segment[1]);
    struct cpu_segment ss = segment_check_stack(cpu, image->segment[2], cpl, FAULT_TS);
    segment_set_accessed(cpu, &ss);
    segment_set_accessed(cpu, &cs);
    cpu->seg[CPU_SS] = ss;
    cpu->seg[CPU_CS] = cs;
    cpu_mode_changed(cpu);
    for (unsigned i = 0; i < 6; i++)
        if (segments[i] != CPU_CS && segments[i] != CPU_SS)
            load_data(cpu, segments[i], image->segment[i]);
    cpu_mode_changed(cpu);
    if (cpu->rip > cs.limit)
        fault_gp(cpu);
}

/* The point of no return: from here on it is the new task that runs. */
static void become(struct dbt_cpu *cpu, const struct cpu_segment *tss, const struct image *image,
                   enum task_reason reason)
{
    cpu->seg[CPU_TR] = *tss;
    cpu->seg[CPU_TR].attributes |= SEGMENT_RW;
    if (layout_of(tss) == &layout32 && cpu->cr0 & cpu_cr0_pg) {
        cpu->cr3 = image->cr3;
        tlb_flush_local(&cpu->tlb);
    }
    cpu->cr0 |= CPU_CR0_TS;
    cpu->rip = image->eip;
    cpu->rflags = (image->flags & 0x3f7fd5) | 2;
    if (reason == TASK_CALL || reason == TASK_INTERRUPT)
        cpu->rflags |= CPU_NT;
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = image->gpr[i];
    cpu->dr7 &= ~0x155ull; /* local breakpoints */
    debug_changed(cpu);
    cpu_mode_changed(cpu);
}

void task_switch(struct dbt_cpu *cpu, uint16_t selector, enum task_reason reason, uint64_t next, const uint32_t *code)
{
    struct cpu_segment tss = check(cpu, selector, reason);
    struct image image;
    uint16_t old = cpu->seg[CPU_TR].selector;
    const struct layout *l = layout_of(&tss);
    read_image(cpu, &tss, &image);
    save(cpu, next, reason == TASK_RETURN ? cpu->rflags & ~(uint64_t)CPU_NT : cpu->rflags);
    if (reason == TASK_JUMP || reason == TASK_RETURN)
        segment_write_type(cpu, old, segment_system_type(&cpu->seg[CPU_TR]) & ~2u);
    if (reason == TASK_CALL || reason == TASK_INTERRUPT)
        mmu_store_system(cpu, tss.base, 2, old);
    if (reason != TASK_RETURN)
        segment_write_type(cpu, selector, segment_system_type(&tss) | 2);
    become(cpu, &tss, &image, reason);
    load_segments(cpu, &image);
    if (code) {
        struct stack s = stack_now(cpu, l->word);
        stack_push(&s, *code);
        stack_commit(&s);
    }
    if (image.trap) {
        cpu->debug_hits |= DEBUG_DR6_BT;
        cpu_attention(cpu, CPU_ATTENTION_EVENT);
    }
}
