/* The guest's memory as the kernel knows it: one kernel slot for each of ours, with the same number. */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/kvm/kvm_vm.h"
#include "node/base/err.h"

static int map(struct kvm_vm *vm, unsigned i, bool logging, struct err *err)
{
    const struct memory_slot *slot = memory_slot(vm->memory, i);
    uint32_t flags = slot->read_only ? KVM_MEM_READONLY : logging ? KVM_MEM_LOG_DIRTY_PAGES : 0;
    struct kvm_userspace_memory_region region = {
        .slot = i,
        .flags = flags,
        .guest_phys_addr = slot->gpa,
        .memory_size = slot->bytes,
        .userspace_addr = (uintptr_t)slot->host,
    };
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region))
        return err_set(err, errno, "KVM does not take %llu bytes of memory at %#llx: %s",
                       (unsigned long long)slot->bytes, (unsigned long long)slot->gpa, strerror(errno));
    return 0;
}

int kvm_memory_map(struct kvm_vm *vm, struct err *err)
{
    while (vm->slots_mapped < memory_slot_count(vm->memory)) {
        int rc = map(vm, vm->slots_mapped, vm->logging, err);
        if (rc)
            return rc;
        vm->slots_mapped++;
    }
    return 0;
}

int kvm_memory_set_logging(struct kvm_vm *vm, bool logging, struct err *err)
{
    int rc = 0;
    for (unsigned i = 0; !rc && i < vm->slots_mapped; i++)
        if (!memory_slot(vm->memory, i)->read_only)
            rc = map(vm, i, logging, err);
    vm->logging = logging;
    return rc;
}
