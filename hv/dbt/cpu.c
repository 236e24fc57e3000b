/* See cpu.h. */
#include "hv/dbt/cpu.h"

#include <string.h>

#include "hv/dbt/debug.h"
#include "hv/dbt/segment.h"

static uint8_t flat(const struct dbt_cpu *cpu, const struct cpu_segment *s)
{
    if (!(s->attributes & CPU_SEG_P) || s->limit != 0xffffffffu)
        return 0;
    if (!cpu_protected(cpu))
        return CPU_FLAT_READ | CPU_FLAT_WRITE;
    if (segment_is_data(s))
        return s->attributes & SEGMENT_EXPAND_DOWN ? 0
                                                   : CPU_FLAT_READ | (s->attributes & SEGMENT_RW ? CPU_FLAT_WRITE : 0);
    return s->attributes & SEGMENT_RW ? CPU_FLAT_READ : 0;
}

void cpu_mode_changed(struct dbt_cpu *cpu)
{
    const struct cpu_segment *cs = &cpu->seg[CPU_CS], *ss = &cpu->seg[CPU_SS];
    bool wide = cpu->efer & CPU_EFER_LMA && cs->attributes & CPU_SEG_L;
    cpu->cpl = !(cpu->cr0 & CPU_CR0_PE) ? 0 : cpu->rflags & CPU_VM ? 3 : (uint8_t)segment_dpl(ss);
    cpu->code_bytes = wide ? 8 : cs->attributes & CPU_SEG_DB ? 4 : 2;
    cpu->stack_bytes = wide ? 8 : ss->attributes & CPU_SEG_DB ? 4 : 2;
    cpu->ip_mask = wide ? ~0ull : cpu->code_bytes == 4 ? 0xffffffffu : 0xffff;
    cpu->sp_mask = wide ? ~0ull : cpu->stack_bytes == 4 ? 0xffffffffu : 0xffff;
    cpu->tlb_now = &cpu->tlb.entries[0][cpu->cpl == 3 ? TLB_USER : TLB_KERNEL];
    for (unsigned i = 0; i < CPU_LDTR; i++)
        cpu->seg_flat[i] = flat(cpu, &cpu->seg[i]);
}

void cpu_reset(struct dbt_cpu *cpu)
{
    struct cpu_state state;
    cpu_state_reset(&state, cpu->index);
    cpu_set(cpu, &state);
}

void cpu_get(const struct dbt_cpu *cpu, struct cpu_state *state)
{
    memcpy(state->gpr, cpu->gpr, sizeof state->gpr);
    memcpy(state->seg, cpu->seg, sizeof state->seg);
    memcpy(state->dr, cpu->dr, sizeof state->dr);
    memcpy(state->msr, cpu->msr, sizeof state->msr);
    memcpy(state->xsave, cpu->xsave, sizeof state->xsave);
    state->rip = cpu->rip;
    state->rflags = cpu->rflags;
    state->gdt = cpu->gdt;
    state->idt = cpu->idt;
    state->cr0 = cpu->cr0;
    state->cr2 = cpu->cr2;
    state->cr3 = cpu->cr3;
    state->cr4 = cpu->cr4;
    state->efer = cpu->efer;
    state->xcr0 = cpu->xcr0;
    state->dr6 = cpu->dr6;
    state->dr7 = cpu->dr7;
    state->activity = cpu->activity;
    state->interrupt_shadow = cpu->shadow;
    state->nmi_masked = cpu->nmi_masked;
    state->exception_pending = cpu->exception_waits;
    state->exception_has_code = cpu->exception_waits && cpu->fault.has_code;
    state->exception_vector = cpu->exception_waits ? cpu->fault.vector : 0;
    state->exception_code = cpu->exception_waits ? cpu->fault.code : 0;
    state->interrupt_pending = cpu->interrupt_taken;
    state->interrupt_vector = cpu->interrupt_vector;
}

void cpu_set(struct dbt_cpu *cpu, const struct cpu_state *state)
{
    memcpy(cpu->gpr, state->gpr, sizeof cpu->gpr);
    memcpy(cpu->seg, state->seg, sizeof cpu->seg);
    memcpy(cpu->dr, state->dr, sizeof cpu->dr);
    memcpy(cpu->msr, state->msr, sizeof cpu->msr);
    memcpy(cpu->xsave, state->xsave, sizeof cpu->xsave);
    cpu->rip = state->rip;
    cpu->rflags = state->rflags;
    cpu->gdt = state->gdt;
    cpu->idt = state->idt;
    cpu->cr0 = state->cr0;
    cpu->cr2 = state->cr2;
    cpu->cr3 = state->cr3;
    cpu->cr4 = state->cr4;
    cpu->efer = state->efer;
    cpu->xcr0 = state->xcr0;
    cpu->dr6 = state->dr6;
    cpu->dr7 = state->dr7;
    cpu->activity = state->activity;
    cpu->shadow = state->interrupt_shadow;
    cpu->nmi_masked = state->nmi_masked;
    cpu->exception_waits = state->exception_pending;
    cpu->fault = (struct cpu_fault){state->exception_vector, state->exception_has_code, state->exception_code};
    cpu->interrupt_taken = state->interrupt_pending;
    cpu->interrupt_vector = state->interrupt_vector;
    cpu->delivering = cpu->shutdown = cpu->event_masked = false;
    cpu->debug_hits = 0;
    cpu_attention(cpu, CPU_ATTENTION_EVENT);
    debug_changed(cpu);
    tlb_flush(&cpu->tlb);
    cpu_mode_changed(cpu);
}
