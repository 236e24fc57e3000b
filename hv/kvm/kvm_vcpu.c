/* The run loop.
 *
 * A kick sets `kicked`, then run->immediate_exit, then sends the signal: the first for us, the second for a KVM_RUN
 * that is about to begin, the third for one that has begun. The loop looks at `kicked` only where KVM_RUN came back
 * with EINTR, because after an exit the kernel still has to finish the guest's instruction (a value read from a port
 * goes into its register on the next KVM_RUN); with immediate_exit set it does that and nothing else. So whenever run()
 * returns VCPU_KICKED the registers are those between two instructions, and may be saved. */
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hv/kvm/kvm_vm.h"
#include "node/base/container.h"
#include "node/base/err.h"

int kvm_engine_signal(void)
{
    return SIGRTMIN + 1;
}

static void nothing(int number)
{
    (void)number; /* it came: that is all it is for */
}

int kvm_vcpu_prepare(struct err *err)
{
    struct sigaction action = {.sa_handler = nothing};
    sigemptyset(&action.sa_mask);
    if (sigaction(kvm_engine_signal(), &action, NULL))
        return err_set(err, errno, "cannot handle the signal of kicks: %s", strerror(errno));
    return 0;
}

int kvm_vcpu_new(struct vm *base, unsigned index, struct vcpu **out, struct err *err)
{
    struct kvm_vm *vm = CONTAINER_OF(base, struct kvm_vm, base);
    if (index >= vm->vcpu_count || vm->vcpus[index])
        return err_set(err, EINVAL, "vCPU %u of %u cannot be made", index, vm->vcpu_count);
    struct kvm_vcpu *vcpu = calloc(1, sizeof *vcpu);
    if (!vcpu)
        return err_set(err, ENOMEM, "no memory for vCPU %u", index);
    *vcpu = (struct kvm_vcpu){.base = {.vm = base, .index = index}, .run = MAP_FAILED};
    vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
    int rc = vcpu->fd < 0 ? err_set(err, errno, "KVM makes no vCPU %u: %s", index, strerror(errno)) : 0;
    vcpu->run_bytes = vm->run_bytes;
    if (!rc)
        vcpu->run = mmap(NULL, vcpu->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (!rc && vcpu->run == MAP_FAILED)
        rc = err_set(err, errno, "cannot map the state of vCPU %u: %s", index, strerror(errno));
    if (!rc && posix_memalign(&vcpu->xsave, 64, vm->xsave_bytes))
        rc = err_set(err, ENOMEM, "no memory for vCPU %u", index);
    if (!rc)
        rc = kvm_dirty_vcpu_open(vcpu, err);
    if (!rc)
        rc = kvm_cpuid_vcpu_open(vcpu, err);
    vm->vcpus[index] = vcpu;
    vm->vcpus_made++;
    if (rc) {
        kvm_vcpu_free(&vcpu->base);
        return rc;
    }
    *out = &vcpu->base;
    return 0;
}

void kvm_vcpu_free(struct vcpu *base)
{
    if (!base)
        return;
    struct kvm_vcpu *vcpu = CONTAINER_OF(base, struct kvm_vcpu, base);
    struct kvm_vm *vm = CONTAINER_OF(base->vm, struct kvm_vm, base);
    pthread_mutex_lock(&vm->dirty_lock);
    vm->vcpus[base->index] = NULL;
    vm->vcpus_made--;
    pthread_mutex_unlock(&vm->dirty_lock);
    kvm_dirty_vcpu_close(vcpu);
    if (vcpu->run != MAP_FAILED)
        munmap(vcpu->run, vcpu->run_bytes);
    if (vcpu->fd >= 0)
        close(vcpu->fd);
    free(vcpu->xsave);
    free(vcpu);
}

static void set_immediate_exit(struct kvm_vcpu *vcpu, uint8_t on)
{
    __atomic_store_n(&vcpu->run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

/* In this order: a kick that comes between the two is not lost, for the first KVM_RUN sees the flag or we do. */
static bool take_kick(struct kvm_vcpu *vcpu)
{
    set_immediate_exit(vcpu, 0);
    return atomic_exchange(&vcpu->kicked, false);
}

/* The signal must reach this thread, whatever it inherited. */
static void be_kicked_here(struct kvm_vcpu *vcpu)
{
    if (!vcpu->unblocked || !pthread_equal(vcpu->thread, pthread_self())) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, kvm_engine_signal());
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        vcpu->thread = pthread_self();
        vcpu->unblocked = true;
    }
    atomic_store(&vcpu->running, true);
}

enum vcpu_exit kvm_vcpu_run(struct vcpu *base)
{
    struct kvm_vcpu *vcpu = CONTAINER_OF(base, struct kvm_vcpu, base);
    enum vcpu_exit exit = VCPU_KICKED;
    be_kicked_here(vcpu);
    for (bool on = !take_kick(vcpu); on;) {
        int rc = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
        atomic_fetch_add_explicit(&vcpu->exits, 1, memory_order_relaxed);
        if (rc == EINTR) {
            on = !take_kick(vcpu);
        } else if (rc && rc != EAGAIN) { /* EAGAIN: a vCPU that waited for SIPI has got it */
            kvm_exit_log(vcpu, strerror(rc));
            exit = VCPU_FAILED;
            on = false;
        } else if (!rc) {
            on = kvm_exit_handle(vcpu, &exit);
        }
    }
    atomic_store(&vcpu->running, false);
    return exit;
}

void kvm_vcpu_kick(struct vcpu *base)
{
    struct kvm_vcpu *vcpu = CONTAINER_OF(base, struct kvm_vcpu, base);
    atomic_store(&vcpu->kicked, true);
    set_immediate_exit(vcpu, 1);
    if (atomic_load(&vcpu->running))
        pthread_kill(vcpu->thread, kvm_engine_signal());
}
