/* See far.h: SYSCALL, SYSRET, SYSENTER, SYSEXIT, whose segments are fixed. SYSCALL in compatibility mode and legacy
 * mode and SYSENTER in long mode exist only with one of the two makers; which one the processor model shows decides. */
#include "hv/dbt/far.h"

#include "hv/dbt/segment.h"
#include "hv/dbt/vm.h"

enum {
    CODE_ATTRIBUTES = 0xb | CPU_SEG_S | CPU_SEG_P | CPU_SEG_G,
    DATA_ATTRIBUTES = 0x3 | CPU_SEG_S | CPU_SEG_P | CPU_SEG_G | CPU_SEG_DB,
    DPL3 = 3 << CPU_SEG_DPL_SHIFT,
};
static const uint64_t flags_kept_by_sysret = 0x3c7fd7;

static void set_flat(struct dbt_cpu *cpu, uint16_t cs, unsigned code_attributes, uint16_t ss, unsigned cpl)
{
    unsigned dpl = cpl << CPU_SEG_DPL_SHIFT;
    cpu->seg[CPU_CS] = (struct cpu_segment){0, 0xffffffffu, (uint16_t)((cs & ~3u) | cpl),
                                            (uint16_t)(CODE_ATTRIBUTES | code_attributes | dpl)};
    cpu->seg[CPU_SS] =
        (struct cpu_segment){0, 0xffffffffu, (uint16_t)((ss & ~3u) | cpl), (uint16_t)(DATA_ATTRIBUTES | dpl)};
    cpu_mode_changed(cpu);
}

void far_syscall(struct dbt_cpu *cpu, uint64_t next)
{
    if (!(cpu->efer & CPU_EFER_SCE) || !(cpu->cr0 & CPU_CR0_PE) || cpu->rflags & CPU_VM)
        fault_ud(cpu);
    uint16_t selector = (uint16_t)(cpu->msr[CPU_MSR_STAR] >> 32);
    if (!cpu_long(cpu)) { /* AMD's legacy form */
        if (!cpu->vm->amd)
            fault_ud(cpu);
        cpu->gpr[CPU_RCX] = (uint32_t)next;
        cpu->rip = (uint32_t)cpu->msr[CPU_MSR_STAR];
        cpu->rflags &= ~(uint64_t)(CPU_IF | CPU_RF | CPU_VM);
        set_flat(cpu, selector, CPU_SEG_DB, (uint16_t)(selector + 8), 0);
        return;
    }
    if (cpu->code_bytes != 8 && !cpu->vm->amd)
        fault_ud(cpu);
    cpu->gpr[CPU_RCX] = next;
    cpu->gpr[CPU_R11] = cpu->rflags & ~(uint64_t)CPU_RF;
    cpu->rip = cpu->msr[cpu->code_bytes == 8 ? CPU_MSR_LSTAR : CPU_MSR_CSTAR];
    cpu->rflags = (cpu->rflags & ~(cpu->msr[CPU_MSR_SFMASK] | CPU_RF)) | 2;
    set_flat(cpu, selector, CPU_SEG_L, (uint16_t)(selector + 8), 0);
}

void far_sysret(struct dbt_cpu *cpu, unsigned bytes)
{
    if (!(cpu->efer & CPU_EFER_SCE) || !cpu_protected(cpu) || (!cpu_long(cpu) && !cpu->vm->amd))
        fault_ud(cpu);
    if (cpu->cpl)
        fault_gp(cpu);
    uint16_t selector = (uint16_t)(cpu->msr[CPU_MSR_STAR] >> 48);
    if (cpu_long(cpu)) {
        if (bytes == 8 && !segment_canonical(cpu->gpr[CPU_RCX]))
            fault_gp(cpu);
        cpu->rflags = (cpu->gpr[CPU_R11] & flags_kept_by_sysret) | 2;
    } else {
        cpu->rflags |= CPU_IF;
    }
    cpu->rip = bytes == 8 ? cpu->gpr[CPU_RCX] : (uint32_t)cpu->gpr[CPU_RCX];
    if (bytes == 8)
        set_flat(cpu, (uint16_t)(selector + 16), CPU_SEG_L, (uint16_t)(selector + 8), 3);
    else
        set_flat(cpu, selector, CPU_SEG_DB, (uint16_t)(selector + 8), 3);
}

void far_sysenter(struct dbt_cpu *cpu)
{
    uint16_t selector = (uint16_t)cpu->msr[CPU_MSR_SYSENTER_CS];
    if (cpu_long(cpu) && cpu->vm->amd)
        fault_ud(cpu);
    if (!(cpu->cr0 & CPU_CR0_PE) || !(selector & ~3u))
        fault_gp(cpu);
    cpu->rflags &= ~(uint64_t)(CPU_VM | CPU_IF | CPU_RF);
    bool wide = cpu_long(cpu);
    cpu->gpr[CPU_RSP] = wide ? cpu->msr[CPU_MSR_SYSENTER_ESP] : (uint32_t)cpu->msr[CPU_MSR_SYSENTER_ESP];
    cpu->rip = wide ? cpu->msr[CPU_MSR_SYSENTER_EIP] : (uint32_t)cpu->msr[CPU_MSR_SYSENTER_EIP];
    set_flat(cpu, selector, wide ? CPU_SEG_L : CPU_SEG_DB, (uint16_t)((selector & ~3u) + 8), 0);
}

void far_sysexit(struct dbt_cpu *cpu, unsigned bytes)
{
    uint16_t selector = (uint16_t)cpu->msr[CPU_MSR_SYSENTER_CS];
    if (cpu_long(cpu) && cpu->vm->amd)
        fault_ud(cpu);
    if (!cpu_protected(cpu) || cpu->cpl || !(selector & ~3u))
        fault_gp(cpu);
    uint64_t rip = cpu->gpr[CPU_RDX], rsp = cpu->gpr[CPU_RCX];
    if (bytes == 8 && (!segment_canonical(rip) || !segment_canonical(rsp)))
        fault_gp(cpu);
    cpu->gpr[CPU_RSP] = bytes == 8 ? rsp : (uint32_t)rsp;
    cpu->rip = bytes == 8 ? rip : (uint32_t)rip;
    unsigned at = (selector & ~3u) + (bytes == 8 ? 32 : 16);
    set_flat(cpu, (uint16_t)at, bytes == 8 ? CPU_SEG_L : CPU_SEG_DB, (uint16_t)(at + 8), 3);
}
