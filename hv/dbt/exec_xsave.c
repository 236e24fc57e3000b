/* FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XRSTOR, XCR0, MXCSR. The vCPU's registers are kept in the very layout that these
 * write; a component whose bit in XSTATE_BV is clear counts as initial, whatever lies in its bytes.
 *
 * Source: Intel SDM vol. 1 ch. 10.5, 13. */
#include "hv/dbt/control.h"
#include "hv/dbt/exec.h"
#include "hv/dbt/exec_parts.h"

enum {
    X87 = 1,
    SSE = 2,
    AVX = 4,
    FXSAVE_BYTES = 512,
    FXSAVE_WRITTEN = 416,
    MXCSR_AT = 24,
    ST_AT = 32,
    XMM_AT = 160,
    XMM_BYTES = 256,
    XMM_BYTES_LEGACY = 128,
    HEADER_BYTES = 64,
    INITIAL_FCW = 0x37f,
    INITIAL_MXCSR = 0x1f80,
    POINTERS_AT = 6,
    YMM_BYTES = 256,
};

static uint64_t *in_use(struct dbt_cpu *cpu)
{
    return (uint64_t *)(void *)(cpu->xsave + CPU_XSAVE_HEADER);
}

static uint32_t mxcsr_mask(void)
{
    static _Atomic uint32_t known;
    if (!known) {
        _Alignas(16) uint8_t area[FXSAVE_BYTES] = {0};
        uint32_t mask;
        __asm__ volatile("fxsave %0" : "=m"(area));
        memcpy(&mask, area + MXCSR_AT + 4, 4);
        known = mask ? mask : 0xffbf;
    }
    return known;
}

static uint32_t get32(const uint8_t *from)
{
    uint32_t value;
    memcpy(&value, from, 4);
    return value;
}

static void put32(uint8_t *to, uint32_t value)
{
    memcpy(to, &value, 4);
}

static void init_x87(uint8_t *area)
{
    memset(area, 0, MXCSR_AT);
    memset(area + ST_AT, 0, XMM_AT - ST_AT);
    area[0] = INITIAL_FCW & 0xff;
    area[1] = INITIAL_FCW >> 8;
}

/* Makes the bytes of initial components say so, for who reads them. */
static void settle(struct dbt_cpu *cpu)
{
    uint64_t bv = *in_use(cpu);
    if (!(bv & X87))
        init_x87(cpu->xsave);
    if (!(bv & SSE))
        memset(cpu->xsave + XMM_AT, 0, XMM_BYTES);
    if (!(bv & AVX))
        memset(cpu->xsave + CPU_XSAVE_YMM, 0, YMM_BYTES);
}

/* What the host makes of an x87 image that somebody else wrote: reserved bits, the summary of exceptions. */
static void canonical_x87(uint8_t *xsave)
{
    _Alignas(16) uint8_t area[FXSAVE_BYTES] = {0};
    memcpy(area, xsave, ST_AT - 8);
    memcpy(area + ST_AT, xsave + ST_AT, XMM_AT - ST_AT);
    put32(area + MXCSR_AT, INITIAL_MXCSR);
    __asm__ volatile("fxrstor64 %0\n\t"
                     "fxsave64 %0\n\t"
                     "fninit"
                     : "+m"(area)
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15", "memory");
    memcpy(xsave, area, POINTERS_AT); /* FOP, FIP and FDP: not all hosts keep them */
    memcpy(xsave + ST_AT, area + ST_AT, XMM_AT - ST_AT);
    xsave[POINTERS_AT + 1] &= 7;
}

static unsigned xmm_bytes(const struct dbt_cpu *cpu)
{
    return cpu->code_bytes == 8 ? XMM_BYTES : XMM_BYTES_LEGACY;
}

/* ---- FXSAVE ---- */

static void check_fx(struct dbt_cpu *cpu)
{
    if (cpu->cr0 & (CPU_CR0_EM | CPU_CR0_TS))
        fault_raise(cpu, FAULT_NM);
}

static void fxsave(struct dbt_cpu *cpu, const struct insn *insn)
{
    check_fx(cpu);
    uint64_t at = exec_linear(cpu, insn, FXSAVE_BYTES, true);
    uint8_t area[FXSAVE_WRITTEN];
    if (at & 15) /* after #SS, other than below */
        fault_gp(cpu);
    mmu_check_store(cpu, at, FXSAVE_BYTES);
    settle(cpu);
    memcpy(area, cpu->xsave, sizeof area);
    put32(area + MXCSR_AT + 4, mxcsr_mask());
    mmu_store_bytes(cpu, at, area, XMM_AT + xmm_bytes(cpu));
}

static void fxrstor(struct dbt_cpu *cpu, const struct insn *insn)
{
    check_fx(cpu);
    uint64_t at = exec_linear(cpu, insn, FXSAVE_BYTES, false);
    uint8_t area[FXSAVE_BYTES];
    if (at & 15)
        fault_gp(cpu);
    mmu_load_bytes(cpu, at, area, sizeof area);
    if (get32(area + MXCSR_AT) & ~mxcsr_mask())
        fault_gp(cpu);
    settle(cpu);
    memcpy(cpu->xsave, area, XMM_AT + xmm_bytes(cpu));
    canonical_x87(cpu->xsave);
    put32(cpu->xsave + MXCSR_AT + 4, 0); /* the mask is the processor's, no state */
    *in_use(cpu) |= X87 | SSE;
}

static void check_mxcsr(struct dbt_cpu *cpu)
{
    if (cpu->cr0 & CPU_CR0_EM || !(cpu->cr4 & CPU_CR4_OSFXSR))
        fault_ud(cpu);
    if (cpu->cr0 & CPU_CR0_TS)
        fault_raise(cpu, FAULT_NM);
}

static void ldmxcsr(struct dbt_cpu *cpu, const struct insn *insn)
{
    check_mxcsr(cpu);
    uint32_t value = mmu_load32(cpu, exec_linear(cpu, insn, 4, false));
    if (value & ~mxcsr_mask())
        fault_gp(cpu);
    put32(cpu->xsave + MXCSR_AT, value);
}

static void stmxcsr(struct dbt_cpu *cpu, const struct insn *insn)
{
    check_mxcsr(cpu);
    mmu_store32(cpu, exec_linear(cpu, insn, 4, true), get32(cpu->xsave + MXCSR_AT));
}

/* ---- XSAVE ---- */

static uint64_t requested(struct dbt_cpu *cpu)
{
    if (!(cpu->cr4 & CPU_CR4_OSXSAVE))
        fault_ud(cpu);
    if (cpu->cr0 & CPU_CR0_TS)
        fault_raise(cpu, FAULT_NM);
    return (cpu->gpr[CPU_RDX] << 32 | (uint32_t)cpu->gpr[CPU_RAX]) & cpu->xcr0;
}

static uint64_t area_of(struct dbt_cpu *cpu, const struct insn *insn, uint64_t rfbm, bool write)
{
    unsigned bytes = rfbm & AVX ? CPU_XSAVE_BYTES : CPU_XSAVE_YMM;
    uint64_t at = segment_linear_aligned(cpu, insn->segment, exec_offset(cpu, insn), bytes, 64, write);
    if (write)
        mmu_check_store(cpu, at, bytes);
    return at;
}

static void xsave(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t rfbm = requested(cpu), at = area_of(cpu, insn, rfbm, true), bv = *in_use(cpu);
    uint64_t write = insn->kind == INSN_XSAVEOPT ? rfbm & bv : rfbm;
    uint64_t header = (mmu_load64(cpu, at + CPU_XSAVE_HEADER) & ~rfbm) | (bv & rfbm);
    settle(cpu);
    if (write & X87) {
        mmu_store_bytes(cpu, at, cpu->xsave, MXCSR_AT);
        mmu_store_bytes(cpu, at + ST_AT, cpu->xsave + ST_AT, XMM_AT - ST_AT);
    }
    if (rfbm & (SSE | AVX))
        mmu_store64(cpu, at + MXCSR_AT, (uint64_t)mxcsr_mask() << 32 | get32(cpu->xsave + MXCSR_AT));
    if (write & SSE)
        mmu_store_bytes(cpu, at + XMM_AT, cpu->xsave + XMM_AT, xmm_bytes(cpu));
    if (write & AVX)
        mmu_store_bytes(cpu, at + CPU_XSAVE_YMM, cpu->xsave + CPU_XSAVE_YMM, xmm_bytes(cpu));
    mmu_store64(cpu, at + CPU_XSAVE_HEADER, header);
}

static void xrstor(struct dbt_cpu *cpu, const struct insn *insn)
{
    uint64_t rfbm = requested(cpu), at = area_of(cpu, insn, rfbm, false);
    uint8_t area[CPU_XSAVE_BYTES] = {0};
    uint64_t header[HEADER_BYTES / 8];
    mmu_load_bytes(cpu, at, area, rfbm & AVX ? CPU_XSAVE_BYTES : CPU_XSAVE_YMM);
    memcpy(header, area + CPU_XSAVE_HEADER, sizeof header);
    if (header[0] & ~cpu->xcr0 || header[1] || header[2])
        fault_gp(cpu);
    if (rfbm & (SSE | AVX) && get32(area + MXCSR_AT) & ~mxcsr_mask())
        fault_gp(cpu);
    settle(cpu);
    uint64_t load = rfbm & header[0], *bv = in_use(cpu);
    if (load & X87) {
        memcpy(cpu->xsave, area, MXCSR_AT);
        memcpy(cpu->xsave + ST_AT, area + ST_AT, XMM_AT - ST_AT);
        canonical_x87(cpu->xsave);
    }
    if (rfbm & (SSE | AVX))
        memcpy(cpu->xsave + MXCSR_AT, area + MXCSR_AT, 4);
    if (load & SSE)
        memcpy(cpu->xsave + XMM_AT, area + XMM_AT, xmm_bytes(cpu));
    if (load & AVX)
        memcpy(cpu->xsave + CPU_XSAVE_YMM, area + CPU_XSAVE_YMM, xmm_bytes(cpu));
    bool some = xmm_bytes(cpu) != XMM_BYTES; /* 32-bit code reaches eight registers, the others stay */
    uint64_t stays = some ? *bv & rfbm & ~load & (SSE | AVX) : 0;
    if (stays & SSE)
        memset(cpu->xsave + XMM_AT, 0, XMM_BYTES_LEGACY);
    if (stays & AVX)
        memset(cpu->xsave + CPU_XSAVE_YMM, 0, XMM_BYTES_LEGACY);
    *bv = (*bv & ~rfbm) | load | stays;
    settle(cpu);
    exec_done(cpu, insn);
}

static void xgetbv(struct dbt_cpu *cpu, const struct insn *insn)
{
    (void)insn;
    if (!(cpu->cr4 & CPU_CR4_OSXSAVE))
        fault_ud(cpu);
    if ((uint32_t)cpu->gpr[CPU_RCX])
        fault_gp(cpu);
    cpu->gpr[CPU_RAX] = (uint32_t)cpu->xcr0;
    cpu->gpr[CPU_RDX] = cpu->xcr0 >> 32;
}

static void xsetbv(struct dbt_cpu *cpu, const struct insn *insn)
{
    if (!(cpu->cr4 & CPU_CR4_OSXSAVE))
        fault_ud(cpu);
    exec_need_cpl0(cpu);
    if ((uint32_t)cpu->gpr[CPU_RCX])
        fault_gp(cpu);
    control_set_xcr0(cpu, cpu->gpr[CPU_RDX] << 32 | (uint32_t)cpu->gpr[CPU_RAX]);
    exec_done(cpu, insn);
}

exec_fn *exec_xsave_bind(const struct insn *insn)
{
    switch (insn->kind) {
    case INSN_FXSAVE:
        return fxsave;
    case INSN_FXRSTOR:
        return fxrstor;
    case INSN_LDMXCSR:
        return ldmxcsr;
    case INSN_STMXCSR:
        return stmxcsr;
    case INSN_XSAVE:
    case INSN_XSAVEOPT:
        return xsave;
    case INSN_XRSTOR:
        return xrstor;
    case INSN_XGETBV:
        return xgetbv;
    case INSN_XSETBV:
        return xsetbv;
    default:
        return NULL;
    }
}
