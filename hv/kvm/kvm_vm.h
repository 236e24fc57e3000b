/* What the files of the KVM engine share: the VM, its vCPUs, and which file does what.
 *
 *     kvm_engine.c  what is there, open and close
 *     kvm_vcpu.c    the run loop      -> kvm_exit.c   what an exit asks for, and what is said when it cannot go on
 *     kvm_memory.c  slots             -> kvm_dirty.c  who wrote where
 *     kvm_irq.c     lines, messages, doorbells
 *     kvm_chips.c   PICs and IOAPIC <-> chips_state.h
 *     kvm_state.c   a vCPU <-> cpu_state.h, with kvm_msr.c
 *     kvm_debug.c   a debugger's steps and points
 *     kvm_clock.c   TSC and paravirtual clock: running, standing still
 *     kvm_cpuid.c   what the kernel can do -> model -> vCPU
 *
 * Threads: as vcpu.h says. What several threads touch is atomic or under `dirty_lock`. */
#ifndef HV_KVM_KVM_VM_H
#define HV_KVM_KVM_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/bus.h"
#include "hv/kvm/kvm_engine.h"
#include "hv/memory.h"
#include "hv/vcpu.h"

struct chips_state;
struct cpu_state;
struct kvm_dirty_gfn;
struct kvm_run;

enum { KVM_RING_ENTRIES = 4096 };

/* A page of a memory slot that was written. */
struct kvm_harvested {
    uint64_t offset; /* in pages */
    unsigned slot;
};

struct kvm_vcpu {
    struct vcpu base;
    int fd;
    struct kvm_run *run;
    size_t run_bytes;
    struct kvm_dirty_gfn *ring;      /* NULL: bitmaps are used */
    uint32_t ring_next;              /* under dirty_lock */
    struct kvm_harvested *harvested; /* KVM_RING_ENTRIES; likewise */
    uint64_t tsc;                    /* the guest's, while it stands still */
    void *xsave;                     /* of vm->xsave_bytes: the kernel's layout, for get and set */
    struct vcpu_debug debug;

    pthread_t thread; /* valid while running */
    atomic_bool running, kicked;
    bool unblocked; /* the signal, on `thread` */
    atomic_uint_fast64_t exits;
};

struct kvm_vm {
    struct vm base;
    struct irq irq;
    struct bus_listener listener;
    struct memory *memory;
    struct bus *bus;

    int kvm_fd, fd;
    size_t run_bytes, xsave_bytes;
    bool has_xcrs;
    unsigned vcpu_count, vcpus_made;
    struct kvm_vcpu *vcpus[VCPU_MAX];

    unsigned slots_mapped;
    bool logging;
    bool ring;      /* not the bitmap */
    bool ring_lost; /* under dirty_lock */
    pthread_mutex_t dirty_lock;
    uint64_t *bitmap; /* of the largest slot; NULL with rings */
    size_t bitmap_bytes;

    atomic_uint levels; /* of the lines, a bit a GSI */
    bool paused;
    uint64_t clock_ns; /* the paravirtual clock's, while it stands still */
};

/* kvm_memory.c: slots that memory has and the kernel does not know yet. Called again before the guest goes on, because
 * a ROM may be added late. */
int kvm_memory_map(struct kvm_vm *vm, struct err *err);
int kvm_memory_set_logging(struct kvm_vm *vm, bool logging, struct err *err);

/* kvm_dirty.c */
int kvm_dirty_open(struct kvm_vm *vm, enum kvm_dirty dirty, struct err *err); /* before the first vCPU */
void kvm_dirty_close(struct kvm_vm *vm);
int kvm_dirty_vcpu_open(struct kvm_vcpu *vcpu, struct err *err);
void kvm_dirty_vcpu_close(struct kvm_vcpu *vcpu);
int kvm_dirty_start(struct vm *vm, struct err *err);
void kvm_dirty_sync(struct vm *vm);
void kvm_dirty_stop(struct vm *vm);

/* kvm_irq.c */
int kvm_irq_open(struct kvm_vm *vm, struct err *err);
void kvm_irq_close(struct kvm_vm *vm);

/* kvm_chips.c */
int kvm_chips_get(struct vm *vm, struct chips_state *chips, struct err *err);
int kvm_chips_set(struct vm *vm, const struct chips_state *chips, struct err *err);

/* kvm_cpuid.c */
int kvm_cpuid_open(struct kvm_vm *vm, const char *model, struct err *err);
int kvm_cpuid_vcpu_open(struct kvm_vcpu *vcpu, struct err *err);

/* kvm_clock.c */
void kvm_clock_resume(struct vm *vm);
void kvm_clock_pause(struct vm *vm);
uint64_t kvm_clock_tsc(struct kvm_vcpu *vcpu);
uint64_t kvm_clock_khz(const struct kvm_vcpu *vcpu);         /* how fast its TSC runs */
void kvm_clock_set_khz(struct kvm_vcpu *vcpu, uint64_t khz); /* before the TSC is set; 0: as it is */
int kvm_clock_set_tsc(struct kvm_vcpu *vcpu, uint64_t tsc, struct err *err);

/* kvm_vcpu.c */
int kvm_vcpu_new(struct vm *vm, unsigned index, struct vcpu **vcpu, struct err *err);
void kvm_vcpu_free(struct vcpu *vcpu);
enum vcpu_exit kvm_vcpu_run(struct vcpu *vcpu);
void kvm_vcpu_kick(struct vcpu *vcpu);
int kvm_vcpu_prepare(struct err *err); /* installs the signal's handler */

/* kvm_exit.c: true: the guest goes on; false: *exit says why not. */
bool kvm_exit_handle(struct kvm_vcpu *vcpu, enum vcpu_exit *exit);
void kvm_exit_log(struct kvm_vcpu *vcpu, const char *why);

/* kvm_state.c, kvm_msr.c */
int kvm_state_get(struct vcpu *vcpu, struct cpu_state *cpu, struct err *err);
int kvm_state_set(struct vcpu *vcpu, const struct cpu_state *cpu, struct err *err);
int kvm_msr_get(struct kvm_vcpu *vcpu, struct cpu_state *cpu, struct err *err);
int kvm_msr_set(struct kvm_vcpu *vcpu, const struct cpu_state *cpu, struct err *err);

/* kvm_debug.c; _exit: as kvm_exit_handle(). */
int kvm_debug(struct vcpu *vcpu, const struct vcpu_debug *debug, struct err *err);
bool kvm_debug_exit(struct kvm_vcpu *vcpu, enum vcpu_exit *exit);

#endif
