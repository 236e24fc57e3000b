/* Ports, interrupt flag, HLT, MSRs, TSC, CPUID, hypercalls. */
#include "hv/dbt/cpuid.h"
#include "hv/dbt/debug.h"
#include "hv/dbt/device.h"
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/io.h"
#include "hv/dbt/msr.h"
#include "hv/dbt/vm.h"

enum { HYPERCALL_UNKNOWN = -1000, HYPERCALL_NOT_ALLOWED = -1 };

static void in_out(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint16_t port = insn->form == INSN_FORM_I ? (uint8_t)insn->immediate : (uint16_t)cpu->gpr[CPU_RDX];
    unsigned bytes = insn->bytes == 8 ? 4 : insn->bytes;
    io_check(cpu, port, bytes);
    debug_check_io(cpu, port, bytes);
    if (insn->kind == INSN_IN)
        exec_put(cpu, insn, CPU_RAX, bytes, device_in(cpu, port, bytes));
    else
        device_out(cpu, port, bytes, (uint32_t)exec_get(cpu, insn, CPU_RAX, bytes));
    exec_done(cpu, insn);
}

static void cli_sti(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (cpu->cr0 & CPU_CR0_PE && cpu->cpl > (cpu->rflags & CPU_IOPL) >> 12)
        fault_gp(cpu);
    if (insn->kind == INSN_CLI) {
        cpu->rflags &= ~(uint64_t)CPU_IF;
    } else {
        cpu->shadow = !(cpu->rflags & CPU_IF);
        cpu->rflags |= CPU_IF;
    }
    exec_done(cpu, insn);
}

static void clac_stac(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!(cpu->vm->cr4_known & CPU_CR4_SMAP) || cpu->cpl)
        fault_ud(cpu);
    if (insn->kind == INSN_STAC)
        cpu->rflags |= CPU_AC;
    else
        cpu->rflags &= ~(uint64_t)CPU_AC;
    exec_done(cpu, insn);
}

static void hlt(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    exec_done(cpu, insn);
    cpu->activity = CPU_HALTED;
}

static void rdmsr(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)insn;
    exec_need_cpl0(cpu);
    uint64_t value = msr_read(cpu, (uint32_t)cpu->gpr[CPU_RCX]);
    cpu->gpr[CPU_RAX] = (uint32_t)value;
    cpu->gpr[CPU_RDX] = value >> 32;
}

static void wrmsr(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    msr_write(cpu, (uint32_t)cpu->gpr[CPU_RCX], cpu->gpr[CPU_RDX] << 32 | (uint32_t)cpu->gpr[CPU_RAX]);
    exec_done(cpu, insn);
}

static void check_tsd(struct dbt_cpu *cpu)
{
    if (cpu->cr4 & CPU_CR4_TSD && cpu->cpl)
        fault_gp(cpu);
}

static void rdtsc(struct dbt_cpu *cpu, const struct insn *insn)
{
    check_tsd(cpu);
    uint64_t value = msr_tsc(cpu);
    cpu->gpr[CPU_RAX] = (uint32_t)value;
    cpu->gpr[CPU_RDX] = value >> 32;
    if (insn->kind == INSN_RDTSCP)
        cpu->gpr[CPU_RCX] = (uint32_t)cpu->msr[CPU_MSR_TSC_AUX];
}

static void rdpmc(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)insn;
    fault_gp(cpu); /* no counters are shown */
}

static void rdpid(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_put(cpu, insn, insn->rm, insn->bytes, (uint32_t)cpu->msr[CPU_MSR_TSC_AUX]);
}

static void cpuid(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)insn;
    uint32_t out[4];
    dbt_cpuid(cpu, (uint32_t)cpu->gpr[CPU_RAX], (uint32_t)cpu->gpr[CPU_RCX], out);
    cpu->gpr[CPU_RAX] = out[0];
    cpu->gpr[CPU_RBX] = out[1];
    cpu->gpr[CPU_RCX] = out[2];
    cpu->gpr[CPU_RDX] = out[3];
}

/* KVM's hypercalls: none is offered. */
static void vmcall(struct dbt_cpu *cpu, const struct insn *insn)
{
    cpu->gpr[CPU_RAX] = (uint64_t)(int64_t)(cpu->cpl ? HYPERCALL_NOT_ALLOWED : HYPERCALL_UNKNOWN);
    exec_done(cpu, insn);
}

exec_fn *exec_system_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_IN:
    case INSN_OUT:
        return in_out;
    case INSN_CLI:
    case INSN_STI:
        return cli_sti;
    case INSN_CLAC:
    case INSN_STAC:
        return clac_stac;
    case INSN_HLT:
        return hlt;
    case INSN_RDMSR:
        return rdmsr;
    case INSN_WRMSR:
        return wrmsr;
    case INSN_RDTSC:
    case INSN_RDTSCP:
        return rdtsc;
    case INSN_RDPMC:
        return rdpmc;
    case INSN_RDPID:
        return rdpid;
    case INSN_CPUID:
        return cpuid;
    case INSN_VMCALL:
        return vmcall;
    default:
        return NULL;
    }
}
