/* See segment.h. */
#include "hv/dbt/segment.h"

#include "hv/dbt/mmu.h"

enum { SELECTOR_LDT = 4, SELECTOR_RPL = 3, REAL_ATTRIBUTES = 0x93, V86_ATTRIBUTES = 0xf3 };

/* ---- tables ---- */

static bool entry(const struct dbt_cpu *cpu, uint16_t selector, unsigned bytes, uint64_t *linear)
{
    uint32_t at = selector & 0xfff8u;
    if (selector & SELECTOR_LDT) {
        const struct cpu_segment *ldt = &cpu->seg[CPU_LDTR];
        *linear = ldt->base + at;
        return ldt->attributes & CPU_SEG_P && at + bytes - 1 <= ldt->limit;
    }
    *linear = cpu->gdt.base + at;
    return at + bytes - 1 <= cpu->gdt.limit;
}

bool segment_read(struct dbt_cpu *cpu, uint16_t selector, uint64_t *raw)
{
    uint64_t linear;
    if (!entry(cpu, selector, 8, &linear))
        return false;
    *raw = mmu_load_system(cpu, linear, 8);
    return true;
}

bool segment_read_upper(struct dbt_cpu *cpu, uint16_t selector, uint64_t *raw)
{
    uint64_t linear;
    if (!entry(cpu, selector, 16, &linear))
        return false;
    *raw = mmu_load_system(cpu, linear + 8, 8);
    return true;
}

struct cpu_segment segment_unpack(uint16_t selector, uint64_t raw)
{
    uint32_t low = (uint32_t)raw, high = (uint32_t)(raw >> 32);
    struct cpu_segment s = {
        .base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000u),
        .limit = (low & 0xffff) | (high & 0xf0000),
        .selector = selector,
        .attributes = high >> 8 & 0xf0ff,
    };
    if (s.attributes & CPU_SEG_G)
        s.limit = s.limit << 12 | 0xfff;
    return s;
}

void segment_write_type(struct dbt_cpu *cpu, uint16_t selector, unsigned type)
{
    uint64_t linear;
    if (!entry(cpu, selector, 8, &linear))
        return;
    uint64_t byte = mmu_load_system(cpu, linear + 5, 1);
    mmu_store_system(cpu, linear + 5, 1, (byte & ~0xfull) | type);
}

void segment_set_accessed(struct dbt_cpu *cpu, struct cpu_segment *s)
{
    if (s->attributes & SEGMENT_ACCESSED)
        return;
    s->attributes |= SEGMENT_ACCESSED;
    segment_write_type(cpu, s->selector, s->attributes & CPU_SEG_TYPE);
}

/* ---- loading ---- */

void segment_set_null(struct cpu_segment *s, uint16_t selector)
{
    *s = (struct cpu_segment){.selector = selector};
}

void segment_load_real(struct dbt_cpu *cpu, enum cpu_seg seg, uint16_t selector)
{
    struct cpu_segment *s = &cpu->seg[seg];
    s->selector = selector;
    s->base = (uint64_t)selector << 4;
    if (cpu->rflags & CPU_VM) {
        s->limit = 0xffff;
        s->attributes = V86_ATTRIBUTES;
    } else if (seg == CPU_CS || !(s->attributes & CPU_SEG_P)) {
        s->attributes = REAL_ATTRIBUTES; /* the limit stays: what set it in protected mode counts on it */
    }
    cpu_mode_changed(cpu);
}

static uint32_t code_of(uint16_t selector)
{
    return selector & ~3u;
}

struct cpu_segment segment_check_stack(struct dbt_cpu *cpu, uint16_t selector, unsigned cpl, enum fault_vector vector)
{
    uint64_t raw;
    if (segment_null(selector))
        fault_raise_code(cpu, vector, 0);
    if (!segment_read(cpu, selector, &raw))
        fault_raise_code(cpu, vector, code_of(selector));
    struct cpu_segment s = segment_unpack(selector, raw);
    if ((selector & SELECTOR_RPL) != cpl || segment_dpl(&s) != cpl || !segment_is_data(&s) ||
        !(s.attributes & SEGMENT_RW))
        fault_raise_code(cpu, vector, code_of(selector));
    if (!(s.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_SS, code_of(selector));
    return s;
}

static void load_stack(struct dbt_cpu *cpu, uint16_t selector)
{
    struct cpu_segment s;
    if (segment_null(selector) && cpu->code_bytes == 8 && cpu->cpl < 3 && (selector & SELECTOR_RPL) == cpu->cpl) {
        segment_set_null(&s, selector);
        s.attributes = (uint16_t)(cpu->cpl << CPU_SEG_DPL_SHIFT);
    } else {
        s = segment_check_stack(cpu, selector, cpu->cpl, FAULT_GP);
        segment_set_accessed(cpu, &s);
    }
    cpu->seg[CPU_SS] = s;
}

static void load_data(struct dbt_cpu *cpu, enum cpu_seg seg, uint16_t selector)
{
    struct cpu_segment s;
    uint64_t raw;
    if (segment_null(selector)) {
        segment_set_null(&cpu->seg[seg], selector);
        return;
    }
    if (!segment_read(cpu, selector, &raw))
        fault_raise_code(cpu, FAULT_GP, code_of(selector));
    s = segment_unpack(selector, raw);
    bool conforming = segment_is_code(&s) && s.attributes & SEGMENT_CONFORMING;
    bool readable = segment_is_data(&s) || (segment_is_code(&s) && s.attributes & SEGMENT_RW);
    unsigned rpl = selector & SELECTOR_RPL;
    if (!readable || (!conforming && (rpl > segment_dpl(&s) || cpu->cpl > segment_dpl(&s))))
        fault_raise_code(cpu, FAULT_GP, code_of(selector));
    if (!(s.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code_of(selector));
    segment_set_accessed(cpu, &s);
    cpu->seg[seg] = s;
}

void segment_load(struct dbt_cpu *cpu, enum cpu_seg seg, uint16_t selector)
{
    if (!cpu_protected(cpu)) {
        segment_load_real(cpu, seg, selector);
        return;
    }
    if (seg == CPU_SS)
        load_stack(cpu, selector);
    else
        load_data(cpu, seg, selector);
    cpu_mode_changed(cpu);
}

void segment_drop_inner(struct dbt_cpu *cpu)
{
    static const uint8_t data[] = {CPU_ES, CPU_DS, CPU_FS, CPU_GS};
    for (unsigned i = 0; i < sizeof data; i++) {
        struct cpu_segment *s = &cpu->seg[data[i]];
        bool conforming = segment_is_code(s) && s->attributes & SEGMENT_CONFORMING;
        if (s->attributes & CPU_SEG_P && !conforming && segment_dpl(s) < cpu->cpl)
            segment_set_null(s, 0);
    }
    cpu_mode_changed(cpu);
}

static uint64_t system_base(struct dbt_cpu *cpu, uint16_t selector, const struct cpu_segment *s)
{
    uint64_t upper;
    if (!cpu_long(cpu))
        return s->base;
    if (!segment_read_upper(cpu, selector, &upper))
        fault_raise_code(cpu, FAULT_GP, code_of(selector));
    uint64_t base = s->base | upper << 32;
    if (!segment_canonical(base))
        fault_raise_code(cpu, FAULT_GP, code_of(selector));
    return base;
}

void segment_load_ldtr(struct dbt_cpu *cpu, uint16_t selector)
{
    uint64_t raw;
    if (segment_null(selector)) {
        segment_set_null(&cpu->seg[CPU_LDTR], selector);
        return;
    }
    if (selector & SELECTOR_LDT || !segment_read(cpu, selector, &raw))
        fault_raise_code(cpu, FAULT_GP, code_of(selector));
    struct cpu_segment s = segment_unpack(selector, raw);
    if (s.attributes & CPU_SEG_S || segment_system_type(&s) != SEGMENT_LDT)
        fault_raise_code(cpu, FAULT_GP, code_of(selector));
    if (!(s.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code_of(selector));
    s.base = system_base(cpu, selector, &s);
    cpu->seg[CPU_LDTR] = s;
}

void segment_load_tr(struct dbt_cpu *cpu, uint16_t selector)
{
    uint64_t raw;
    if (segment_null(selector) || selector & SELECTOR_LDT || !segment_read(cpu, selector, &raw))
        fault_raise_code(cpu, FAULT_GP, code_of(selector));
    struct cpu_segment s = segment_unpack(selector, raw);
    unsigned type = segment_system_type(&s);
    if (s.attributes & CPU_SEG_S || !(type == SEGMENT_TSS32 || (type == SEGMENT_TSS16 && !cpu_long(cpu))))
        fault_raise_code(cpu, FAULT_GP, code_of(selector));
    if (!(s.attributes & CPU_SEG_P))
        fault_raise_code(cpu, FAULT_NP, code_of(selector));
    s.base = system_base(cpu, selector, &s);
    s.attributes |= SEGMENT_RW; /* busy */
    segment_write_type(cpu, selector, segment_system_type(&s));
    cpu->seg[CPU_TR] = s;
}

/* ---- limits ---- */

static bool inside(const struct cpu_segment *s, uint32_t offset, unsigned bytes)
{
    uint64_t last = (uint64_t)offset + bytes - 1;
    if (segment_is_data(s) && s->attributes & SEGMENT_EXPAND_DOWN) {
        uint64_t top = s->attributes & CPU_SEG_DB ? 0xffffffffu : 0xffff;
        return offset > s->limit && last <= top;
    }
    return last <= s->limit;
}

void segment_check(struct dbt_cpu *cpu, enum cpu_seg seg, uint32_t offset, unsigned bytes, bool write)
{
    const struct cpu_segment *s = &cpu->seg[seg];
    bool allowed = s->attributes & CPU_SEG_P && inside(s, offset, bytes);
    if (allowed && cpu_protected(cpu)) {
        if (write)
            allowed = segment_is_data(s) && s->attributes & SEGMENT_RW;
        else
            allowed = segment_is_data(s) || s->attributes & SEGMENT_RW;
    }
    if (!allowed)
        fault_raise_code(cpu, seg == CPU_SS ? FAULT_SS : FAULT_GP, 0);
}
