/* A vCPU of the kernel's <-> cpu_state.h.
 *
 * Order when setting: registers first (they decide the mode the rest is judged in), then the LAPIC, the MSRs (the
 * deadline needs the LAPIC's timer mode), events and activity last, because the steps before may change both. The LAPIC
 * may be set only when all vCPUs exist, or INIT and SIPI to the others are lost: set() refuses before. */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/cpu_state.h"
#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum {
    APIC_BASE_BSP = 1 << 8,
    XSAVE_MXCSR_MASK = 28,
    XSAVE_UNUSED = 416, /* behind XMM15; the kernel keeps notes of its own there */
    XSAVE_X87_SSE = 3,
    XSAVE_AVX = 4,
};

static int call(struct kvm_vcpu *vcpu, unsigned long request, void *data, const char *what, struct err *err)
{
    if (ioctl(vcpu->fd, request, data))
        return err_set(err, errno, "vCPU %u: KVM does not %s: %s", vcpu->base.index, what, strerror(errno));
    return 0;
}

static struct kvm_vm *vm_of(struct kvm_vcpu *vcpu)
{
    return CONTAINER_OF(vcpu->base.vm, struct kvm_vm, base);
}

/* ---- general registers ---- */

static void general(struct kvm_regs *r, uint64_t *gpr, bool to_kernel)
{
    __u64 *const theirs[CPU_GPR_COUNT] = {&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi, &r->rdi,
                                          &r->r8,  &r->r9,  &r->r10, &r->r11, &r->r12, &r->r13, &r->r14, &r->r15};
    for (unsigned i = 0; i < CPU_GPR_COUNT; i++) {
        if (to_kernel)
            *theirs[i] = gpr[i];
        else
            gpr[i] = *theirs[i];
    }
}

static int general_get(struct kvm_vcpu *vcpu, struct cpu_state *cpu, struct err *err)
{
    struct kvm_regs r;
    int rc = call(vcpu, KVM_GET_REGS, &r, "tell registers", err);
    if (rc)
        return rc;
    general(&r, cpu->gpr, false);
    cpu->rip = r.rip;
    cpu->rflags = r.rflags;
    return 0;
}

static int general_set(struct kvm_vcpu *vcpu, const struct cpu_state *cpu, struct err *err)
{
    struct kvm_regs r = {.rip = cpu->rip, .rflags = cpu->rflags};
    uint64_t gpr[CPU_GPR_COUNT];
    memcpy(gpr, cpu->gpr, sizeof gpr);
    general(&r, gpr, true);
    return call(vcpu, KVM_SET_REGS, &r, "take registers", err);
}

/* ---- system registers ---- */

static void segment_from(struct cpu_segment *to, const struct kvm_segment *from)
{
    *to = (struct cpu_segment){.base = from->base, .limit = from->limit, .selector = from->selector};
    to->attributes = (uint16_t)(from->type | from->s << 4 | from->dpl << 5 | from->present << 7 | from->avl << 12 |
                                from->l << 13 | from->db << 14 | from->g << 15);
    if (from->unusable)
        to->attributes &= (uint16_t)~CPU_SEG_P;
}

static void segment_to(struct kvm_segment *to, const struct cpu_segment *from)
{
    uint16_t a = from->attributes;
    *to = (struct kvm_segment){.base = from->base,
                               .limit = from->limit,
                               .selector = from->selector,
                               .type = a & CPU_SEG_TYPE,
                               .s = !!(a & CPU_SEG_S),
                               .dpl = (a & CPU_SEG_DPL) >> CPU_SEG_DPL_SHIFT,
                               .present = !!(a & CPU_SEG_P),
                               .avl = !!(a & CPU_SEG_AVL),
                               .l = !!(a & CPU_SEG_L),
                               .db = !!(a & CPU_SEG_DB),
                               .g = !!(a & CPU_SEG_G),
                               .unusable = !(a & CPU_SEG_P)};
}

static void segments(struct kvm_sregs2 *s, struct kvm_segment *theirs[CPU_SEG_COUNT])
{
    struct kvm_segment *const order[CPU_SEG_COUNT] = {&s->es, &s->cs, &s->ss, &s->ds, &s->fs, &s->gs, &s->ldt, &s->tr};
    memcpy(theirs, order, sizeof order);
}

static int system_get(struct kvm_vcpu *vcpu, struct cpu_state *cpu, struct err *err)
{
    struct kvm_sregs2 s;
    struct kvm_segment *theirs[CPU_SEG_COUNT];
    int rc = call(vcpu, KVM_GET_SREGS2, &s, "tell system registers", err);
    if (rc)
        return rc;
    segments(&s, theirs);
    for (unsigned i = 0; i < CPU_SEG_COUNT; i++)
        segment_from(&cpu->seg[i], theirs[i]);
    cpu->gdt = (struct cpu_table){s.gdt.base, s.gdt.limit};
    cpu->idt = (struct cpu_table){s.idt.base, s.idt.limit};
    cpu->cr0 = s.cr0;
    cpu->cr2 = s.cr2;
    cpu->cr3 = s.cr3;
    cpu->cr4 = s.cr4;
    cpu->cr8 = s.cr8;
    cpu->efer = s.efer;
    cpu->apic_base = s.apic_base;
    return 0;
}

/* Without KVM_SREGS2_FLAGS_PDPTRS_VALID: the kernel reads them from the guest's memory again. */
static int system_set(struct kvm_vcpu *vcpu, const struct cpu_state *cpu, struct err *err)
{
    struct kvm_sregs2 s = {
        .gdt = {.base = cpu->gdt.base, .limit = cpu->gdt.limit},
        .idt = {.base = cpu->idt.base, .limit = cpu->idt.limit},
        .cr0 = cpu->cr0,
        .cr2 = cpu->cr2,
        .cr3 = cpu->cr3,
        .cr4 = cpu->cr4,
        .cr8 = cpu->cr8,
        .efer = cpu->efer,
        .apic_base = cpu->apic_base,
    };
    struct kvm_segment *theirs[CPU_SEG_COUNT];
    segments(&s, theirs);
    for (unsigned i = 0; i < CPU_SEG_COUNT; i++)
        segment_to(theirs[i], &cpu->seg[i]);
    return call(vcpu, KVM_SET_SREGS2, &s, "take system registers", err);
}

static int debug_get(struct kvm_vcpu *vcpu, struct cpu_state *cpu, struct err *err)
{
    struct kvm_debugregs d;
    int rc = call(vcpu, KVM_GET_DEBUGREGS, &d, "tell debug registers", err);
    if (rc)
        return rc;
    memcpy(cpu->dr, d.db, sizeof cpu->dr);
    cpu->dr6 = d.dr6;
    cpu->dr7 = d.dr7;
    return 0;
}

static int debug_set(struct kvm_vcpu *vcpu, const struct cpu_state *cpu, struct err *err)
{
    struct kvm_debugregs d = {.dr6 = cpu->dr6, .dr7 = cpu->dr7};
    memcpy(d.db, cpu->dr, sizeof cpu->dr);
    return call(vcpu, KVM_SET_DEBUGREGS, &d, "take debug registers", err);
}

/* ---- vector registers ---- */

static uint64_t components(const struct kvm_vcpu *vcpu)
{
    return XSAVE_X87_SSE | (vcpu->base.vm->model.xcr0 & XSAVE_AVX);
}

static int vector_get(struct kvm_vcpu *vcpu, struct cpu_state *cpu, struct err *err)
{
    struct kvm_xcrs xcrs = {0};
    int rc = call(vcpu, KVM_GET_XSAVE2, vcpu->xsave, "tell vector registers", err);
    if (!rc && vm_of(vcpu)->has_xcrs)
        rc = call(vcpu, KVM_GET_XCRS, &xcrs, "tell XCR0", err);
    if (rc)
        return rc;
    cpu->xcr0 = 1;
    for (unsigned i = 0; i < xcrs.nr_xcrs; i++)
        if (xcrs.xcrs[i].xcr == 0)
            cpu->xcr0 = xcrs.xcrs[i].value;
    const uint16_t fcw = 0x37f;
    const uint32_t mxcsr = 0x1f80;
    uint64_t present, wanted = components(vcpu);
    uint8_t *x = cpu->xsave;
    memcpy(x, vcpu->xsave, CPU_XSAVE_BYTES);
    memcpy(&present, x + CPU_XSAVE_HEADER, sizeof present);
    /* A component that is not present is in its first state (SDM vol. 1, 13.6): spelled out here. */
    if (!(present & 1)) {
        memset(x, 0, 24);
        memset(x + 32, 0, 128);
        memcpy(x, &fcw, sizeof fcw);
    }
    if (!(present & 6))
        memcpy(x + 24, &mxcsr, sizeof mxcsr);
    if (!(present & 2))
        memset(x + 160, 0, 256);
    if (!(present & wanted & XSAVE_AVX))
        memset(x + CPU_XSAVE_YMM, 0, CPU_XSAVE_BYTES - CPU_XSAVE_YMM);
    memset(x + XSAVE_MXCSR_MASK, 0, 4);
    memset(x + XSAVE_UNUSED, 0, CPU_XSAVE_YMM - XSAVE_UNUSED);
    memcpy(x + CPU_XSAVE_HEADER, &wanted, sizeof wanted);
    return 0;
}

static int vector_set(struct kvm_vcpu *vcpu, const struct cpu_state *cpu, struct err *err)
{
    struct kvm_vm *vm = vm_of(vcpu);
    uint64_t wanted = components(vcpu);
    memset(vcpu->xsave, 0, vm->xsave_bytes);
    memcpy(vcpu->xsave, cpu->xsave, CPU_XSAVE_BYTES);
    uint8_t *x = vcpu->xsave;
    memset(x + XSAVE_MXCSR_MASK, 0, 4);
    memset(x + XSAVE_UNUSED, 0, CPU_XSAVE_YMM - XSAVE_UNUSED);
    memcpy(x + CPU_XSAVE_HEADER, &wanted, sizeof wanted);
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = cpu->xcr0}}};
    int rc = vm->has_xcrs ? call(vcpu, KVM_SET_XCRS, &xcrs, "take XCR0", err) : 0;
    return rc ? rc : call(vcpu, KVM_SET_XSAVE, vcpu->xsave, "take vector registers", err);
}

/* ---- events ---- */

static int events_get(struct kvm_vcpu *vcpu, struct cpu_state *cpu, struct err *err)
{
    struct kvm_vcpu_events e = {0};
    struct kvm_mp_state mp;
    int rc = call(vcpu, KVM_GET_MP_STATE, &mp, "tell its activity", err); /* first: it takes a pending INIT in */
    if (!rc)
        rc = call(vcpu, KVM_GET_VCPU_EVENTS, &e, "tell events", err);
    if (rc)
        return rc;
    cpu->activity = mp.mp_state == KVM_MP_STATE_HALTED          ? CPU_HALTED
                    : mp.mp_state == KVM_MP_STATE_UNINITIALIZED ? CPU_UNINITIALIZED
                    : mp.mp_state == KVM_MP_STATE_INIT_RECEIVED || mp.mp_state == KVM_MP_STATE_SIPI_RECEIVED
                        ? CPU_WAITING_FOR_SIPI
                        : CPU_RUNNING;
    cpu->sipi_pending = mp.mp_state == KVM_MP_STATE_SIPI_RECEIVED;
    cpu->sipi_vector = cpu->sipi_pending ? (uint8_t)e.sipi_vector : 0;
    cpu->interrupt_shadow = e.interrupt.shadow;
    /* One that was on its way in is pending again: it starts over. */
    cpu->nmi_pending = e.nmi.pending || e.nmi.injected;
    cpu->nmi_masked = e.nmi.masked && !e.nmi.injected;
    cpu->exception_pending = e.exception.injected || e.exception.pending;
    if (cpu->exception_pending) {
        cpu->exception_vector = e.exception.nr;
        cpu->exception_has_code = e.exception.has_error_code;
        cpu->exception_code = e.exception.has_error_code ? e.exception.error_code : 0;
    }
    cpu->interrupt_pending = e.interrupt.injected;
    cpu->interrupt_vector = e.interrupt.injected ? e.interrupt.nr : 0;
    return 0;
}

static int events_set(struct kvm_vcpu *vcpu, const struct cpu_state *cpu, struct err *err)
{
    static const uint32_t activities[] = {
        [CPU_RUNNING] = KVM_MP_STATE_RUNNABLE,
        [CPU_HALTED] = KVM_MP_STATE_HALTED,
        [CPU_WAITING_FOR_SIPI] = KVM_MP_STATE_INIT_RECEIVED,
        [CPU_UNINITIALIZED] = KVM_MP_STATE_UNINITIALIZED,
    };
    /* MOV SS's shadow does all that STI's does; VMX refuses both at once. */
    struct kvm_vcpu_events e = {
        .exception = {.injected = cpu->exception_pending,
                      .nr = cpu->exception_vector,
                      .has_error_code = cpu->exception_has_code,
                      .error_code = cpu->exception_code},
        .interrupt = {.injected = cpu->interrupt_pending,
                      .nr = cpu->interrupt_vector,
                      .shadow = cpu->interrupt_shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0},
        .nmi = {.pending = cpu->nmi_pending, .masked = cpu->nmi_masked},
        .sipi_vector = cpu->sipi_vector,
        .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SHADOW,
    };
    if (cpu->activity >= sizeof activities / sizeof *activities)
        return err_set(err, EINVAL, "vCPU %u: activity %u is not known", vcpu->base.index, cpu->activity);
    struct kvm_mp_state mp = {activities[cpu->activity]};
    if (cpu->activity == CPU_WAITING_FOR_SIPI && cpu->sipi_pending)
        mp.mp_state = KVM_MP_STATE_SIPI_RECEIVED;
    int rc = call(vcpu, KVM_SET_VCPU_EVENTS, &e, "take events", err);
    return rc ? rc : call(vcpu, KVM_SET_MP_STATE, &mp, "take its activity", err);
}

/* What INIT does to a vCPU (SDM vol. 3 table 10-1): the kernel has no way to leave it pending. */
static void apply_init(struct cpu_state *cpu, unsigned index)
{
    struct cpu_state before = *cpu;
    cpu_state_reset(cpu, index);
    memcpy(cpu->msr, before.msr, sizeof cpu->msr);
    memcpy(cpu->xsave, before.xsave, sizeof cpu->xsave);
    cpu->xcr0 = before.xcr0;
    cpu->apic_base = before.apic_base;
    cpu->kvmclock_ns = before.kvmclock_ns;
    cpu->tsc_khz = before.tsc_khz;
    cpu->nmi_masked = false;
    if (!(before.apic_base & APIC_BASE_BSP)) {
        cpu->activity = CPU_WAITING_FOR_SIPI;
        cpu->sipi_pending = before.sipi_pending;
        cpu->sipi_vector = before.sipi_vector;
    } else {
        cpu->activity = CPU_RUNNING;
    }
}

/* ---- the interface ---- */

_Static_assert(CPU_LAPIC_BYTES == sizeof(struct kvm_lapic_state), "the kernel's LAPIC registers are laid out alike");

int kvm_state_get(struct vcpu *base, struct cpu_state *out, struct err *err)
{
    struct kvm_vcpu *vcpu = CONTAINER_OF(base, struct kvm_vcpu, base);
    struct cpu_state cpu = {0};
    int rc = events_get(vcpu, &cpu, err);
    if (!rc)
        rc = general_get(vcpu, &cpu, err);
    if (!rc)
        rc = system_get(vcpu, &cpu, err);
    if (!rc)
        rc = debug_get(vcpu, &cpu, err);
    if (!rc)
        rc = vector_get(vcpu, &cpu, err);
    if (!rc)
        rc = call(vcpu, KVM_GET_LAPIC, cpu.lapic, "tell its LAPIC", err);
    if (!rc)
        rc = kvm_msr_get(vcpu, &cpu, err);
    if (rc)
        return rc;
    cpu.kvmclock_ns = vm_of(vcpu)->clock_ns;
    cpu.tsc_khz = kvm_clock_khz(vcpu);
    *out = cpu;
    return 0;
}

int kvm_state_set(struct vcpu *base, const struct cpu_state *in, struct err *err)
{
    struct kvm_vcpu *vcpu = CONTAINER_OF(base, struct kvm_vcpu, base);
    struct kvm_vm *vm = vm_of(vcpu);
    struct cpu_state cpu = *in;
    if (vm->vcpus_made < vm->vcpu_count)
        return err_set(err, EBUSY, "vCPU %u gets its state before all %u are there", base->index, vm->vcpu_count);
    if (cpu.init_pending)
        apply_init(&cpu, base->index);
    if (base->index == 0)
        vm->clock_ns = cpu.kvmclock_ns;
    kvm_clock_set_khz(vcpu, cpu.tsc_khz);
    int rc = kvm_clock_set_tsc(vcpu, cpu.msr[CPU_MSR_TSC], err);
    if (!rc)
        rc = system_set(vcpu, &cpu, err);
    if (!rc)
        rc = general_set(vcpu, &cpu, err);
    if (!rc)
        rc = vector_set(vcpu, &cpu, err);
    if (!rc)
        rc = debug_set(vcpu, &cpu, err);
    if (!rc)
        rc = call(vcpu, KVM_SET_LAPIC, cpu.lapic, "take its LAPIC", err);
    if (!rc)
        rc = kvm_msr_set(vcpu, &cpu, err);
    return rc ? rc : events_set(vcpu, &cpu, err);
}
