/* What a vCPU left the guest for: an access to a port or a register, which goes to the bus; a full dirty ring; or
 * something after which it cannot go on, which is logged with all that helps. */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/log.h"

enum { MMIO_MAX = 8, CODE_BYTES = 16, CR0_WP = 1 << 16 };

static struct kvm_vm *vm_of(struct kvm_vcpu *vcpu)
{
    return CONTAINER_OF(vcpu->base.vm, struct kvm_vm, base);
}

static void access_bus(struct bus *bus, enum bus_space space, uint64_t address, uint8_t *data, unsigned size,
                       bool write)
{
    uint64_t value = 0;
    if (write) {
        memcpy(&value, data, size);
        bus_write(bus, space, address, size, value);
    } else {
        value = bus_read(bus, space, address, size);
        memcpy(data, &value, size);
    }
}

/* A string instruction brings up to a page at once; then all elements are for the same port. */
static bool ports(struct kvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    unsigned size = run->io.size;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    if (size > 4 || run->io.data_offset + (uint64_t)size * run->io.count > vcpu->run_bytes)
        return false;
    for (uint32_t i = 0; i < run->io.count; i++, data += size)
        access_bus(vm_of(vcpu)->bus, BUS_PORTS, run->io.port, data, size, run->io.direction == KVM_EXIT_IO_OUT);
    return true;
}

/* Pieces of a size that the bus knows: an access that crosses a page comes in parts of any size. */
static bool registers(struct kvm_vcpu *vcpu)
{
    struct kvm_run *run = vcpu->run;
    if (run->mmio.len > MMIO_MAX)
        return false;
    for (unsigned at = 0; at < run->mmio.len;) {
        unsigned left = run->mmio.len - at, size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        access_bus(vm_of(vcpu)->bus, BUS_MEMORY, run->mmio.phys_addr + at, run->mmio.data + at, size,
                   run->mmio.is_write);
        at += size;
    }
    return true;
}

/* On AMD's processors the kernel makes the vCPU's control block anew, and up to Linux 6.1 at least forgets its page
 * tables unless the guest had paging on; the next run would then fault for ever. A CR0 that differs brings them back.
 */
static void recover_mmu(struct kvm_vcpu *vcpu)
{
    struct kvm_sregs2 s;
    if (ioctl(vcpu->fd, KVM_GET_SREGS2, &s))
        return;
    s.cr0 ^= CR0_WP;
    ioctl(vcpu->fd, KVM_SET_SREGS2, &s);
    s.cr0 ^= CR0_WP;
    ioctl(vcpu->fd, KVM_SET_SREGS2, &s);
}

static bool system_event(struct kvm_vcpu *vcpu, enum vcpu_exit *exit)
{
    bool reset = vcpu->run->system_event.type == KVM_SYSTEM_EVENT_RESET;
    if (!reset)
        kvm_exit_log(vcpu, "the guest reports a crash");
    *exit = reset ? VCPU_SHUTDOWN : VCPU_FAILED;
    return false;
}

static bool fail(struct kvm_vcpu *vcpu, const char *why, enum vcpu_exit *exit)
{
    kvm_exit_log(vcpu, why);
    *exit = VCPU_FAILED;
    return false;
}

static bool unexpected(struct kvm_vcpu *vcpu, enum vcpu_exit *exit)
{
    struct kvm_run *run = vcpu->run;
    char why[120];
    if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        snprintf(why, sizeof why, "the kernel cannot execute this (internal error %u, %s)", run->internal.suberror,
                 run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? "emulation" : "no emulation");
    else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY)
        snprintf(why, sizeof why, "the processor refuses to enter the guest (reason %#llx)",
                 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
    else
        snprintf(why, sizeof why, "an exit that was not asked for (%u)", run->exit_reason);
    return fail(vcpu, why, exit);
}

bool kvm_exit_handle(struct kvm_vcpu *vcpu, enum vcpu_exit *exit)
{
    switch (vcpu->run->exit_reason) {
    case KVM_EXIT_IO:
        return ports(vcpu) || fail(vcpu, "an impossible access to a port", exit);
    case KVM_EXIT_MMIO:
        return registers(vcpu) || fail(vcpu, "an impossible access to a register", exit);
    case KVM_EXIT_DIRTY_RING_FULL:
        kvm_dirty_sync(vcpu->base.vm);
        return true;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_HLT: /* a halt is the kernel's, as the chips are */
        return true;
    case KVM_EXIT_SHUTDOWN:
        recover_mmu(vcpu);
        *exit = VCPU_SHUTDOWN;
        return false;
    case KVM_EXIT_DEBUG:
        return kvm_debug_exit(vcpu, exit) ||
               (*exit != VCPU_STOPPED && fail(vcpu, "a trap cannot be passed on to the guest", exit));
    case KVM_EXIT_SYSTEM_EVENT:
        return system_event(vcpu, exit);
    default:
        return unexpected(vcpu, exit);
    }
}

/* ---- the last words ---- */

/* The bytes at CS:RIP, if paging lets us: KVM walks the tables. */
static void code_at(struct kvm_vcpu *vcpu, uint64_t linear, char *text, size_t bytes)
{
    struct kvm_translation where = {.linear_address = linear};
    uint8_t code[CODE_BYTES];
    text[0] = 0;
    if (ioctl(vcpu->fd, KVM_TRANSLATE, &where) || !where.valid)
        return;
    uint64_t room = MEMORY_PAGE_BYTES - where.physical_address % MEMORY_PAGE_BYTES;
    size_t count = room < CODE_BYTES ? room : CODE_BYTES, used = 0;
    if (memory_read(vm_of(vcpu)->memory, where.physical_address, code, count))
        return;
    for (size_t i = 0; i < count && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, " %02x", code[i]);
}

/* A guest can make itself fail as often as it is reset. */
static struct log_limit limit = {.burst = 20, .interval_ms = 60000};

void kvm_exit_log(struct kvm_vcpu *vcpu, const char *why)
{
    struct kvm_regs r;
    struct kvm_sregs2 s;
    char code[3 * CODE_BYTES + 1];
    unsigned n = vcpu->base.index;
    log_limited(&limit, LOG_LEVEL_ERROR, "vCPU %u cannot go on: %s", n, why);
    if (ioctl(vcpu->fd, KVM_GET_REGS, &r) || ioctl(vcpu->fd, KVM_GET_SREGS2, &s))
        return;
    code_at(vcpu, s.cs.base + r.rip, code, sizeof code);
    log_limited(&limit, LOG_LEVEL_ERROR,
                "vCPU %u: rip %04x:%016llx rflags %llx cr0 %llx cr2 %llx cr3 %llx cr4 %llx "
                "efer %llx; code%s",
                n, s.cs.selector, r.rip, r.rflags, s.cr0, s.cr2, s.cr3, s.cr4, s.efer, code[0] ? code : " unreadable");
    log_limited(&limit, LOG_LEVEL_ERROR,
                "vCPU %u: rax %llx rbx %llx rcx %llx rdx %llx rsi %llx rdi %llx rbp %llx rsp %llx", n, r.rax, r.rbx,
                r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp);
    log_limited(&limit, LOG_LEVEL_ERROR,
                "vCPU %u: r8 %llx r9 %llx r10 %llx r11 %llx r12 %llx r13 %llx r14 %llx r15 %llx", n, r.r8, r.r9, r.r10,
                r.r11, r.r12, r.r13, r.r14, r.r15);
}
