/* Control and debug registers, TLB and cache control. */
#include "hv/dbt/debug.h"
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"
#include "hv/dbt/control.h"
#include "hv/dbt/vm.h"

enum { DR7_GD = 0x2000 };

static void mov_from_cr(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    uint64_t value = 0;
    switch (insn->reg) {
    case 0:
        value = cpu->cr0;
        break;
    case 2:
        value = cpu->cr2;
        break;
    case 3:
        value = cpu->cr3;
        break;
    case 4:
        value = cpu->cr4;
        break;
    case 8:
        value = irqchip_cr8(cpu->vm->chip, cpu->index);
        break;
    }
    exec_put(cpu, insn, insn->rm, insn->bytes, value);
    exec_done(cpu, insn);
}

static void mov_to_cr(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    uint64_t value = exec_get(cpu, insn, insn->rm, insn->bytes);
    switch (insn->reg) {
    case 0:
        control_set_cr0(cpu, value);
        break;
    case 2:
        cpu->cr2 = value;
        break;
    case 3:
        control_set_cr3(cpu, value);
        break;
    case 4:
        control_set_cr4(cpu, value);
        break;
    case 8:
        if (value >> 4)
            fault_gp(cpu);
        irqchip_set_cr8(cpu->vm->chip, cpu->index, value);
        cpu->event_masked = true; /* what was too low may be high enough now */
        break;
    }
    exec_done(cpu, insn);
}

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE says otherwise. */
static unsigned debug_register(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned reg = insn->reg;
    if (reg == 4 || reg == 5) {
        if (cpu->cr4 & CPU_CR4_DE)
            fault_ud(cpu);
        reg += 2;
    }
    exec_need_cpl0(cpu);
    if (cpu->dr7 & DR7_GD) {
        cpu->dr6 |= DEBUG_DR6_BD;
        fault_raise(cpu, FAULT_DB);
    }
    return reg;
}

static void mov_from_dr(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned reg = debug_register(cpu, insn);
    uint64_t value = reg < 4 ? cpu->dr[reg] : reg == 6 ? cpu->dr6 : cpu->dr7;
    exec_put(cpu, insn, insn->rm, insn->bytes, value);
    exec_done(cpu, insn);
}

static void mov_to_dr(struct dbt_cpu *cpu, const struct insn *insn)
{
    unsigned reg = debug_register(cpu, insn);
    uint64_t value = exec_get(cpu, insn, insn->rm, insn->bytes);
    if (reg >= 6 && value >> 32)
        fault_gp(cpu);
    if (reg < 4)
        cpu->dr[reg] = value;
    else if (reg == 6)
        cpu->dr6 = (value & 0xe00f) | 0xffff0ff0u;
    else
        cpu->dr7 = (value & 0xffff2bffu) | 0x400;
    debug_changed(cpu);
    exec_done(cpu, insn);
}

static void clts(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    cpu->cr0 &= ~(uint64_t)CPU_CR0_TS;
    exec_done(cpu, insn);
}

static void smsw(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (cpu->cr4 & CPU_CR4_UMIP)
        exec_need_cpl0(cpu);
    exec_put_e(cpu, insn, insn->memory ? 2 : insn->bytes, cpu->cr0);
}

static void lmsw(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    uint64_t value = exec_get_e(cpu, insn, 2) & 0xf;
    control_set_cr0(cpu, (cpu->cr0 & ~0xeull) | value); /* sets PE, does not clear it */
    exec_done(cpu, insn);
}

static void invlpg(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    uint64_t offset = exec_offset(cpu, insn), base = cpu->seg[insn->segment].base;
    bool wide = cpu->code_bytes == 8;
    tlb_flush_page(&cpu->tlb, wide ? offset + (insn->segment >= CPU_FS ? base : 0) : (uint32_t)(base + offset));
    exec_done(cpu, insn);
}

static void invpcid(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    if (!cpu_protected(cpu))
        fault_gp(cpu);
    uint64_t type = exec_get(cpu, insn, insn->reg, cpu->code_bytes == 8 ? 8 : 4);
    uint64_t at = exec_linear(cpu, insn, 16, false);
    uint64_t pcid = mmu_load64(cpu, at), linear = mmu_load64(cpu, at + 8);
    if (pcid >> 12 || type > 3 || (type == 0 && !segment_canonical(linear)) ||
        (pcid && type < 2 && !(cpu->cr4 & CPU_CR4_PCIDE)))
        fault_gp(cpu);
    if (type == 0)
        tlb_flush_page(&cpu->tlb, linear); /* more than asked for */
    else if (type == 2)
        tlb_flush(&cpu->tlb);
    else
        tlb_flush_local(&cpu->tlb);
    exec_done(cpu, insn);
}

static void wbinvd(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    exec_done(cpu, insn);
}

static void clflush(struct dbt_cpu *cpu, const struct insn *insn)
{
    mmu_load8(cpu, exec_linear(cpu, insn, 1, false));
}

static void fence(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)cpu;
    (void)insn;
    atomic_thread_fence(memory_order_seq_cst);
}

exec_fn *exec_control_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_MOV_FROM_CR:
        return mov_from_cr;
    case INSN_MOV_TO_CR:
        return mov_to_cr;
    case INSN_MOV_FROM_DR:
        return mov_from_dr;
    case INSN_MOV_TO_DR:
        return mov_to_dr;
    case INSN_CLTS:
        return clts;
    case INSN_SMSW:
        return smsw;
    case INSN_LMSW:
        return lmsw;
    case INSN_INVLPG:
        return invlpg;
    case INSN_INVPCID:
        return invpcid;
    case INSN_WBINVD:
        return wbinvd;
    case INSN_CLFLUSH:
        return clflush;
    case INSN_FENCE:
        return fence;
    default:
        return NULL;
    }
}
