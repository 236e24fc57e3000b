/* A debugger's steps and points under KVM. While it is there, KVM brings us every breakpoint instruction of the guest,
 * and while it steps or has points, every #DB, too; what is the guest's own goes back to the guest. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { VECTOR_DB = 1, VECTOR_BP = 3, DR6_POINTS = 15, DR6_STEP = 1 << 14, DR7_FIXED = 0x600 };

static struct kvm_vm *vm_of(struct kvm_vcpu *vcpu)
{
    return CONTAINER_OF(vcpu->base.vm, struct kvm_vm, base);
}

static uint64_t dr7_of(const struct vcpu_point *p, unsigned i)
{
    static const uint8_t kinds[] = {[VCPU_POINT_CODE] = 0, [VCPU_POINT_WRITE] = 1, [VCPU_POINT_ACCESS] = 3};
    static const uint8_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2, [15] = 0};
    uint64_t what = kinds[p->kind];
    if (p->kind != VCPU_POINT_CODE)
        what |= (uint64_t)lengths[p->bytes & 15] << 2;
    return 2ull << 2 * i | what << (16 + 4 * i);
}

/* Interrupts wait during a step, where the kernel knows how (Linux 5.15). */
static uint32_t step_flags(struct kvm_vcpu *vcpu)
{
    struct kvm_mp_state mp = {0};
    int can = ioctl(vm_of(vcpu)->fd, KVM_CHECK_EXTENSION, KVM_CAP_SET_GUEST_DEBUG2);
    bool halted = ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) == 0 && mp.mp_state == KVM_MP_STATE_HALTED;
    bool hold = can > 0 && can & KVM_GUESTDBG_BLOCKIRQ && !halted;
    return KVM_GUESTDBG_SINGLESTEP | (hold ? KVM_GUESTDBG_BLOCKIRQ : 0);
}

int kvm_debug(struct vcpu *base, const struct vcpu_debug *debug, struct err *err)
{
    struct kvm_vcpu *vcpu = CONTAINER_OF(base, struct kvm_vcpu, base);
    struct kvm_guest_debug d = {0};
    vcpu->debug = debug ? *debug : (struct vcpu_debug){0};
    if (vcpu->debug.planted)
        d.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
    if (vcpu->debug.step)
        d.control |= KVM_GUESTDBG_ENABLE | step_flags(vcpu);
    for (unsigned i = 0; i < vcpu->debug.point_count; i++) {
        d.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
        d.arch.debugreg[i] = vcpu->debug.points[i].linear;
        d.arch.debugreg[7] |= DR7_FIXED | dr7_of(&vcpu->debug.points[i], i);
    }
    if (ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &d))
        return err_set(err, errno, "vCPU %u: KVM does not debug: %s", base->index, strerror(errno));
    return 0;
}

/* ---- an exit ---- */

static bool stopped(struct kvm_vcpu *vcpu, enum vcpu_stop_kind kind, unsigned point, enum vcpu_exit *exit)
{
    vcpu->base.stop = (struct vcpu_stop){kind, point};
    *exit = VCPU_STOPPED;
    return false;
}

static bool is_planted(struct kvm_vcpu *vcpu, uint64_t linear)
{
    struct kvm_translation where = {.linear_address = linear};
    if (!vcpu->debug.planted || ioctl(vcpu->fd, KVM_TRANSLATE, &where) || !where.valid)
        return false;
    return vcpu->debug.planted(vcpu->debug.context, where.physical_address);
}

/* As if it had never come to us. */
static bool pass_on(struct kvm_vcpu *vcpu, uint32_t vector, uint64_t dr6)
{
    struct kvm_debugregs d;
    struct kvm_vcpu_events e;
    if (vector == VECTOR_DB) {
        if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &d))
            return false;
        d.dr6 |= dr6;
        if (ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &d))
            return false;
    }
    if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &e))
        return false;
    e.exception.injected = 1;
    e.exception.nr = (uint8_t)vector;
    e.exception.has_error_code = 0;
    e.flags = 0;
    return ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, &e) == 0;
}

bool kvm_debug_exit(struct kvm_vcpu *vcpu, enum vcpu_exit *exit)
{
    const struct kvm_debug_exit_arch *d = &vcpu->run->debug.arch;
    const struct vcpu_debug *debug = &vcpu->debug;
    if (d->exception == VECTOR_BP && is_planted(vcpu, d->pc))
        return stopped(vcpu, VCPU_STOP_BREAKPOINT, 0, exit);
    if (d->exception == VECTOR_DB) {
        for (unsigned i = 0; i < debug->point_count; i++)
            if (d->dr6 >> i & 1)
                return stopped(vcpu, VCPU_STOP_POINT, i, exit);
        if (debug->step && d->dr6 & DR6_STEP)
            return stopped(vcpu, VCPU_STOP_STEP, 0, exit);
    }
    return pass_on(vcpu, d->exception, d->dr6 & (DR6_POINTS | DR6_STEP));
}
