#include "hv/cpu_state.h"

#include <stdio.h>
#include <string.h>

#include "hv/state.h"

enum { CPU_VERSION = 1, MXCSR_AT = 24, FCW_AT = 0, TSC_KHZ_MIN = 1000, TSC_KHZ_MAX = 100000000 };

static const struct {
    uint32_t index;
    const char *name;
} msrs[CPU_MSR_COUNT] = {
    [CPU_MSR_TSC] = {0x10, "tsc"},
    [CPU_MSR_TSC_ADJUST] = {0x3b, "tsc-adjust"},
    [CPU_MSR_TSC_AUX] = {0xc0000103, "tsc-aux"},
    [CPU_MSR_STAR] = {0xc0000081, "star"},
    [CPU_MSR_LSTAR] = {0xc0000082, "lstar"},
    [CPU_MSR_CSTAR] = {0xc0000083, "cstar"},
    [CPU_MSR_SFMASK] = {0xc0000084, "sfmask"},
    [CPU_MSR_KERNEL_GS_BASE] = {0xc0000102, "kernel-gs-base"},
    [CPU_MSR_SYSENTER_CS] = {0x174, "sysenter-cs"},
    [CPU_MSR_SYSENTER_ESP] = {0x175, "sysenter-esp"},
    [CPU_MSR_SYSENTER_EIP] = {0x176, "sysenter-eip"},
    [CPU_MSR_PAT] = {0x277, "pat"},
    [CPU_MSR_MISC_ENABLE] = {0x1a0, "misc-enable"},
    [CPU_MSR_SPEC_CTRL] = {0x48, "spec-ctrl"},
    [CPU_MSR_XSS] = {0xda0, "xss"},
    [CPU_MSR_MTRR_DEF_TYPE] = {0x2ff, "mtrr-def-type"},
    [CPU_MSR_MTRR_FIXED_0] = {0x250, "mtrr-64k-00000"},
    [CPU_MSR_MTRR_FIXED_0 + 1] = {0x258, "mtrr-16k-80000"},
    [CPU_MSR_MTRR_FIXED_0 + 2] = {0x259, "mtrr-16k-a0000"},
    [CPU_MSR_MTRR_FIXED_0 + 3] = {0x268, "mtrr-4k-c0000"},
    [CPU_MSR_MTRR_FIXED_0 + 4] = {0x269, "mtrr-4k-c8000"},
    [CPU_MSR_MTRR_FIXED_0 + 5] = {0x26a, "mtrr-4k-d0000"},
    [CPU_MSR_MTRR_FIXED_0 + 6] = {0x26b, "mtrr-4k-d8000"},
    [CPU_MSR_MTRR_FIXED_0 + 7] = {0x26c, "mtrr-4k-e0000"},
    [CPU_MSR_MTRR_FIXED_0 + 8] = {0x26d, "mtrr-4k-e8000"},
    [CPU_MSR_MTRR_FIXED_0 + 9] = {0x26e, "mtrr-4k-f0000"},
    [CPU_MSR_MTRR_FIXED_10] = {0x26f, "mtrr-4k-f8000"},
    [CPU_MSR_MTRR_BASE_0] = {0x200, "mtrr-base-0"},
    [CPU_MSR_MTRR_BASE_0 + 1] = {0x201, "mtrr-mask-0"},
    [CPU_MSR_MTRR_BASE_0 + 2] = {0x202, "mtrr-base-1"},
    [CPU_MSR_MTRR_BASE_0 + 3] = {0x203, "mtrr-mask-1"},
    [CPU_MSR_MTRR_BASE_0 + 4] = {0x204, "mtrr-base-2"},
    [CPU_MSR_MTRR_BASE_0 + 5] = {0x205, "mtrr-mask-2"},
    [CPU_MSR_MTRR_BASE_0 + 6] = {0x206, "mtrr-base-3"},
    [CPU_MSR_MTRR_BASE_0 + 7] = {0x207, "mtrr-mask-3"},
    [CPU_MSR_MTRR_BASE_0 + 8] = {0x208, "mtrr-base-4"},
    [CPU_MSR_MTRR_BASE_0 + 9] = {0x209, "mtrr-mask-4"},
    [CPU_MSR_MTRR_BASE_0 + 10] = {0x20a, "mtrr-base-5"},
    [CPU_MSR_MTRR_BASE_0 + 11] = {0x20b, "mtrr-mask-5"},
    [CPU_MSR_MTRR_BASE_0 + 12] = {0x20c, "mtrr-base-6"},
    [CPU_MSR_MTRR_BASE_0 + 13] = {0x20d, "mtrr-mask-6"},
    [CPU_MSR_MTRR_BASE_0 + 14] = {0x20e, "mtrr-base-7"},
    [CPU_MSR_MTRR_MASK_7] = {0x20f, "mtrr-mask-7"},
    [CPU_MSR_KVM_SYSTEM_TIME] = {0x4b564d01, "kvm-system-time"},
    [CPU_MSR_KVM_WALL_CLOCK] = {0x4b564d00, "kvm-wall-clock"},
    [CPU_MSR_KVM_STEAL_TIME] = {0x4b564d03, "kvm-steal-time"},
    [CPU_MSR_KVM_PV_EOI] = {0x4b564d04, "kvm-pv-eoi"},
    [CPU_MSR_KVM_ASYNC_PF] = {0x4b564d02, "kvm-async-pf"},
    [CPU_MSR_KVM_ASYNC_PF_INT] = {0x4b564d06, "kvm-async-pf-int"},
    [CPU_MSR_KVM_POLL_CONTROL] = {0x4b564d05, "kvm-poll-control"},
};

uint32_t cpu_msr_index(enum cpu_msr msr)
{
    return msrs[msr].index;
}

const char *cpu_msr_name(enum cpu_msr msr)
{
    return msrs[msr].name;
}

static void reset_lapic(struct cpu_state *cpu, unsigned index)
{
    static const unsigned masked[] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370}; /* the LVTs */
    const uint32_t mask = 0x10000, flat = 0xffffffff, version = 0x50014, spurious = 0xff, id = index << 24;
    memset(cpu->lapic, 0, sizeof cpu->lapic);
    memcpy(cpu->lapic + 0x20, &id, sizeof id);
    memcpy(cpu->lapic + 0x30, &version, sizeof version);
    memcpy(cpu->lapic + 0xe0, &flat, sizeof flat);
    memcpy(cpu->lapic + 0xf0, &spurious, sizeof spurious);
    for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++)
        memcpy(cpu->lapic + masked[i], &mask, sizeof mask);
}

static void reset_segments(struct cpu_state *cpu)
{
    for (unsigned i = 0; i < CPU_SEG_COUNT; i++)
        cpu->seg[i] = (struct cpu_segment){.limit = 0xffff, .attributes = CPU_SEG_P | CPU_SEG_S | 3};
    cpu->seg[CPU_CS].selector = 0xf000;
    cpu->seg[CPU_CS].base = 0xffff0000;
    cpu->seg[CPU_CS].attributes = CPU_SEG_P | CPU_SEG_S | 0xb;
    cpu->seg[CPU_LDTR].attributes = CPU_SEG_P | 2;
    cpu->seg[CPU_TR].attributes = CPU_SEG_P | 0xb; /* busy 32-bit TSS, as VMX wants it */
    cpu->gdt.limit = cpu->idt.limit = 0xffff;
}

void cpu_state_reset(struct cpu_state *cpu, unsigned index)
{
    const uint32_t mxcsr = 0x1f80;
    const uint16_t fcw = 0x40;
    memset(cpu, 0, sizeof *cpu);
    reset_segments(cpu);
    reset_lapic(cpu, index);
    cpu->rip = 0xfff0;
    cpu->rflags = 2;
    cpu->gpr[CPU_RDX] = 0x600;
    cpu->cr0 = 0x60000010;
    cpu->xcr0 = 1;
    cpu->dr6 = 0xffff0ff0;
    cpu->dr7 = 0x400;
    cpu->apic_base = 0xfee00800 | (index ? 0 : 0x100);
    cpu->msr[CPU_MSR_PAT] = 0x0007040600070406;
    cpu->msr[CPU_MSR_MISC_ENABLE] = 1;
    cpu->msr[CPU_MSR_KVM_POLL_CONTROL] = 1;
    memcpy(cpu->xsave + FCW_AT, &fcw, sizeof fcw);
    memcpy(cpu->xsave + MXCSR_AT, &mxcsr, sizeof mxcsr);
    cpu->activity = index ? CPU_UNINITIALIZED : CPU_RUNNING;
}

/* ---- saving and loading ---- */

static void segments(struct cpu_state *cpu, struct state *s)
{
    static const char *const names[CPU_SEG_COUNT] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
    for (unsigned i = 0; i < CPU_SEG_COUNT; i++) {
        struct cpu_segment *seg = &cpu->seg[i];
        char name[STATE_NAME_MAX];
        snprintf(name, sizeof name, "%s.base", names[i]);
        state_u64(s, name, &seg->base);
        snprintf(name, sizeof name, "%s.limit", names[i]);
        state_u32(s, name, &seg->limit);
        snprintf(name, sizeof name, "%s.selector", names[i]);
        state_u16(s, name, &seg->selector);
        snprintf(name, sizeof name, "%s.attributes", names[i]);
        state_u16(s, name, &seg->attributes);
    }
    state_u64(s, "gdt.base", &cpu->gdt.base);
    state_u16(s, "gdt.limit", &cpu->gdt.limit);
    state_u64(s, "idt.base", &cpu->idt.base);
    state_u16(s, "idt.limit", &cpu->idt.limit);
}

static void registers(struct cpu_state *cpu, struct state *s)
{
    static const char *const names[CPU_GPR_COUNT] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    static const char *const debug[] = {"dr0", "dr1", "dr2", "dr3"};
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++)
        state_u64(s, names[i], &cpu->gpr[i]);
    state_u64(s, "rip", &cpu->rip);
    state_u64(s, "rflags", &cpu->rflags);
    state_u64(s, "cr0", &cpu->cr0);
    state_u64(s, "cr2", &cpu->cr2);
    state_u64(s, "cr3", &cpu->cr3);
    state_u64(s, "cr4", &cpu->cr4);
    state_u64(s, "cr8", &cpu->cr8);
    state_u64(s, "efer", &cpu->efer);
    state_u64(s, "xcr0", &cpu->xcr0);
    for (unsigned i = 0; i < 4; i++)
        state_u64(s, debug[i], &cpu->dr[i]);
    state_u64(s, "dr6", &cpu->dr6);
    state_u64(s, "dr7", &cpu->dr7);
    state_u64(s, "apic-base", &cpu->apic_base);
    state_check(s, !(cpu->xcr0 & ~7ull) && cpu->xcr0 & 1, "xcr0 has bits that are not kept");
    state_check(s, cpu->cr8 < 16, "cr8 is over 15");
}

static void events(struct cpu_state *cpu, struct state *s)
{
    state_u8(s, "activity", &cpu->activity);
    state_check(s, cpu->activity <= CPU_UNINITIALIZED, "activity is not known");
    state_u8(s, "sipi-vector", &cpu->sipi_vector);
    state_bool(s, "sipi-pending", &cpu->sipi_pending);
    state_bool(s, "init-pending", &cpu->init_pending);
    state_bool(s, "interrupt-shadow", &cpu->interrupt_shadow);
    state_bool(s, "nmi-pending", &cpu->nmi_pending);
    state_bool(s, "nmi-masked", &cpu->nmi_masked);
    state_bool(s, "exception-pending", &cpu->exception_pending);
    state_bool(s, "exception-has-code", &cpu->exception_has_code);
    state_u8(s, "exception-vector", &cpu->exception_vector);
    state_check(s, cpu->exception_vector < 32, "an exception has a vector over 31");
    state_u32(s, "exception-code", &cpu->exception_code);
    state_bool(s, "interrupt-pending", &cpu->interrupt_pending);
    state_u8(s, "interrupt-vector", &cpu->interrupt_vector);
}

void cpu_state_state(struct cpu_state *cpu, unsigned index, struct state *s)
{
    if (!state_begin(s, "vcpu", index, CPU_VERSION))
        return;
    registers(cpu, s);
    segments(cpu, s);
    for (unsigned i = 0; i < CPU_MSR_COUNT; i++)
        state_u64(s, msrs[i].name, &cpu->msr[i]);
    state_bytes(s, "xsave", cpu->xsave, sizeof cpu->xsave);
    events(cpu, s);
    state_bytes(s, "lapic", cpu->lapic, sizeof cpu->lapic);
    state_u64(s, "tsc-deadline", &cpu->tsc_deadline);
    state_u64(s, "kvmclock-ns", &cpu->kvmclock_ns);
    state_u64(s, "tsc-khz", &cpu->tsc_khz);
    state_check(s, !cpu->tsc_khz || (cpu->tsc_khz >= TSC_KHZ_MIN && cpu->tsc_khz <= TSC_KHZ_MAX),
                "the TSC cannot be that fast or slow");
    state_end(s);
}
