/* x87 instructions: as others by the host's unit (simd_thunk.h), but for what the guest can see of where it ran: the
 * host would leave its own addresses in FIP and FDP. They are replaced by the guest's after every instruction, also
 * where FNSTENV and FNSAVE show them, in the four layouts that these have.
 *
 * A store whose exception is not masked writes no memory (SDM vol. 1, 8.5.1.2): such a flag appears only then, since
 * one that was there before would have raised #MF.
 *
 * Source: Intel SDM vol. 1 ch. 8 (figures 8-9 to 8-12), vol. 2. */
#include "hv/dbt/fault.h"
#include "hv/dbt/simd_inside.h"

enum { FSW_IE = 1, FSW_OE = 8, FSW_UE = 0x10, FOP_MASK = 0x7ff };

struct pointers {
    uint16_t fop;
    uint64_t fip, fdp;
};

static struct pointers pointers_of(const uint8_t *area)
{
    struct pointers p;
    p.fop = simd_get16(area, SIMD_FOP);
    memcpy(&p.fip, area + SIMD_FIP, sizeof(p.fip));
    memcpy(&p.fdp, area + SIMD_FDP, sizeof(p.fdp));
    return p;
}

static void set_pointers(uint8_t *area, const struct pointers *p)
{
    simd_put16(area, SIMD_FOP, p->fop);
    simd_put64(area, SIMD_FIP, p->fip);
    simd_put64(area, SIMD_FDP, p->fdp);
}

/* Real and virtual 8086 mode show 20 or 32 bits of linear addresses, in pieces. */
static void show_real(uint8_t *to, unsigned bytes, const struct pointers *p)
{
    uint32_t ip = (uint32_t)p->fip, dp = (uint32_t)p->fdp;
    if (bytes == 2) {
        simd_put16(to, 6, (uint16_t)ip);
        simd_put16(to, 8, (uint16_t)((ip >> 16 & 0xf) << 12 | p->fop));
        simd_put16(to, 10, (uint16_t)dp);
        simd_put16(to, 12, (uint16_t)((dp >> 16 & 0xf) << 12));
        return;
    }
    simd_put32(to, 12, 0xffff0000 | (ip & 0xffff));
    simd_put32(to, 16, (ip >> 16) << 12 | p->fop);
    simd_put32(to, 20, 0xffff0000 | (dp & 0xffff));
    simd_put32(to, 24, (dp >> 16) << 12);
}

static void show(const struct dbt_cpu *cpu, uint8_t *to, unsigned bytes, const struct pointers *p)
{
    if (!cpu_protected(cpu)) {
        show_real(to, bytes, p);
    } else if (bytes == 2) { /* FIP, FCS, FDP, FDS */
        simd_put16(to, 6, (uint16_t)p->fip);
        simd_put16(to, 8, 0);
        simd_put16(to, 10, (uint16_t)p->fdp);
        simd_put16(to, 12, 0);
    } else {
        simd_put32(to, 12, (uint32_t)p->fip);
        simd_put32(to, 16, (uint32_t)p->fop << 16);
        simd_put32(to, 20, (uint32_t)p->fdp);
        simd_put32(to, 24, 0xffff0000);
    }
}

static struct pointers seen(const struct dbt_cpu *cpu, const uint8_t *from, unsigned bytes)
{
    struct pointers p = {0};
    bool real = !cpu_protected(cpu);
    if (bytes == 2) {
        uint16_t ip_top = simd_get16(from, 8), dp_top = simd_get16(from, 12);
        p.fip = simd_get16(from, 6) | (real ? (uint64_t)(ip_top >> 12) << 16 : 0);
        p.fdp = simd_get16(from, 10) | (real ? (uint64_t)(dp_top >> 12) << 16 : 0);
        p.fop = real ? ip_top & FOP_MASK : 0;
    } else if (real) {
        p.fip = simd_get16(from, 12) | (uint64_t)(simd_get32(from, 16) >> 12 & 0xffff) << 16;
        p.fdp = simd_get16(from, 20) | (uint64_t)(simd_get32(from, 24) >> 12 & 0xffff) << 16;
        p.fop = simd_get16(from, 16) & FOP_MASK;
    } else {
        p.fip = simd_get32(from, 12);
        p.fdp = simd_get32(from, 20);
        p.fop = simd_get16(from, 18) & FOP_MASK;
    }
    return p;
}

static void check_enabled(struct dbt_cpu *cpu, bool wait)
{
    uint64_t cr0 = cpu->cr0;
    if (wait ? (cr0 & (CPU_CR0_MP | CPU_CR0_TS)) == (CPU_CR0_MP | CPU_CR0_TS) : cr0 & (CPU_CR0_EM | CPU_CR0_TS))
        fault_raise(cpu, FAULT_NM);
}

/* An exception that is not masked kept the result from memory. */
static bool withheld(const struct simd_frame *f, const struct simd_op *op)
{
    unsigned flags = simd_get16(f->fx, SIMD_FSW) & (unsigned)~simd_get16(f->fx, SIMD_FCW);
    return !(op->flags & SIMD_CONTROL) && flags & (FSW_IE | FSW_OE | FSW_UE);
}

static struct pointers pointers_after(const struct dbt_cpu *cpu, const struct insn *insn, const struct simd_op *op,
                                      const struct simd_frame *f)
{
    struct pointers p = pointers_of(cpu->xsave);
    bool environment = op->memory == SIMD_ENVIRONMENT || op->memory == SIMD_X87_ALL;
    bool fninit = insn->opcode == 0xdb && insn->modrm == 0xe3;
    if (!(op->flags & SIMD_CONTROL)) {
        p.fop = (uint16_t)((insn->opcode & 7) << 8 | insn->modrm);
        p.fip = cpu->rip;
        if (insn->memory)
            p.fdp = simd_offset(cpu, insn);
        if (!cpu_protected(cpu)) {
            p.fip += cpu->seg[CPU_CS].base;
            p.fdp += insn->memory ? cpu->seg[insn->segment].base : 0;
        }
    } else if (environment && !(op->flags & SIMD_STORE)) {
        p = seen(cpu, f->scratch, insn->bytes);
    } else if (fninit || (op->memory == SIMD_X87_ALL)) {
        p = (struct pointers){0};
    }
    return p;
}

enum simd_result simd_x87_execute(struct dbt_cpu *cpu, const struct insn *insn)
{
    bool wait = insn->opcode == 0x9b;
    const struct simd_op *op = wait ? NULL : simd_table_find_x87(insn);
    if (insn->prefixes & INSN_LOCK || (!wait && !op))
        return SIMD_UNDEFINED;
    check_enabled(cpu, wait);
    simd_touch(cpu, SIMD_XSTATE_X87);
    if ((wait || !(op->flags & SIMD_NO_WAIT)) && simd_x87_pending(cpu->xsave))
        fault_raise(cpu, FAULT_MF);
    if (wait)
        return SIMD_DONE;

    const struct simd_thunk *thunk = simd_thunk_find(cpu->simd, insn, op);
    struct simd_frame *f = simd_thunk_frame(cpu->simd);
    unsigned bytes = insn->memory ? simd_table_bytes(op, insn) : 0;
    bool store = op->flags & SIMD_STORE;
    uint64_t linear = bytes ? simd_linear(cpu, insn, bytes, store) : 0;
    if (bytes && !store)
        simd_load(cpu, linear, f->scratch, bytes);
    f->rax = cpu->gpr[CPU_RAX];
    f->rflags = cpu->rflags;
    simd_thunk_run(cpu->simd, thunk, cpu->xsave);
    if (f->trap && f->trap - 1 == FAULT_MF)
        fault_raise(cpu, FAULT_MF);
    if (f->trap)
        return SIMD_UNDEFINED;

    struct pointers before = pointers_of(cpu->xsave), after = pointers_after(cpu, insn, op, f);
    if (op->memory == SIMD_ENVIRONMENT || op->memory == SIMD_X87_ALL)
        if (store)
            show(cpu, f->scratch, insn->bytes, &before);
    if (bytes && store && withheld(f, op))
        mmu_check_store(cpu, linear, bytes); /* its faults come all the same */
    else if (bytes && store)
        mmu_store_bytes(cpu, linear, f->scratch, bytes);
    memcpy(cpu->xsave, f->fx, SIMD_FOP); /* FCW, FSW, FTW */
    memcpy(cpu->xsave + SIMD_ST, f->fx + SIMD_ST, SIMD_XMM - SIMD_ST);
    set_pointers(cpu->xsave, &after);
    if (op->flags & SIMD_AX)
        cpu->gpr[CPU_RAX] = f->rax;
    if (op->flags & SIMD_FLAGS)
        cpu->rflags = (cpu->rflags & ~(uint64_t)CPU_ARITHMETIC) | (f->rflags & CPU_ARITHMETIC);
    return SIMD_DONE;
}
