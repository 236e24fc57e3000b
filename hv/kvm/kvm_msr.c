/* MSRs. All at once; the kernel stops at the first it does not have, and says where. One that is not there reads as 0,
 * and can only be set to 0. The TSC is not among them: kvm_clock.c. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/cpu_state.h"
#include "hv/kvm/kvm_vm.h"
#include "node/base/err.h"

static const uint32_t tsc_deadline = 0x6e0;

/* As struct kvm_msrs, with room. */
struct batch {
    uint32_t count, padding;
    struct kvm_msr_entry entries[CPU_MSR_COUNT + 1];
};
_Static_assert(offsetof(struct batch, entries) == offsetof(struct kvm_msrs, entries), "struct kvm_msrs");

/* How many the kernel took, starting with the first of count. */
static int transfer(struct kvm_vcpu *vcpu, unsigned long request, struct kvm_msr_entry *entries, unsigned count)
{
    struct batch batch = {.count = count};
    memcpy(batch.entries, entries, count * sizeof *entries);
    int done = ioctl(vcpu->fd, request, &batch);
    memcpy(entries, batch.entries, count * sizeof *entries);
    return done < 0 ? -errno : done;
}

int kvm_msr_get(struct kvm_vcpu *vcpu, struct cpu_state *cpu, struct err *err)
{
    struct kvm_msr_entry entries[CPU_MSR_COUNT + 1];
    unsigned at = 0;
    for (unsigned i = 0; i < CPU_MSR_COUNT; i++)
        entries[i] = (struct kvm_msr_entry){.index = cpu_msr_index((enum cpu_msr)i)};
    entries[CPU_MSR_COUNT] = (struct kvm_msr_entry){.index = tsc_deadline};
    while (at <= CPU_MSR_COUNT) {
        int done = transfer(vcpu, KVM_GET_MSRS, entries + at, CPU_MSR_COUNT + 1 - at);
        if (done < 0)
            return err_set(err, -done, "KVM does not tell the MSRs of vCPU %u: %s", vcpu->base.index, strerror(-done));
        at += (unsigned)done;
        if (at <= CPU_MSR_COUNT)
            entries[at++].data = 0;
    }
    for (unsigned i = 0; i < CPU_MSR_COUNT; i++)
        cpu->msr[i] = entries[i].data;
    cpu->msr[CPU_MSR_TSC] = kvm_clock_tsc(vcpu);
    cpu->tsc_deadline = entries[CPU_MSR_COUNT].data;
    return 0;
}

/* The deadline comes last, and after the LAPIC: it counts only in the timer's deadline mode. */
int kvm_msr_set(struct kvm_vcpu *vcpu, const struct cpu_state *cpu, struct err *err)
{
    struct kvm_msr_entry entries[CPU_MSR_COUNT];
    unsigned count = 0, at = 0;
    for (unsigned i = 0; i < CPU_MSR_COUNT; i++)
        if (i != CPU_MSR_TSC)
            entries[count++] = (struct kvm_msr_entry){.index = cpu_msr_index((enum cpu_msr)i), .data = cpu->msr[i]};
    entries[count++] = (struct kvm_msr_entry){.index = tsc_deadline, .data = cpu->tsc_deadline};
    while (at < count) {
        int done = transfer(vcpu, KVM_SET_MSRS, entries + at, count - at);
        if (done < 0)
            return err_set(err, -done, "KVM does not take the MSRs of vCPU %u: %s", vcpu->base.index, strerror(-done));
        at += (unsigned)done;
        if (at < count && entries[at].data)
            return err_set(err, ENOTSUP, "KVM does not take %#llx in MSR %#x of vCPU %u",
                           (unsigned long long)entries[at].data, entries[at].index, vcpu->base.index);
        at++;
    }
    return 0;
}
