/* The engine of the hardware: Linux' KVM executes, with its own PICs, IOAPIC and LAPICs (and no PIT: ours drives GSI
 * 0). Needs Linux 5.17.
 *
 * Everything that needs a name or new memory happens before the seal: /dev/kvm is opened in open(), the shared pages
 * are mapped in vcpu_new(). What is left is ioctl() on files that are there (kvm_engine_calls). A kick is a signal
 * (kvm_engine_signal()) to the vCPU's thread; its handler does nothing, and belongs to the engine alone. */
#ifndef HV_KVM_KVM_ENGINE_H
#define HV_KVM_KVM_ENGINE_H

#include <stdbool.h>

struct err;
struct sandbox_calls;
struct vm;
struct vm_config;

/* True where the processor virtualises by itself (VMX or SVM). Without, a /dev/kvm runs paravirtual kernels only. Any
 * thread. */
bool kvm_hardware(void);

int kvm_engine_signal(void);

/* What vCPU threads and the main thread call after the seal, beyond what every thread does. */
extern const struct sandbox_calls kvm_engine_calls;

/* How the kernel tells who wrote where: a ring for each vCPU, or a bitmap for each slot. */
enum kvm_dirty { KVM_DIRTY_BEST, KVM_DIRTY_RING, KVM_DIRTY_BITMAP };

/* open() of engine_kvm is this with KVM_DIRTY_BEST. */
int kvm_engine_open(const struct vm_config *config, enum kvm_dirty dirty, struct vm **vm, struct err *err);

#endif
