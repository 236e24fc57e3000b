/* See stack.h. */
#include "hv/dbt/stack.h"

static uint64_t place(const struct stack *s, uint64_t offset)
{
    struct dbt_cpu *cpu = s->cpu;
    if (s->wide) {
        if (!segment_canonical(offset))
            fault_raise_code(cpu, FAULT_SS, s->code);
        return offset;
    }
    uint64_t last = offset + s->bytes - 1;
    bool down = s->ss.attributes & SEGMENT_EXPAND_DOWN && segment_is_data(&s->ss);
    uint64_t top = s->ss.attributes & CPU_SEG_DB ? 0xffffffffu : 0xffff;
    if (down ? offset <= s->ss.limit || last > top : last > s->ss.limit)
        fault_raise_code(cpu, FAULT_SS, s->code);
    return (uint32_t)(s->ss.base + offset);
}

void stack_push(struct stack *s, uint64_t value)
{
    uint64_t sp = (s->sp - s->bytes) & s->mask;
    uint64_t linear = place(s, sp);
    const struct tlb_entry *e = tlb_at(&s->cpu->tlb, s->class, linear);
    if (s->bytes == 8 && tlb_hit(&e->write, linear, 8))
        *(volatile mmu_u64 *)tlb_host(e, linear) = value;
    else
        mmu_store_slow(s->cpu, s->class, linear, s->bytes, value);
    s->sp = (s->sp & ~s->mask) | sp;
}

uint64_t stack_pop(struct stack *s)
{
    uint64_t sp = s->sp & s->mask;
    uint64_t linear = place(s, sp), value;
    const struct tlb_entry *e = tlb_at(&s->cpu->tlb, s->class, linear);
    if (s->bytes == 8 && tlb_hit(&e->read, linear, 8))
        value = *(const volatile mmu_u64 *)tlb_host(e, linear);
    else
        value = mmu_load_slow(s->cpu, s->class, linear, s->bytes);
    s->sp = (s->sp & ~s->mask) | ((sp + s->bytes) & s->mask);
    return value;
}
