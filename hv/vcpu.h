/* The seam between the machine and what executes its vCPUs: hv/kvm, hv/dbt (translator) and hv/dbt again (interpreter).
 *
 *     engine -> open(config) -> struct vm -> vcpu_new(i) -> run() ... -> close
 *
 * An engine executes guest code, reaches devices through the bus (bus_read, bus_write, from the vCPU's thread, inside
 * run()), and has the interrupt chips: LAPICs, IOAPIC, PICs, the kernel's or ours (hv/machine/irqchip.h), which devices
 * reach through vm->irq. It never knows a device. The PIT and everything else on the board is the machine's.
 *
 * Threads: open, close, vcpu_new, vcpu_free, dirty log and chips from the main thread; run, get and set from the vCPU's
 * own thread (get, set and debug also from the main thread while no vCPU is in run()); kick and irq from any. */
#ifndef HV_VCPU_H
#define HV_VCPU_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/cpu_model.h"
#include "hv/irq.h"

struct bus;
struct chips_state;
struct cpu_state;
struct err;
struct memory;
struct sandbox_calls;
struct timers;

enum { VCPU_MAX = 32 };

struct vm_config {
    struct memory *memory;
    struct bus *bus;
    struct timers *timers; /* for LAPICs of ours */
    const char *cpu;       /* model's name */
    unsigned vcpus;
};

enum vcpu_exit {
    VCPU_KICKED,   /* vcpu_kick() was called */
    VCPU_SHUTDOWN, /* triple fault: the machine resets */
    VCPU_FAILED,   /* the engine cannot go on; it has logged why */
    VCPU_STOPPED,  /* what debug() asked to be told of, in vcpu->stop */
};

/* What a debugger outside the guest wants to be told of. The guest sees nothing of it: its own debug registers, its own
 * breakpoint instructions and its trap flag are its own as before (under KVM its debug registers have no effect while
 * there are points). */
enum vcpu_point_kind {
    VCPU_POINT_CODE,   /* stops before the instruction */
    VCPU_POINT_WRITE,  /* stops behind the instruction that wrote */
    VCPU_POINT_ACCESS, /* ... that read or wrote */
};

struct vcpu_point {
    uint64_t linear;
    uint8_t bytes; /* 1, 2, 4 or 8, linear a multiple of it; 1 for code */
    uint8_t kind;  /* enum vcpu_point_kind */
};

enum { VCPU_POINT_MAX = 4 };

struct vcpu_debug {
    bool step; /* one instruction; interrupts wait meanwhile, if the vCPU is not halted */
    unsigned point_count;
    struct vcpu_point points[VCPU_POINT_MAX];
    /* True: the breakpoint instruction at this guest physical address is the debugger's, and stops the vCPU before it.
     * Any other is the guest's own. On the vCPU's thread. NULL: none is. */
    bool (*planted)(void *context, uint64_t gpa);
    void *context;
};

enum vcpu_stop_kind { VCPU_STOP_STEP, VCPU_STOP_BREAKPOINT, VCPU_STOP_POINT };
struct vcpu_stop {
    enum vcpu_stop_kind kind;
    unsigned point; /* which one, for VCPU_STOP_POINT */
};

struct engine;

struct vm {
    const struct engine *engine;
    struct irq *irq;
    struct cpu_model model;
};

struct vcpu {
    struct vm *vm;
    unsigned index;
    struct vcpu_stop stop; /* the last one; written inside run() */
};

struct vm_stats {
    uint64_t exits, instructions; /* 0 where it is not counted */
    uint64_t overhead_bytes;      /* the engine's own memory (caches, tables) */
};

struct engine {
    const char *name; /* "kvm", "dbt", "interp", "lockstep" */
    /* What its threads and the main one call after the seal, beyond what every guest does; NULL: nothing. */
    const struct sandbox_calls *calls;
    /* 0, or the reason why this host cannot run it, with what to do. */
    int (*probe)(struct err *err);
    int (*open)(const struct vm_config *config, struct vm **vm, struct err *err);
    void (*close)(struct vm *vm); /* after every vcpu_free() */

    int (*vcpu_new)(struct vm *vm, unsigned index, struct vcpu **vcpu, struct err *err);
    void (*vcpu_free)(struct vcpu *vcpu);
    /* Executes until one of enum vcpu_exit; sleeps in it while the vCPU is halted or waits for SIPI. */
    enum vcpu_exit (*run)(struct vcpu *vcpu);
    /* Makes run() return soon; if it is not running, its next run() returns at once. */
    void (*kick)(struct vcpu *vcpu);
    int (*get)(struct vcpu *vcpu, struct cpu_state *cpu, struct err *err);
    int (*set)(struct vcpu *vcpu, const struct cpu_state *cpu, struct err *err);
    /* As get and set. debug is copied; NULL: nothing any more. A step is done with when run() has returned STOPPED. */
    int (*debug)(struct vcpu *vcpu, const struct vcpu_debug *debug, struct err *err);

    int (*chips_get)(struct vm *vm, struct chips_state *chips, struct err *err);
    int (*chips_set)(struct vm *vm, const struct chips_state *chips, struct err *err);

    /* Guest writes are logged in memory's dirty log (memory_log_take); sync() moves over what the engine has of its
     * own. Take between sync() and taken(), and read the pages after both. start and stop include memory_log_start and
     * _stop. */
    int (*log_start)(struct vm *vm, struct err *err);
    void (*log_sync)(struct vm *vm);
    /* After memory_log_take(): what was taken is logged again when it is written from now on. NULL: it is anyway. */
    void (*log_taken)(struct vm *vm);
    void (*log_stop)(struct vm *vm);

    /* The guest goes on (time runs) or stands still; no vCPU runs when it is called. */
    void (*resume)(struct vm *vm);
    void (*pause)(struct vm *vm);
    void (*stats)(struct vm *vm, struct vm_stats *stats);
};

extern const struct engine engine_kvm, engine_dbt, engine_interp, engine_lockstep;

#endif
