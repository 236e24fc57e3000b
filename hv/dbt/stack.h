/* A stack that is being pushed to or popped from by something that may fail half-way: the pointer is the caller's copy,
 * nothing of the vCPU changes until it says so. */
#ifndef HV_DBT_STACK_H
#define HV_DBT_STACK_H

#include "hv/dbt/mmu.h"
#include "hv/dbt/segment.h"

struct stack {
    struct dbt_cpu *cpu;
    struct cpu_segment ss;
    uint64_t sp, mask;
    unsigned bytes; /* of a push */
    bool wide;      /* 64-bit: no base, no limit */
    enum tlb_class class;
    uint32_t code; /* of the #SS when it overflows: the new stack's selector, or 0 */
};

/* The stack the vCPU has now. */
static inline struct stack stack_now(struct dbt_cpu *cpu, unsigned bytes)
{
    return (struct stack){
        .cpu = cpu,
        .ss = cpu->seg[CPU_SS],
        .sp = cpu->gpr[CPU_RSP],
        .mask = cpu->sp_mask,
        .bytes = bytes,
        .wide = cpu->code_bytes == 8,
        .class = mmu_class(cpu),
    };
}

/* Another one, of privilege cpl. */
static inline struct stack stack_of(struct dbt_cpu *cpu, const struct cpu_segment *ss, uint64_t sp, unsigned bytes,
                                    bool wide, unsigned cpl)
{
    return (struct stack){
        .cpu = cpu,
        .ss = *ss,
        .sp = sp,
        .mask = wide                          ? ~0ull
                : ss->attributes & CPU_SEG_DB ? 0xffffffffu
                                              : 0xffff,
        .bytes = bytes,
        .wide = wide,
        .class = cpl == 3 ? TLB_USER : TLB_KERNEL,
        .code = ss->selector & ~3u,
    };
}

void stack_push(struct stack *s, uint64_t value);
uint64_t stack_pop(struct stack *s);
/* The stack pointer is s->sp from now on: what the mask leaves out stays. */
static inline void stack_commit(const struct stack *s)
{
    uint64_t *rsp = &s->cpu->gpr[CPU_RSP];
    *rsp = s->mask == 0xffff ? (*rsp & ~0xffffull) | (s->sp & 0xffff) : s->sp & s->mask;
}

#endif
