/* All that a vCPU is, as plain data that no engine owns: what is saved, sent and compared.
 *
 * Source: Intel SDM vol. 1 ch. 3 and 13, vol. 3 ch. 2, 6 and 11. Threads: the owner's. */
#ifndef HV_CPU_STATE_H
#define HV_CPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct state;

enum cpu_gpr { /* the order of the instruction set */
               CPU_RAX,
               CPU_RCX,
               CPU_RDX,
               CPU_RBX,
               CPU_RSP,
               CPU_RBP,
               CPU_RSI,
               CPU_RDI,
               CPU_R8,
               CPU_R9,
               CPU_R10,
               CPU_R11,
               CPU_R12,
               CPU_R13,
               CPU_R14,
               CPU_R15,
               CPU_GPR_COUNT
};

enum cpu_seg { CPU_ES, CPU_CS, CPU_SS, CPU_DS, CPU_FS, CPU_GS, CPU_LDTR, CPU_TR, CPU_SEG_COUNT };

/* attributes: bits 8 to 23 of a descriptor's second word (type, S, DPL, P, AVL, L, D/B, G), moved down to bit 0; limit
 * in bytes, granularity applied already. An unusable segment has P clear. */
struct cpu_segment {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint16_t attributes;
};

enum cpu_attribute {
    CPU_SEG_TYPE = 0xf,
    CPU_SEG_S = 0x10,
    CPU_SEG_DPL = 0x60,
    CPU_SEG_DPL_SHIFT = 5,
    CPU_SEG_P = 0x80,
    CPU_SEG_AVL = 0x1000,
    CPU_SEG_L = 0x2000,
    CPU_SEG_DB = 0x4000,
    CPU_SEG_G = 0x8000,
};

struct cpu_table { /* GDTR, IDTR */
    uint64_t base;
    uint16_t limit;
};

/* The MSRs that are state (not those that follow from something else here). */
enum cpu_msr {
    CPU_MSR_TSC, /* the counter's value, at the same instant in all vCPUs of a paused guest */
    CPU_MSR_TSC_ADJUST,
    CPU_MSR_TSC_AUX,
    CPU_MSR_STAR,
    CPU_MSR_LSTAR,
    CPU_MSR_CSTAR,
    CPU_MSR_SFMASK,
    CPU_MSR_KERNEL_GS_BASE,
    CPU_MSR_SYSENTER_CS,
    CPU_MSR_SYSENTER_ESP,
    CPU_MSR_SYSENTER_EIP,
    CPU_MSR_PAT,
    CPU_MSR_MISC_ENABLE,
    CPU_MSR_SPEC_CTRL,
    CPU_MSR_XSS,
    CPU_MSR_MTRR_DEF_TYPE,
    CPU_MSR_MTRR_FIXED_0, /* 64K_00000, 16K_80000, 16K_A0000, 4K_C0000 ... 4K_F8000: 11 of them */
    CPU_MSR_MTRR_FIXED_10 = CPU_MSR_MTRR_FIXED_0 + 10,
    CPU_MSR_MTRR_BASE_0, /* base and mask in turns: 8 pairs */
    CPU_MSR_MTRR_MASK_7 = CPU_MSR_MTRR_BASE_0 + 15,
    CPU_MSR_KVM_SYSTEM_TIME,
    CPU_MSR_KVM_WALL_CLOCK,
    CPU_MSR_KVM_STEAL_TIME,
    CPU_MSR_KVM_PV_EOI,
    CPU_MSR_KVM_ASYNC_PF, /* MSR_KVM_ASYNC_PF_EN */
    CPU_MSR_KVM_ASYNC_PF_INT,
    CPU_MSR_KVM_POLL_CONTROL,
    CPU_MSR_COUNT
};
/* The index that RDMSR takes. */
uint32_t cpu_msr_index(enum cpu_msr msr);
const char *cpu_msr_name(enum cpu_msr msr);

enum cpu_activity { CPU_RUNNING, CPU_HALTED, CPU_WAITING_FOR_SIPI, CPU_UNINITIALIZED };

/* The standard (not compacted) XSAVE layout up to AVX: legacy 512, header 64, YMM 256. Every component's bytes count,
 * whatever XSTATE_BV in the header says; MXCSR_MASK is 0. */
enum { CPU_XSAVE_BYTES = 832, CPU_XSAVE_HEADER = 512, CPU_XSAVE_YMM = 576, CPU_LAPIC_BYTES = 1024 };

struct cpu_state {
    uint64_t gpr[CPU_GPR_COUNT];
    uint64_t rip, rflags;
    struct cpu_segment seg[CPU_SEG_COUNT];
    struct cpu_table gdt, idt;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
    uint64_t dr[4], dr6, dr7;
    uint64_t apic_base;
    uint64_t msr[CPU_MSR_COUNT];
    _Alignas(64) uint8_t xsave[CPU_XSAVE_BYTES];

    uint8_t activity; /* enum cpu_activity */
    uint8_t sipi_vector;
    bool sipi_pending, init_pending;
    bool interrupt_shadow; /* after MOV SS or STI: nothing is taken before the next instruction is done */
    bool nmi_pending, nmi_masked;
    bool exception_pending, exception_has_code; /* was being delivered when the vCPU stopped */
    uint8_t exception_vector;
    uint32_t exception_code;
    bool interrupt_pending; /* likewise: taken from the chip, not delivered yet */
    uint8_t interrupt_vector;

    /* The local APIC's registers as the architecture maps them (SDM 11.4.1): 32 bits at every multiple of 16. In x2APIC
     * mode the ID register holds the full 32-bit ID. */
    uint8_t lapic[CPU_LAPIC_BYTES];
    uint64_t tsc_deadline;
    uint64_t tsc_khz;     /* how fast the TSC runs; 0: as fast as the host's */
    uint64_t kvmclock_ns; /* what the paravirtual clock showed at the instant of CPU_MSR_TSC; vCPU 0's counts */
};

/* As after power-on or INIT (SDM vol. 3 table 10-1); index 0 runs, the others wait for SIPI. */
void cpu_state_reset(struct cpu_state *cpu, unsigned index);
/* Section "vcpu", instance = index. */
void cpu_state_state(struct cpu_state *cpu, unsigned index, struct state *state);

#endif
