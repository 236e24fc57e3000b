/* What the vCPUs of our own engine share: memory, bus, chips, clock; and the parts of struct engine (hv/vcpu.h) that
 * interpreter and translator have in common. An engine of ours is this table with its own name and run().
 *
 * Threads: as hv/vcpu.h says; else as said here. */
#ifndef HV_DBT_VM_H
#define HV_DBT_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/dbt/clock.h"
#include "hv/dbt/cpu.h"
#include "hv/machine/irqchip.h"
#include "hv/memory.h"
#include "hv/vcpu.h"

enum { DBT_WRITTEN_MAX = 64 };

struct dbt_vcpu {
    struct vcpu vcpu;
    struct irqchip_cpu chips; /* wake() */
    struct dbt_cpu *cpu;      /* page-aligned */
    _Atomic uint32_t asleep;  /* a futex: 1 while the thread sleeps in HLT */
    _Atomic bool executing;   /* between dbt_vcpu_enter() and dbt_vcpu_leave(): may touch guest memory */
    _Atomic uint32_t passed;  /* counts answers to CPU_ATTENTION_PASS */
    /* Pages with decoded code that others wrote, until the vCPU looks (CPU_ATTENTION_CODE). */
    pthread_mutex_t written_lock;
    unsigned written_count; /* more than there is room for: everything is dropped */
    uint64_t written[DBT_WRITTEN_MAX];
};

struct dbt_vm {
    struct vm vm;
    struct memory *memory;
    struct bus *bus;
    struct timers *timers;
    struct irqchip *chip;
    struct dbt_clock clock;
    struct memory_watch watch;
    bool amd;                       /* the model shows an AMD processor */
    uint64_t cr4_known, efer_known; /* bits that the model allows */
    bool arch_capabilities;         /* the model has the MSR */
    uint64_t physical_mask;
    pthread_mutex_t split_lock; /* locked accesses that a host instruction cannot do */
    pthread_mutex_t watch_lock; /* of marking pages with code */
    unsigned vcpus;
    struct dbt_vcpu *cpus[VCPU_MAX]; /* NULL: not there (yet) */
};

/* ---- for engines: entries of struct engine ---- */
int dbt_probe(struct err *err);
/* engine: what vm->engine shall be. */
int dbt_open(const struct engine *engine, const struct vm_config *config, struct vm **vm, struct err *err);
void dbt_close(struct vm *vm);
int dbt_vcpu_new(struct vm *vm, unsigned index, struct vcpu **vcpu, struct err *err);
void dbt_vcpu_free(struct vcpu *vcpu);
void dbt_kick(struct vcpu *vcpu);
int dbt_get(struct vcpu *vcpu, struct cpu_state *cpu, struct err *err);
int dbt_set(struct vcpu *vcpu, const struct cpu_state *cpu, struct err *err);
int dbt_debug(struct vcpu *vcpu, const struct vcpu_debug *debug, struct err *err);
int dbt_chips_get(struct vm *vm, struct chips_state *chips, struct err *err);
int dbt_chips_set(struct vm *vm, const struct chips_state *chips, struct err *err);
int dbt_log_start(struct vm *vm, struct err *err);
void dbt_log_sync(struct vm *vm);
void dbt_log_taken(struct vm *vm);
void dbt_log_stop(struct vm *vm);
void dbt_resume(struct vm *vm);
void dbt_pause(struct vm *vm);
void dbt_stats(struct vm *vm, struct vm_stats *stats);

static inline struct dbt_vcpu *dbt_vcpu_of(const struct dbt_cpu *cpu)
{
    return cpu->vm->cpus[cpu->index];
}

/* ---- executing, on the vCPU's thread ---- */

/* What is in run() of each engine: between two instructions takes kicks, interrupts, NMI, INIT and SIPI, drops code,
 * sleeps while halted, steps where that is wanted, and delivers faults; for all else has `go` execute from cpu->rip on,
 * which may raise. */
enum vcpu_exit dbt_execute(struct dbt_cpu *cpu, void (*go)(struct dbt_cpu *cpu));
/* True where go has to come back. */
static inline bool dbt_must_attend(const struct dbt_cpu *cpu)
{
    return atomic_load_explicit(&cpu->attention, memory_order_relaxed) || cpu->shadow || cpu->activity ||
           cpu->rflags & (CPU_TF | CPU_RF) || (cpu->event_masked && cpu->rflags & CPU_IF) || cpu->dr7 & 0xff;
}

/* Round what may touch guest memory: run() is inside but for sleeping. */
void dbt_vcpu_enter(struct dbt_vcpu *vcpu);
void dbt_vcpu_leave(struct dbt_vcpu *vcpu);

/* ---- between vCPUs; any thread ---- */

/* Sets attention and ends a sleep. */
void dbt_wake(struct dbt_vcpu *vcpu, uint32_t attention);
/* memory's watcher: a page with decoded code was written. */
void dbt_code_written(struct memory_watch *watch, uint64_t gpa);

/* Nobody but the caller (NULL: nobody) has a write tag for the page at `host` (NULL: any page) when it returns, nor is
 * in the middle of a store by one. self still has none either. */
void dbt_withhold(struct dbt_vm *vm, struct dbt_cpu *self, const uint8_t *host);
/* From here on a write to the page at host is told of (dbt_code_written): its code may be decoded. */
void dbt_watch_code(struct dbt_cpu *cpu, const uint8_t *page);

#endif
