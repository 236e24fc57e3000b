/* Segment registers and descriptor tables: MOV, LxS, LAR to VERW, LLDT, LTR, LGDT and their stores, FS and GS bases. */
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"

enum { SELECTOR_RPL = 3 };

/* ---- segment registers ---- */

static void mov_from_seg(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_put_e(cpu, insn, insn->bytes, cpu->seg[insn->reg].selector);
}

static void mov_to_seg(struct dbt_cpu *cpu, const struct insn *insn)
{
    segment_load(cpu, insn->reg, (uint16_t)exec_get_e(cpu, insn, 2));
    if (insn->reg == CPU_SS)
        cpu->shadow = true;
    exec_done(cpu, insn);
}

static void load_far(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t at = exec_linear(cpu, insn, insn->bytes + 2, false);
    uint64_t offset = exec_load(cpu, at, insn->bytes);
    uint16_t selector = mmu_load16(cpu, at + insn->bytes);
    segment_load(cpu, insn->immediate2, selector);
    exec_put(cpu, insn, insn->reg, insn->bytes, offset);
    exec_done(cpu, insn);
}

/* ---- questions about descriptors: the answer is ZF ---- */

static void set_zf(struct dbt_cpu *cpu, bool set)
{
    cpu->rflags = set ? cpu->rflags | CPU_ZF : cpu->rflags & ~(uint64_t)CPU_ZF;
}

/* The descriptor, if this code may look at it. */
static bool visible(struct dbt_cpu *cpu, uint16_t selector, uint64_t *raw, struct cpu_segment *s)
{
    if (segment_null(selector) || !segment_read(cpu, selector, raw))
        return false;
    *s = segment_unpack(selector, *raw);
    if (segment_is_code(s) && s->attributes & SEGMENT_CONFORMING)
        return true;
    return segment_dpl(s) >= cpu->cpl && segment_dpl(s) >= (selector & SELECTOR_RPL);
}

static bool lar_knows(const struct dbt_cpu *cpu, const struct cpu_segment *s, bool limit)
{
    if (s->attributes & CPU_SEG_S)
        return true;
    switch (segment_system_type(s)) {
    case SEGMENT_TSS16:
    case SEGMENT_TSS16_BUSY:
        return !cpu_long(cpu);
    case SEGMENT_LDT:
    case SEGMENT_TSS32:
    case SEGMENT_TSS32_BUSY:
        return true;
    case SEGMENT_CALL_GATE16:
    case SEGMENT_TASK_GATE:
        return !limit && !cpu_long(cpu);
    case SEGMENT_CALL_GATE32:
        return !limit;
    default:
        return false;
    }
}

static void lar_lsl(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t raw;
    struct cpu_segment s;
    bool limit = insn->kind == INSN_LSL;
    if (!cpu_protected(cpu))
        fault_ud(cpu);
    uint16_t selector = (uint16_t)exec_get_e(cpu, insn, 2);
    bool known = visible(cpu, selector, &raw, &s) && lar_knows(cpu, &s, limit);
    if (known)
        exec_put(cpu, insn, insn->reg, insn->bytes, limit ? s.limit : raw >> 32 & 0xffff00);
    set_zf(cpu, known);
}

static void verr_verw(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t raw;
    struct cpu_segment s;
    if (!cpu_protected(cpu))
        fault_ud(cpu);
    uint16_t selector = (uint16_t)exec_get_e(cpu, insn, 2);
    bool allowed = visible(cpu, selector, &raw, &s) && s.attributes & CPU_SEG_S;
    if (allowed && insn->kind == INSN_VERR)
        allowed = segment_is_data(&s) || s.attributes & SEGMENT_RW;
    else if (allowed)
        allowed = segment_is_data(&s) && s.attributes & SEGMENT_RW;
    set_zf(cpu, allowed);
}

static void arpl(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!cpu_protected(cpu))
        fault_ud(cpu);
    uint64_t at = insn->memory ? exec_linear(cpu, insn, 2, true) : 0;
    uint16_t selector = insn->memory ? mmu_load16(cpu, at) : (uint16_t)cpu->gpr[insn->rm];
    unsigned rpl = cpu->gpr[insn->reg] & SELECTOR_RPL;
    bool raise = (selector & SELECTOR_RPL) < rpl;
    if (raise) {
        selector = (uint16_t)((selector & ~SELECTOR_RPL) | rpl);
        if (insn->memory)
            mmu_store16(cpu, at, selector);
        else
            exec_put16(cpu, insn, insn->rm, selector);
    }
    set_zf(cpu, raise);
}

/* ---- LDTR, TR, tables ---- */

static void check_umip(struct dbt_cpu *cpu)
{
    if (cpu->cr4 & CPU_CR4_UMIP)
        exec_need_cpl0(cpu);
}

static void sldt_str(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!cpu_protected(cpu))
        fault_ud(cpu);
    check_umip(cpu);
    uint16_t selector = cpu->seg[insn->kind == INSN_SLDT ? CPU_LDTR : CPU_TR].selector;
    exec_put_e(cpu, insn, insn->memory ? 2 : insn->bytes, selector);
}

static void lldt_ltr(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!cpu_protected(cpu))
        fault_ud(cpu);
    exec_need_cpl0(cpu);
    uint16_t selector = (uint16_t)exec_get_e(cpu, insn, 2);
    if (insn->kind == INSN_LLDT)
        segment_load_ldtr(cpu, selector);
    else
        segment_load_tr(cpu, selector);
    exec_done(cpu, insn);
}

static void store_table(struct dbt_cpu *cpu, const struct insn *insn)
{
    check_umip(cpu);
    const struct cpu_table *t = insn->kind == INSN_SGDT ? &cpu->gdt : &cpu->idt;
    unsigned bytes = cpu->code_bytes == 8 ? 8 : 4;
    uint64_t at = exec_linear(cpu, insn, 2 + bytes, true);
    mmu_check_store(cpu, at, 2 + bytes);
    mmu_store16(cpu, at, t->limit);
    exec_store(cpu, at + 2, bytes, t->base);
}

static void load_table(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    unsigned bytes = cpu->code_bytes == 8 ? 8 : 4;
    uint64_t at = exec_linear(cpu, insn, 2 + bytes, false);
    struct cpu_table t = {.limit = mmu_load16(cpu, at), .base = exec_load(cpu, at + 2, bytes)};
    if (cpu->code_bytes != 8 && insn->bytes == 2)
        t.base &= 0xffffff;
    if (!segment_canonical(t.base))
        fault_gp(cpu);
    *(insn->kind == INSN_LGDT ? &cpu->gdt : &cpu->idt) = t;
    exec_done(cpu, insn);
}

/* ---- bases ---- */

static void swapgs(struct dbt_cpu *cpu, const struct insn *insn)
{
    exec_need_cpl0(cpu);
    uint64_t base = cpu->seg[CPU_GS].base;
    cpu->seg[CPU_GS].base = cpu->msr[CPU_MSR_KERNEL_GS_BASE];
    cpu->msr[CPU_MSR_KERNEL_GS_BASE] = base;
    exec_done(cpu, insn);
}

static void fsgsbase(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!(cpu->cr4 & CPU_CR4_FSGSBASE))
        fault_ud(cpu);
    bool gs = insn->kind == INSN_RDGSBASE || insn->kind == INSN_WRGSBASE;
    uint64_t *base = &cpu->seg[gs ? CPU_GS : CPU_FS].base;
    if (insn->kind == INSN_RDFSBASE || insn->kind == INSN_RDGSBASE) {
        exec_put(cpu, insn, insn->rm, insn->bytes, *base);
        return; /* does not end a run */
    }
    uint64_t value = exec_get(cpu, insn, insn->rm, insn->bytes);
    if (!segment_canonical(value))
        fault_gp(cpu);
    *base = value;
    exec_done(cpu, insn);
}

exec_fn *exec_segment_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_MOV_FROM_SEG:
        return mov_from_seg;
    case INSN_MOV_TO_SEG:
        return mov_to_seg;
    case INSN_LOAD_FAR:
        return load_far;
    case INSN_ARPL:
        return arpl;
    case INSN_LAR:
    case INSN_LSL:
        return lar_lsl;
    case INSN_VERR:
    case INSN_VERW:
        return verr_verw;
    case INSN_SLDT:
    case INSN_STR:
        return sldt_str;
    case INSN_LLDT:
    case INSN_LTR:
        return lldt_ltr;
    case INSN_SGDT:
    case INSN_SIDT:
        return store_table;
    case INSN_LGDT:
    case INSN_LIDT:
        return load_table;
    case INSN_SWAPGS:
        return swapgs;
    case INSN_RDFSBASE ... INSN_WRGSBASE:
        return fsgsbase;
    default:
        return NULL;
    }
}
