/* Time, for a guest that runs and for one that stands still.
 *
 * The TSC of a guest is the host's, scaled to the speed that the guest knows, plus an offset. The kernel alone knows
 * the scale to the last bit, so what the host's counts for is asked of it: a vCPU's TSC less its offset. While the
 * guest stands still each vCPU's value is a number (vcpu->tsc); when it goes on, all offsets are made from those
 * numbers and one reading of the host's TSC, so the vCPUs keep the distance they had (usually none, which is what the
 * kernel wants to see before it calls the paravirtual clock stable). That clock is read when the guest stops and put
 * back when it goes on.
 *
 * Timers of the kernel's LAPICs run on meanwhile. One may fire early after a pause; guests look at the clock then and
 * set it again. */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

static const uint32_t tsc_index = 0x10;

static struct kvm_device_attr attribute(uint64_t *offset)
{
    return (struct kvm_device_attr){.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};
}

static uint64_t offset_of(struct kvm_vcpu *vcpu)
{
    uint64_t offset = 0;
    struct kvm_device_attr attr = attribute(&offset);
    if (ioctl(vcpu->fd, KVM_GET_DEVICE_ATTR, &attr))
        log_error("KVM does not tell the TSC of vCPU %u: %s", vcpu->base.index, strerror(errno));
    return offset;
}

static int set_offset(struct kvm_vcpu *vcpu, uint64_t offset)
{
    struct kvm_device_attr attr = attribute(&offset);
    return ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, &attr) ? -errno : 0;
}

/* As struct kvm_msrs, with room for one. */
struct one_msr {
    uint32_t count, padding;
    struct kvm_msr_entry entry;
};
_Static_assert(offsetof(struct one_msr, entry) == offsetof(struct kvm_msrs, entries), "struct kvm_msrs");

static uint64_t tsc_of(struct kvm_vcpu *vcpu)
{
    struct one_msr msr = {.count = 1, .entry.index = tsc_index};
    if (ioctl(vcpu->fd, KVM_GET_MSRS, &msr) != 1)
        log_error("KVM does not tell the TSC of vCPU %u", vcpu->base.index);
    return msr.entry.data;
}

static uint64_t scaled_host_tsc(struct kvm_vcpu *vcpu)
{
    return tsc_of(vcpu) - offset_of(vcpu);
}

uint64_t kvm_clock_tsc(struct kvm_vcpu *vcpu)
{
    struct kvm_vm *vm = CONTAINER_OF(vcpu->base.vm, struct kvm_vm, base);
    return vm->paused ? vcpu->tsc : tsc_of(vcpu);
}

/* Also at once, not only when the guest goes on: a deadline is armed by what the TSC shows at that moment. */
int kvm_clock_set_tsc(struct kvm_vcpu *vcpu, uint64_t tsc, struct err *err)
{
    vcpu->tsc = tsc;
    int rc = set_offset(vcpu, tsc - scaled_host_tsc(vcpu));
    return rc ? err_set(err, -rc, "KVM does not take the TSC: %s", strerror(-rc)) : 0;
}

uint64_t kvm_clock_khz(const struct kvm_vcpu *vcpu)
{
    int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
    return khz > 0 ? (uint64_t)khz : 0;
}

/* A processor without TSC scaling cannot do it: the guest then goes on with a clock that is wrong by as much as the
 * speeds differ, if it uses the TSC without the paravirtual clock. */
void kvm_clock_set_khz(struct kvm_vcpu *vcpu, uint64_t khz)
{
    uint64_t now = kvm_clock_khz(vcpu);
    if (!khz || khz == now)
        return;
    if (ioctl(vcpu->fd, KVM_SET_TSC_KHZ, khz))
        log_warn("vCPU %u: its TSC ran at %llu kHz, here it runs at %llu: this processor cannot scale it",
                 vcpu->base.index, (unsigned long long)khz, (unsigned long long)now);
}

void kvm_clock_pause(struct vm *base)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    if (vm->paused || !vm->vcpus_made)
        return;
    uint64_t host = scaled_host_tsc(vm->vcpus[0]);
    struct kvm_clock_data clock = {0};
    if (ioctl(vm->fd, KVM_GET_CLOCK, &clock))
        log_error("KVM does not tell the guest's clock: %s", strerror(errno));
    vm->clock_ns = clock.clock;
    for (unsigned i = 0; i < vm->vcpus_made; i++) {
        vm->vcpus[i]->tsc = host + offset_of(vm->vcpus[i]);
        ioctl(vm->vcpus[i]->fd, KVM_KVMCLOCK_CTRL, 0); /* "you stood still"; fails if the guest does not use it */
    }
    vm->paused = true;
}

void kvm_clock_resume(struct vm *base)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    struct err err;
    if (kvm_memory_map(vm, &err))
        log_error("%s", err.text);
    if (!vm->paused || !vm->vcpus_made)
        return;
    uint64_t host = scaled_host_tsc(vm->vcpus[0]);
    int rc = 0;
    for (unsigned i = 0; !rc && i < vm->vcpus_made; i++)
        rc = set_offset(vm->vcpus[i], vm->vcpus[i]->tsc - host);
    struct kvm_clock_data clock = {.clock = vm->clock_ns};
    if (rc || ioctl(vm->fd, KVM_SET_CLOCK, &clock))
        log_error("KVM does not take the guest's clock: %s", strerror(rc ? -rc : errno));
    vm->paused = false;
}
