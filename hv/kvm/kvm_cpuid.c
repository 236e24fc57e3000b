/* What the kernel can do, as a table for cpu_model_build(), and the model told to each vCPU. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { ENTRIES_MAX = 256, X2APIC = 1 << 21, TSC_DEADLINE = 1 << 24 };
static const uint32_t hypervisor = 1u << 31;

static struct kvm_cpuid2 *table_new(void)
{
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof *cpuid + ENTRIES_MAX * sizeof cpuid->entries[0]);
    if (cpuid)
        cpuid->nent = ENTRIES_MAX;
    return cpuid;
}

/* Leaves that no model looks at are left out: a table has room for what matters. */
static bool matters(const struct kvm_cpuid_entry2 *e)
{
    return (e->function <= 0xd || e->function == 0x40000000 || e->function == 0x40000001 ||
            (e->function >= 0x80000000u && e->function <= 0x80000022u)) &&
           (e->eax || e->ebx || e->ecx || e->edx) && e->index < 8;
}

static int convert(const struct kvm_vm *vm, const struct kvm_cpuid2 *from, struct cpuid_table *to, struct err *err)
{
    for (unsigned i = 0; i < from->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &from->entries[i];
        if (!matters(e))
            continue;
        if (to->count == CPUID_LEAF_MAX)
            return err_set(err, ENOSPC, "KVM tells of more than %d CPUID leaves", CPUID_LEAF_MAX);
        struct cpuid_leaf *leaf = &to->leaf[to->count++];
        *leaf = (struct cpuid_leaf){.leaf = e->function,
                                    .subleaf = e->index,
                                    .has_subleaf = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
                                    .eax = e->eax,
                                    .ebx = e->ebx,
                                    .ecx = e->ecx,
                                    .edx = e->edx};
        /* The kernel's LAPIC has both; older kernels leave it to us to say so. That there is a hypervisor it never
         * says, and without it a guest looks for nothing paravirtual: no clock, no EOI without an exit. */
        if (e->function == 1)
            leaf->ecx |= hypervisor | X2APIC |
                         (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0 ? TSC_DEADLINE : 0);
    }
    return 0;
}

int kvm_cpuid_open(struct kvm_vm *vm, const char *model, struct err *err)
{
    struct cpuid_table supported = {0};
    struct kvm_cpuid2 *cpuid = table_new();
    if (!cpuid)
        return err_set(err, ENOMEM, "no memory for CPUID");
    int rc = 0;
    if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid))
        rc = err_set(err, errno, "KVM does not tell which processor it has: %s", strerror(errno));
    if (!rc)
        rc = convert(vm, cpuid, &supported, err);
    free(cpuid);
    int khz = rc ? 0 : ioctl(vm->fd, KVM_GET_TSC_KHZ, 0); /* the VM's; older kernels know the vCPU's only */
    return rc ? rc
              : cpu_model_build(model, &supported, vm->vcpu_count, khz > 0 ? (uint64_t)khz : 0, &vm->base.model, err);
}

int kvm_cpuid_vcpu_open(struct kvm_vcpu *vcpu, struct err *err)
{
    struct cpu_model *model = &vcpu->base.vm->model;
    struct kvm_cpuid2 *cpuid = table_new();
    if (!cpuid)
        return err_set(err, ENOMEM, "no memory for CPUID");
    cpuid->nent = model->cpuid.count;
    for (unsigned i = 0; i < model->cpuid.count; i++) {
        const struct cpuid_leaf *leaf = &model->cpuid.leaf[i];
        uint32_t out[4];
        cpu_model_query(model, vcpu->base.index, leaf->leaf, leaf->subleaf, out);
        cpuid->entries[i] = (struct kvm_cpuid_entry2){.function = leaf->leaf,
                                                      .index = leaf->subleaf,
                                                      .flags = leaf->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                                                      .eax = out[0],
                                                      .ebx = out[1],
                                                      .ecx = out[2],
                                                      .edx = out[3]};
    }
    int rc = 0;
    if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid))
        rc = err_set(err, errno, "KVM does not take processor model '%s': %s", model->name, strerror(errno));
    free(cpuid);
    if (rc || model->tsc_khz)
        return rc;
    int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return err_set(err, EIO, "KVM does not tell how fast the TSC runs");
    model->tsc_khz = (uint64_t)khz;
    return 0;
}
