/* See cpuid.h. A feature is offered if it is in the list below: by itself, or only if the host has it, too, because the
 * host executes it. Not offered, on purpose: SMAP (every access of the kernel to user memory would leave the fast
 * path), PKU, CET, XSAVEC and XSAVES, MONITOR, VMX and SVM, TSX, AVX-512, VME; and everything about speculation:
 * instead the guest is told that this processor needs no defence, since none of its code runs as it is. */
#include "hv/dbt/cpuid.h"

#include <cpuid.h>
#include <string.h>

#include "hv/dbt/vm.h"

enum {
    OSXSAVE = 1u << 27,
    ARCH_CAPABILITIES = 1u << 29,
    XSAVE_LEAF = 0xd,
    LEGACY_BYTES = 576,
    AVX_BYTES = 832,
    XCR0_AVX = 4
};
static const uint32_t no_subleaf = 0xffffffffu;

struct offer {
    uint32_t leaf, subleaf;
    uint32_t ours[4], hosts[4]; /* EAX, EBX, ECX, EDX: without and with the host's having it */
};

#define BIT(n) (1u << (n))

static const struct offer offers[] = {
    {1,
     0,
     {0, 0,
      /* PCID, x2APIC, MOVBE, TSC deadline, hypervisor */
      BIT(17) | BIT(21) | BIT(22) | BIT(24) | BIT(31),
      /* FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE36, CLFLUSH */
      0x1d | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) | BIT(11) | BIT(12) | BIT(13) | BIT(14) | BIT(15) | BIT(16) |
          BIT(17) | BIT(19)},
     {0, 0,
      /* SSE3, PCLMULQDQ, SSSE3, FMA, CX16, SSE4.1, SSE4.2, POPCNT, AES, XSAVE, AVX, F16C, RDRAND */
      BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(19) | BIT(20) | BIT(23) | BIT(25) | BIT(26) | BIT(28) |
          BIT(29) | BIT(30),
      /* MMX, FXSR, SSE, SSE2 */
      BIT(23) | BIT(24) | BIT(25) | BIT(26)}},
    {6, no_subleaf, {BIT(2)}, {0}}, /* ARAT */
    {7,
     0,
     {0,
      /* FSGSBASE, TSC_ADJUST, SMEP, ERMS, INVPCID, FCS and FDS zero, ADX, CLFLUSHOPT, CLWB */
      BIT(0) | BIT(1) | BIT(7) | BIT(9) | BIT(10) | BIT(13) | BIT(19) | BIT(23) | BIT(24),
      /* UMIP, RDPID */
      BIT(2) | BIT(22), BIT(4)}, /* FSRM */
     {0,
      /* BMI1, AVX2, BMI2, RDSEED, SHA */
      BIT(3) | BIT(5) | BIT(8) | BIT(18) | BIT(29),
      /* VAES, VPCLMULQDQ */
      BIT(9) | BIT(10), 0}},
    {XSAVE_LEAF, 1, {BIT(0)}, {0}}, /* XSAVEOPT */
    {0x80000001u,
     no_subleaf,
     {0, 0,
      /* LAHF, 3DNow! prefetch */
      BIT(0) | BIT(8),
      /* SYSCALL, NX, 1 GiB pages, RDTSCP, long mode */
      BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29)},
     {0, 0,
      /* ABM, misaligned SSE */
      BIT(5) | BIT(7),
      /* MMXEXT */
      BIT(22)}},
    {0x80000007u, no_subleaf, {0, 0, 0, BIT(8)}, {0}}, /* invariant TSC */
    /* no SSB, no BTC (Retbleed), IBPB flushes returns */
    {0x80000008u, no_subleaf, {0, BIT(26) | BIT(29), 0, 0}, {0}},
    /* LFENCE serialises, null selectors clear the base, automatic IBRS, no SRSO */
    {0x80000021u, no_subleaf, {BIT(2) | BIT(6) | BIT(8) | BIT(29), 0, BIT(1) | BIT(2), 0}, {0}},
    /* KVM: no I/O delays, clock, stable clock */
    {0x40000001u, no_subleaf, {BIT(1) | BIT(3) | BIT(24)}, {0}},
};

static void add(struct cpuid_table *t, uint32_t leaf, uint32_t subleaf, const uint32_t r[4])
{
    if (t->count == CPUID_LEAF_MAX)
        return;
    t->leaf[t->count++] =
        (struct cpuid_leaf){leaf, subleaf == no_subleaf ? 0 : subleaf, subleaf != no_subleaf, r[0], r[1], r[2], r[3]};
}

/* Leaves that describe: as the host has them. */
static void describe(struct cpuid_table *t)
{
    static const uint32_t plain[] = {0x80000002u, 0x80000003u, 0x80000004u, 0x80000005u, 0x80000006u};
    uint32_t r[4];
    __cpuid(0, r[0], r[1], r[2], r[3]);
    r[0] = XSAVE_LEAF;
    add(t, 0, no_subleaf, r);
    __cpuid(0x80000000u, r[0], r[1], r[2], r[3]);
    if (r[0] > 0x80000021u)
        r[0] = 0x80000021u;
    add(t, 0x80000000u, no_subleaf, r);
    for (unsigned i = 0; i < sizeof plain / sizeof *plain; i++) {
        __cpuid(plain[i], r[0], r[1], r[2], r[3]);
        add(t, plain[i], no_subleaf, r);
    }
    for (unsigned i = 0; i < 4; i++) {
        __cpuid_count(4, i, r[0], r[1], r[2], r[3]);
        add(t, 4, i, r);
        __cpuid_count(0x8000001du, i, r[0], r[1], r[2], r[3]);
        add(t, 0x8000001du, i, r);
    }
}

static bool host_is_intel(void)
{
    uint32_t r[4];
    __cpuid(0, r[0], r[1], r[2], r[3]);
    return !memcmp(&r[1], "Genu", 4);
}

void dbt_cpuid_supported(struct cpuid_table *t)
{
    t->count = 0;
    describe(t);
    for (unsigned i = 0; i < sizeof offers / sizeof *offers; i++) {
        const struct offer *o = &offers[i];
        uint32_t host[4] = {0}, r[4];
        bool kvm = o->leaf >> 28 == 4;
        if (!kvm)
            __cpuid_count(o->leaf, o->subleaf == no_subleaf ? 0 : o->subleaf, host[0], host[1], host[2], host[3]);
        for (unsigned n = 0; n < 4; n++)
            r[n] = o->ours[n] | (o->hosts[n] & host[n]);
        if (o->leaf == 1 || o->leaf == 0x80000001u)
            r[0] = host[0]; /* family and model */
        if (o->leaf == 0x80000008u)
            r[0] = host[0] & 0xffff; /* sizes of addresses */
        add(t, o->leaf, o->subleaf, r);
    }
    if (host_is_intel()) /* AMD's processors do not have it, and do not need it */
        for (unsigned i = 0; i < t->count; i++)
            if (t->leaf[i].leaf == 7)
                t->leaf[i].edx |= ARCH_CAPABILITIES;
    uint32_t xcr0[4] = {7, LEGACY_BYTES, AVX_BYTES, 0};
    add(t, XSAVE_LEAF, 0, xcr0);
}

void dbt_cpuid(const struct dbt_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    cpu_model_query(&cpu->vm->vm.model, cpu->index, leaf, subleaf, out);
    if (leaf == 1 && cpu->cr4 & CPU_CR4_OSXSAVE)
        out[2] |= OSXSAVE;
    if (leaf == XSAVE_LEAF && !subleaf && out[1])
        out[1] = cpu->xcr0 & XCR0_AVX ? AVX_BYTES : LEGACY_BYTES;
}

uint64_t dbt_cpuid_cr4(const struct cpu_model *model)
{
    uint32_t l1[4], l7[4];
    cpu_model_query(model, 0, 1, 0, l1);
    cpu_model_query(model, 0, 7, 0, l7);
    uint32_t highest[4];
    cpu_model_query(model, 0, 0, 0, highest);
    if (highest[0] < 7)
        memset(l7, 0, sizeof l7);
    uint64_t cr4 = CPU_CR4_TSD | CPU_CR4_DE | CPU_CR4_PSE | CPU_CR4_PAE | CPU_CR4_MCE | CPU_CR4_PGE | CPU_CR4_PCE |
                   CPU_CR4_OSFXSR | CPU_CR4_OSXMMEXCPT;
    cr4 |= l1[2] & BIT(17) ? CPU_CR4_PCIDE : 0;
    cr4 |= l1[2] & BIT(26) ? CPU_CR4_OSXSAVE : 0;
    cr4 |= l7[1] & BIT(0) ? CPU_CR4_FSGSBASE : 0;
    cr4 |= l7[1] & BIT(7) ? CPU_CR4_SMEP : 0;
    cr4 |= l7[1] & BIT(20) ? CPU_CR4_SMAP : 0;
    cr4 |= l7[2] & BIT(2) ? CPU_CR4_UMIP : 0;
    return cr4;
}

uint64_t dbt_cpuid_efer(const struct cpu_model *model)
{
    uint32_t more[4];
    cpu_model_query(model, 0, 0x80000021u, 0, more);
    return CPU_EFER_SCE | CPU_EFER_LME | CPU_EFER_LMA | CPU_EFER_NX | (more[0] & BIT(8) ? CPU_EFER_AUTOIBRS : 0);
}

bool dbt_cpuid_arch_capabilities(const struct cpu_model *model)
{
    uint32_t l7[4];
    cpu_model_query(model, 0, 7, 0, l7);
    return l7[3] & ARCH_CAPABILITIES;
}

unsigned dbt_cpuid_physical_bits(const struct cpu_model *model)
{
    uint32_t sizes[4];
    cpu_model_query(model, 0, 0x80000008u, 0, sizes);
    unsigned bits = sizes[0] & 0xff;
    return bits >= 32 && bits <= 52 ? bits : 36;
}
