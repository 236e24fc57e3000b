/* See msr.h. */
#include "hv/dbt/msr.h"

#include "hv/dbt/control.h"
#include "hv/dbt/fault.h"
#include "hv/dbt/segment.h"
#include "hv/dbt/vm.h"
#include "hv/trace.h"

enum {
    MSR_TSC = 0x10,
    MSR_PLATFORM_ID = 0x17,
    MSR_APIC_BASE = 0x1b,
    MSR_MICROCODE = 0x8b,
    MSR_MTRR_CAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a,
    /* RDCL, L1D flush, SSB, MDS, page size change, TAA, SBDR, FBSDP, PSDP, BHI, PBRSB, GDS, RFDS: none of them */
    ARCH_CAPABILITIES_VALUE = 0x1 | 0x8 | 0x10 | 0x20 | 0x40 | 0x100 | 0x2000 | 0x4000 | 0x8000 | 0x100000 | 0x1000000 |
                              0x4000000 | 0x8000000,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_DEBUG_CONTROL = 0x1d9,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_X2APIC_FIRST = 0x800,
    MSR_X2APIC_LAST = 0x8ff,
    MTRR_CAP_VALUE = 0x508, /* write-combining, fixed ranges, 8 variable ones */
    KVM_WALL_CLOCK_OLD = 0x11,
    KVM_SYSTEM_TIME_OLD = 0x12,
    CLOCK_ENABLED = 1,
};
static const uint32_t msr_efer = 0xc0000080u, msr_fs_base = 0xc0000100u, msr_gs_base = 0xc0000101u,
                      msr_amd_syscfg = 0xc0010010u, msr_amd_hwcr = 0xc0010015u, msr_amd_nb_cfg = 0xc001001fu,
                      msr_amd_int_pending = 0xc0010055u, msr_amd_de_cfg = 0xc0011029u;
static const uint64_t lfence_serialises = 2; /* DE_CFG bit 1 */

uint64_t msr_tsc(const struct dbt_cpu *cpu)
{
    return dbt_clock_tsc(&cpu->vm->clock) + cpu->tsc_offset;
}

/* Which of the state's MSRs an index is; CPU_MSR_COUNT: none. */
static enum cpu_msr state_msr(uint32_t index)
{
    for (enum cpu_msr m = 0; m < CPU_MSR_COUNT; m++)
        if (cpu_msr_index(m) == index)
            return m;
    return CPU_MSR_COUNT;
}

static void publish(struct dbt_cpu *cpu)
{
    uint64_t value = cpu->msr[CPU_MSR_KVM_SYSTEM_TIME];
    if (value & CLOCK_ENABLED)
        dbt_clock_publish(&cpu->vm->clock, cpu->memory, value & ~1ull, cpu->tsc_offset);
}

/* ---- the deadline ---- */

void msr_set_deadline(struct dbt_cpu *cpu, uint64_t tsc)
{
    uint64_t at_ns = 0;
    if (tsc) {
        at_ns = dbt_clock_tsc_to_ns(&cpu->vm->clock, tsc - cpu->tsc_offset);
        at_ns = at_ns ? at_ns : 1;
    }
    cpu->tsc_deadline = irqchip_deadline(cpu->vm->chip, cpu->index, at_ns) ? tsc : 0;
}

uint64_t msr_deadline(struct dbt_cpu *cpu)
{
    if (cpu->tsc_deadline && !irqchip_deadline_armed(cpu->vm->chip, cpu->index))
        cpu->tsc_deadline = 0;
    return cpu->tsc_deadline;
}

void msr_time_resumed(struct dbt_cpu *cpu)
{
    uint64_t tsc = msr_deadline(cpu);
    publish(cpu);
    if (tsc)
        msr_set_deadline(cpu, tsc);
}

/* ---- reading ---- */

uint64_t msr_read(struct dbt_cpu *cpu, uint32_t index)
{
    uint64_t value = 0;
    if (index == MSR_APIC_BASE || (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST)) {
        if (!irqchip_msr_read(cpu->vm->chip, cpu->index, index, &value))
            fault_gp(cpu);
        return value;
    }
    if (index == msr_efer)
        return cpu->efer;
    if (index == msr_fs_base)
        return cpu->seg[CPU_FS].base;
    if (index == msr_gs_base)
        return cpu->seg[CPU_GS].base;
    if (index == msr_amd_de_cfg)
        return lfence_serialises;
    if (index == msr_amd_syscfg || index == msr_amd_hwcr || index == msr_amd_nb_cfg || index == msr_amd_int_pending)
        return 0;
    switch (index) {
    case MSR_TSC:
        return msr_tsc(cpu);
    case MSR_TSC_DEADLINE:
        return msr_deadline(cpu);
    case MSR_MTRR_CAP:
        return MTRR_CAP_VALUE;
    case MSR_ARCH_CAPABILITIES:
        if (!cpu->vm->arch_capabilities)
            fault_gp(cpu);
        return ARCH_CAPABILITIES_VALUE;
    case MSR_PLATFORM_ID:
    case MSR_MICROCODE:
    case MSR_MCG_CAP:
    case MSR_MCG_STATUS:
    case MSR_DEBUG_CONTROL:
        return 0;
    case KVM_WALL_CLOCK_OLD:
        return cpu->msr[CPU_MSR_KVM_WALL_CLOCK];
    case KVM_SYSTEM_TIME_OLD:
        return cpu->msr[CPU_MSR_KVM_SYSTEM_TIME];
    }
    enum cpu_msr m = state_msr(index);
    if (m == CPU_MSR_COUNT || (m >= CPU_MSR_KVM_STEAL_TIME && m <= CPU_MSR_KVM_POLL_CONTROL) || m == CPU_MSR_XSS ||
        m == CPU_MSR_SPEC_CTRL) {
        trace_once(TRACE_VCPU, index, "RDMSR %#x: there is none: #GP, at %#llx", index, (unsigned long long)cpu->rip);
        fault_gp(cpu);
    }
    return cpu->msr[m];
}

/* ---- writing ---- */

static bool memory_type(uint64_t type)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

static bool allowed(enum cpu_msr m, uint64_t value)
{
    switch (m) {
    case CPU_MSR_LSTAR:
    case CPU_MSR_CSTAR:
    case CPU_MSR_KERNEL_GS_BASE:
    case CPU_MSR_SYSENTER_ESP:
    case CPU_MSR_SYSENTER_EIP:
        return segment_canonical(value);
    case CPU_MSR_SFMASK:
    case CPU_MSR_TSC_AUX:
        return !(value >> 32);
    case CPU_MSR_PAT:
        for (unsigned i = 0; i < 8; i++)
            if (!memory_type(value >> 8 * i & 0xff) && (value >> 8 * i & 0xff) != 7)
                return false;
        return true;
    case CPU_MSR_MTRR_DEF_TYPE:
        return memory_type(value & 0xff) && !(value & ~0xcffull);
    case CPU_MSR_MTRR_FIXED_0 ... CPU_MSR_MTRR_FIXED_10:
        for (unsigned i = 0; i < 8; i++)
            if (!memory_type(value >> 8 * i & 0xff))
                return false;
        return true;
    case CPU_MSR_XSS:
    case CPU_MSR_SPEC_CTRL:
    case CPU_MSR_KVM_STEAL_TIME ... CPU_MSR_KVM_POLL_CONTROL:
        return false; /* not shown in CPUID */
    default:
        return true;
    }
}

static void write_state(struct dbt_cpu *cpu, enum cpu_msr m, uint64_t value)
{
    if (m == CPU_MSR_COUNT || !allowed(m, value)) {
        trace_once(TRACE_VCPU, 1ull << 32 | (uint32_t)cpu->gpr[CPU_RCX], "WRMSR %#x of %#llx: #GP, at %#llx",
                   (uint32_t)cpu->gpr[CPU_RCX], (unsigned long long)value, (unsigned long long)cpu->rip);
        fault_gp(cpu);
    }
    if (m == CPU_MSR_TSC_ADJUST)
        cpu->tsc_offset += value - cpu->msr[m];
    cpu->msr[m] = value;
    if (m == CPU_MSR_KVM_SYSTEM_TIME)
        publish(cpu);
    else if (m == CPU_MSR_KVM_WALL_CLOCK)
        dbt_clock_publish_wall(&cpu->vm->clock, cpu->memory, value);
}

static void write_tsc(struct dbt_cpu *cpu, uint64_t value)
{
    uint64_t delta = value - msr_tsc(cpu);
    cpu->tsc_offset += delta;
    cpu->msr[CPU_MSR_TSC_ADJUST] += delta;
    publish(cpu);
}

static void write_base(struct dbt_cpu *cpu, enum cpu_seg seg, uint64_t value)
{
    if (!segment_canonical(value))
        fault_gp(cpu);
    cpu->seg[seg].base = value;
}

void msr_write(struct dbt_cpu *cpu, uint32_t index, uint64_t value)
{
    if (index == MSR_APIC_BASE || (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST)) {
        if (!irqchip_msr_write(cpu->vm->chip, cpu->index, index, value))
            fault_gp(cpu);
        return;
    }
    if (index == msr_efer) {
        control_set_efer(cpu, value);
        return;
    }
    if (index == msr_fs_base || index == msr_gs_base) {
        write_base(cpu, index == msr_fs_base ? CPU_FS : CPU_GS, value);
        return;
    }
    if (index == msr_amd_syscfg || index == msr_amd_hwcr || index == msr_amd_nb_cfg || index == msr_amd_int_pending ||
        index == msr_amd_de_cfg || index == MSR_MICROCODE || index == MSR_MCG_STATUS || index == MSR_DEBUG_CONTROL)
        return; /* nothing hangs on them */
    switch (index) {
    case MSR_TSC:
        write_tsc(cpu, value);
        break;
    case MSR_TSC_DEADLINE:
        msr_set_deadline(cpu, value);
        break;
    case KVM_WALL_CLOCK_OLD:
        write_state(cpu, CPU_MSR_KVM_WALL_CLOCK, value);
        break;
    case KVM_SYSTEM_TIME_OLD:
        write_state(cpu, CPU_MSR_KVM_SYSTEM_TIME, value);
        break;
    default:
        write_state(cpu, state_msr(index), value);
    }
}
