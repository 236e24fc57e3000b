/* See kvm_engine.h: what must be there, and how a VM comes and goes. Order of open(): device, VM, addresses the kernel
 * wants for itself, chips, routes, memory, dirty log, model; vCPUs follow, and the chips must be there before them. */
#include "hv/kvm/kvm_engine.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/sandbox.h"

/* Four pages that VMX without "unrestricted guest" needs; between IOAPIC and LAPIC, where no device lives. */
static const uint64_t identity_map = 0xfeffc000;
static const unsigned long tss = 0xfeffd000;

struct need {
    int capability;
    const char *name;
};

static const struct need needs[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_IOEVENTFD_NO_LENGTH, "KVM_CAP_IOEVENTFD_NO_LENGTH"},
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_READONLY_MEM, "KVM_CAP_READONLY_MEM"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
    {KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_SET_GUEST_DEBUG, "KVM_CAP_SET_GUEST_DEBUG"},
    {KVM_CAP_SREGS2, "KVM_CAP_SREGS2"},
    {KVM_CAP_XSAVE2, "KVM_CAP_XSAVE2"},
    {KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
    {KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ"},
    {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2"},
};

static const int calls[] = {SYS_tgkill, SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_getpid, SYS_gettid};
static const unsigned long ioctls[] = {
    KVM_RUN,
    KVM_SET_GUEST_DEBUG,
    KVM_IRQ_LINE,
    KVM_SIGNAL_MSI,
    KVM_IOEVENTFD,
    KVM_GET_REGS,
    KVM_SET_REGS,
    KVM_GET_SREGS2,
    KVM_SET_SREGS2,
    KVM_GET_XSAVE2,
    KVM_SET_XSAVE,
    KVM_GET_XCRS,
    KVM_SET_XCRS,
    KVM_GET_MSRS,
    KVM_SET_MSRS,
    KVM_GET_VCPU_EVENTS,
    KVM_SET_VCPU_EVENTS,
    KVM_GET_DEBUGREGS,
    KVM_SET_DEBUGREGS,
    KVM_GET_LAPIC,
    KVM_SET_LAPIC,
    KVM_GET_MP_STATE,
    KVM_SET_MP_STATE,
    KVM_GET_TSC_KHZ,
    KVM_SET_TSC_KHZ,
    KVM_GET_CLOCK,
    KVM_SET_CLOCK,
    KVM_KVMCLOCK_CTRL,
    KVM_GET_IRQCHIP,
    KVM_SET_IRQCHIP,
    KVM_GET_DEVICE_ATTR,
    KVM_SET_DEVICE_ATTR,
    KVM_GET_DIRTY_LOG,
    KVM_TRANSLATE,
    KVM_CLEAR_DIRTY_LOG,
    KVM_RESET_DIRTY_RINGS,
    KVM_SET_USER_MEMORY_REGION,
};

const struct sandbox_calls kvm_engine_calls = {
    .calls = calls,
    .call_count = sizeof calls / sizeof *calls,
    .ioctls = ioctls,
    .ioctl_count = sizeof ioctls / sizeof *ioctls,
};

bool kvm_hardware(void)
{
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & 1u << 5) /* VMX */
        return true;
    return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && ecx & 4; /* SVM */
}

/* The open /dev/kvm, or -errno with a text. */
static int device(struct err *err)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return err_set(err, ENOENT,
                       "there is no /dev/kvm: enable virtualisation in the firmware and load kvm_intel or "
                       "kvm_amd, or run the guest with --engine interp");
    if (fd < 0 && (errno == EACCES || errno == EPERM))
        return err_set(err, errno,
                       "/dev/kvm may not be opened: run as a member of its group, or run the guest with "
                       "--engine interp");
    if (fd < 0)
        return err_set(err, errno, "cannot open /dev/kvm: %s; run the guest with --engine interp", strerror(errno));
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    int rc = version == KVM_API_VERSION
                 ? 0
                 : err_set(err, ENOTSUP, "/dev/kvm speaks version %d and we speak %d", version, KVM_API_VERSION);
    for (unsigned i = 0; !rc && i < sizeof needs / sizeof *needs; i++)
        if (ioctl(fd, KVM_CHECK_EXTENSION, needs[i].capability) <= 0)
            rc = err_set(err, ENOTSUP,
                         "this kernel's KVM lacks %s: it must be Linux 5.17 or newer; run the guest with "
                         "--engine interp",
                         needs[i].name);
    if (rc) {
        close(fd);
        return rc;
    }
    return fd;
}

static int kvm_probe(struct err *err)
{
    int fd = device(err);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

static int sizes(struct kvm_vm *vm, struct err *err)
{
    int run = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    int xsave = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    if (run < (int)sizeof(struct kvm_run) || xsave < (int)sizeof(struct kvm_xsave))
        return err_set(err, EIO, "KVM tells impossible sizes: %d, %d", run, xsave);
    vm->run_bytes = (size_t)run;
    vm->xsave_bytes = (size_t)xsave;
    vm->has_xcrs = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XCRS) > 0;
    return 0;
}

static int addresses(struct kvm_vm *vm, struct err *err)
{
    struct kvm_enable_cap x2apic = {.cap = KVM_CAP_X2APIC_API, .args = {KVM_X2APIC_API_USE_32BIT_IDS}};
    if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) || ioctl(vm->fd, KVM_SET_TSS_ADDR, tss))
        return err_set(err, errno, "KVM takes no address for its own pages: %s", strerror(errno));
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &x2apic))
        return err_set(err, errno, "KVM has no 32-bit APIC ids: %s", strerror(errno));
    return 0;
}

static void kvm_close(struct vm *base);

int kvm_engine_open(const struct vm_config *config, enum kvm_dirty dirty, struct vm **out, struct err *err)
{
    struct kvm_vm *vm = calloc(1, sizeof *vm);
    if (!vm)
        return err_set(err, ENOMEM, "no memory for a VM");
    *vm = (struct kvm_vm){.base = {.engine = &engine_kvm, .irq = &vm->irq},
                          .memory = config->memory,
                          .bus = config->bus,
                          .vcpu_count = config->vcpus,
                          .fd = -1,
                          .paused = true};
    pthread_mutex_init(&vm->dirty_lock, NULL);
    int rc = vm->kvm_fd = device(err);
    if (rc >= 0) {
        vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
        rc = vm->fd < 0 ? err_set(err, errno, "KVM makes no VM: %s", strerror(errno)) : 0;
    }
    if (!rc)
        rc = sizes(vm, err);
    if (!rc)
        rc = addresses(vm, err);
    if (!rc)
        rc = kvm_vcpu_prepare(err);
    if (!rc)
        rc = kvm_irq_open(vm, err);
    if (!rc)
        rc = kvm_dirty_open(vm, dirty, err);
    if (!rc)
        rc = kvm_memory_map(vm, err);
    if (!rc)
        rc = kvm_cpuid_open(vm, config->cpu, err);
    if (rc) {
        kvm_close(&vm->base);
        return rc;
    }
    *out = &vm->base;
    return 0;
}

static int kvm_open(const struct vm_config *config, struct vm **vm, struct err *err)
{
    return kvm_engine_open(config, KVM_DIRTY_BEST, vm, err);
}

static void kvm_close(struct vm *base)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    kvm_irq_close(vm);
    kvm_dirty_close(vm);
    if (vm->fd >= 0)
        close(vm->fd);
    if (vm->kvm_fd >= 0)
        close(vm->kvm_fd);
    pthread_mutex_destroy(&vm->dirty_lock);
    free(vm);
}

/* Of what the kernel keeps for us (page tables, chips) we see nothing. */
static void kvm_stats(struct vm *base, struct vm_stats *stats)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    *stats = (struct vm_stats){.overhead_bytes = sizeof *vm + vm->bitmap_bytes};
    for (unsigned i = 0; i < vm->vcpu_count; i++) {
        struct kvm_vcpu *vcpu = vm->vcpus[i];
        if (!vcpu)
            continue;
        stats->exits += atomic_load_explicit(&vcpu->exits, memory_order_relaxed);
        stats->overhead_bytes += sizeof *vcpu + vcpu->run_bytes + vm->xsave_bytes;
        if (vcpu->ring)
            stats->overhead_bytes += KVM_RING_ENTRIES * sizeof(struct kvm_dirty_gfn);
    }
}

const struct engine engine_kvm = {
    .name = "kvm",
    .calls = &kvm_engine_calls,
    .probe = kvm_probe,
    .open = kvm_open,
    .close = kvm_close,
    .vcpu_new = kvm_vcpu_new,
    .vcpu_free = kvm_vcpu_free,
    .run = kvm_vcpu_run,
    .kick = kvm_vcpu_kick,
    .get = kvm_state_get,
    .set = kvm_state_set,
    .debug = kvm_debug,
    .chips_get = kvm_chips_get,
    .chips_set = kvm_chips_set,
    .log_start = kvm_dirty_start,
    .log_sync = kvm_dirty_sync,
    .log_stop = kvm_dirty_stop,
    .resume = kvm_clock_resume,
    .pause = kvm_clock_pause,
    .stats = kvm_stats,
};
