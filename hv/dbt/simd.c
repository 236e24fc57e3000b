/* See simd.h: what surrounds the thunk (simd_thunk.h). In the order of the architecture: is it defined, is it enabled,
 * is an x87 exception pending, where is its operand; then it runs, and what it did is committed. */
#include "hv/dbt/simd.h"

#include "hv/dbt/fault.h"
#include "hv/dbt/simd_inside.h"

enum { INITIAL_FCW = 0x37f, VECTORS_BYTES = 256 };

struct simd_thunks *simd_new(struct err *err)
{
    return simd_thunks_new(err);
}

void simd_free(struct simd_thunks *simd)
{
    simd_thunks_free(simd);
}

void simd_settle(struct dbt_cpu *cpu, unsigned components)
{
    uint8_t *area = cpu->xsave;
    if (components & SIMD_XSTATE_X87) {
        memset(area, 0, SIMD_MXCSR);
        memset(area + SIMD_ST, 0, SIMD_XMM - SIMD_ST);
        simd_put16(area, SIMD_FCW, INITIAL_FCW);
    }
    if (components & SIMD_XSTATE_SSE)
        memset(area + SIMD_XMM, 0, VECTORS_BYTES);
    if (components & SIMD_XSTATE_AVX)
        memset(area + CPU_XSAVE_YMM, 0, VECTORS_BYTES);
    area[CPU_XSAVE_HEADER] |= (uint8_t)components;
}

/* Raises #UD and #NM. */
static void check_enabled(struct dbt_cpu *cpu, const struct insn *insn, const struct simd_op *op)
{
    bool vectors = op->reg == SIMD_VECTOR || op->rm == SIMD_VECTOR;
    if (insn->encoding == INSN_VEX) {
        if (!cpu_protected(cpu) || !(cpu->cr4 & CPU_CR4_OSXSAVE) || (cpu->xcr0 & 6) != 6)
            fault_ud(cpu);
    } else if (cpu->cr0 & CPU_CR0_EM || (vectors && !(cpu->cr4 & CPU_CR4_OSFXSR))) {
        fault_ud(cpu);
    }
    if (cpu->cr0 & CPU_CR0_TS)
        fault_raise(cpu, FAULT_NM);
}

static bool must_be_aligned(const struct dbt_cpu *cpu, const struct simd_op *op, const struct insn *insn,
                            unsigned bytes)
{
    if (insn->encoding == INSN_VEX || simd_get32(cpu->xsave, SIMD_MXCSR) & SIMD_MXCSR_MM)
        return op->flags & SIMD_ALIGNED;
    return bytes == 16 && !(op->flags & SIMD_UNALIGNED);
}

static uint64_t operand(struct dbt_cpu *cpu, const struct insn *insn, const struct simd_op *op, unsigned bytes)
{
    unsigned alignment = must_be_aligned(cpu, op, insn, bytes) ? bytes : 1;
    return segment_linear_aligned(cpu, (enum cpu_seg)insn->segment, simd_offset(cpu, insn), bytes, alignment,
                                  op->flags & SIMD_STORE);
}

static void general_in(const struct dbt_cpu *cpu, const struct insn *insn, const struct simd_op *op,
                       struct simd_frame *f)
{
    if (op->reg == SIMD_GENERAL)
        f->rax = cpu->gpr[insn->reg];
    if (op->rm == SIMD_GENERAL && !insn->memory)
        f->rcx = cpu->gpr[insn->rm];
    if (op->flags & SIMD_LENGTHS) {
        f->rax = cpu->gpr[CPU_RAX];
        f->rdx = cpu->gpr[CPU_RDX];
    }
    if (op->flags & SIMD_INDEX)
        f->rcx = cpu->gpr[CPU_RCX];
}

static void general_out(struct dbt_cpu *cpu, const struct insn *insn, const struct simd_op *op,
                        const struct simd_frame *f)
{
    if (op->reg == SIMD_GENERAL)
        cpu->gpr[insn->reg] = f->rax;
    if (op->rm == SIMD_GENERAL && !insn->memory)
        cpu->gpr[insn->rm] = f->rcx;
    if (op->flags & SIMD_INDEX)
        cpu->gpr[CPU_RCX] = f->rcx;
    if (op->flags & SIMD_FLAGS)
        cpu->rflags = (cpu->rflags & ~(uint64_t)CPU_ARITHMETIC) | (f->rflags & CPU_ARITHMETIC);
}

/* What FXSAVE left in the frame: all of it but what other instructions own. */
static void commit_fx(struct dbt_cpu *cpu, const struct simd_frame *f, unsigned touches)
{
    memcpy(cpu->xsave, f->fx, SIMD_FOP); /* FCW, FSW, FTW */
    memcpy(cpu->xsave + SIMD_ST, f->fx + SIMD_ST, SIMD_XMM - SIMD_ST);
    if (touches & SIMD_XSTATE_SSE)
        memcpy(cpu->xsave + SIMD_XMM, f->fx + SIMD_XMM, VECTORS_BYTES);
}

/* The host's processor refused. An MMX instruction may have got as far as TOP and the tags, as there. */
static enum simd_result trapped(struct dbt_cpu *cpu, const struct simd_frame *f, const struct simd_op *op,
                                const struct simd_thunk *thunk)
{
    unsigned vector = (unsigned)f->trap - 1;
    if (vector == FAULT_MF)
        fault_raise(cpu, FAULT_MF);
    if (vector != FAULT_XM)
        return SIMD_UNDEFINED;
    if (op->flags & SIMD_FP)
        simd_put32(cpu->xsave, SIMD_MXCSR, f->mxcsr);
    if (thunk->fx)
        commit_fx(cpu, f, 0);
    fault_raise(cpu, cpu->cr4 & CPU_CR4_OSXMMEXCPT ? FAULT_XM : FAULT_UD);
}

/* #MF comes before the faults of the operand; whether it comes (CVTPI2PS from memory is no MMX instruction everywhere)
 * the host says, with whatever operand. */
static void check_pending(struct dbt_cpu *cpu, const struct simd_thunk *thunk)
{
    simd_thunk_run(cpu->simd, thunk, cpu->xsave);
    if (simd_thunk_frame(cpu->simd)->trap == FAULT_MF + 1)
        fault_raise(cpu, FAULT_MF);
}

static enum simd_result execute(struct dbt_cpu *cpu, const struct insn *insn, const struct simd_op *op)
{
    const struct simd_thunk *thunk = simd_thunk_find(cpu->simd, insn, op);
    struct simd_frame *f = simd_thunk_frame(cpu->simd);
    uint64_t linear = 0;
    unsigned bytes = 0;
    simd_touch(cpu, thunk->touches);
    if (thunk->fx && simd_x87_pending(cpu->xsave))
        check_pending(cpu, thunk);
    if (insn->memory) {
        bytes = simd_table_bytes(op, insn);
        linear = operand(cpu, insn, op, bytes);
        if (!(op->flags & SIMD_STORE))
            simd_load(cpu, linear, f->scratch, bytes);
    }
    general_in(cpu, insn, op, f);
    simd_thunk_run(cpu->simd, thunk, cpu->xsave);
    if (f->trap && insn->memory && op->flags & SIMD_STORE)
        mmu_check_store(cpu, linear, bytes);
    if (f->trap)
        return trapped(cpu, f, op, thunk);
    if (insn->memory && op->flags & SIMD_STORE)
        mmu_store_bytes(cpu, linear, f->scratch, bytes); /* its registers are sources: nothing has changed yet */
    if (op->flags & SIMD_FP)
        simd_put32(cpu->xsave, SIMD_MXCSR, f->mxcsr);
    if (thunk->fx)
        commit_fx(cpu, f, thunk->touches);
    general_out(cpu, insn, op, f);
    return SIMD_DONE;
}

enum simd_result simd_execute(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (insn->kind == INSN_X87)
        return simd_x87_execute(cpu, insn);
    const struct simd_op *op = simd_table_find(insn);
    if (!op || insn->prefixes & INSN_LOCK || simd_masked_undefined(insn))
        return SIMD_UNDEFINED;
    check_enabled(cpu, insn, op);
    if (op->flags & SIMD_SPECIAL || (insn->opcode == 0x77 && insn->encoding == INSN_VEX)) {
        simd_masked_execute(cpu, insn, op);
        return SIMD_DONE;
    }
    if (op->flags & SIMD_IS4 && cpu->code_bytes != 8) { /* there are 8 registers: bit 7 does not count */
        struct insn narrow = *insn;
        narrow.immediate &= 0x7f;
        return execute(cpu, &narrow, op);
    }
    return execute(cpu, insn, op);
}
