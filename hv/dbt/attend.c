/* See vm.h: what a vCPU does between two instructions when somebody wants something of it, and how it sleeps. */
#include <linux/futex.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/dbt/debug.h"
#include "hv/dbt/debugger.h"
#include "hv/dbt/fault.h"
#include "hv/dbt/icache.h"
#include "hv/dbt/interp.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/segment.h"
#include "hv/dbt/vm.h"

enum { VECTOR_NMI = 2 };

/* ---- sleeping ---- */

static void futex(_Atomic uint32_t *word, int op, uint32_t value)
{
    syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void dbt_wake(struct dbt_vcpu *v, uint32_t attention)
{
    cpu_attention(v->cpu, attention);
    if (atomic_exchange(&v->asleep, 0))
        futex(&v->asleep, FUTEX_WAKE, 1);
}

static void rest(struct dbt_vcpu *v)
{
    dbt_vcpu_leave(v);
    atomic_store(&v->asleep, 1);
    while (!atomic_load(&v->cpu->attention) && atomic_load(&v->asleep))
        futex(&v->asleep, FUTEX_WAIT, 1);
    atomic_store(&v->asleep, 0);
    dbt_vcpu_enter(v);
}

void dbt_vcpu_enter(struct dbt_vcpu *v)
{
    atomic_store(&v->executing, true);
}

void dbt_vcpu_leave(struct dbt_vcpu *v)
{
    atomic_store(&v->executing, false);
}

/* ---- between vCPUs ---- */

static void pass(struct dbt_vcpu *v)
{
    uint32_t before = atomic_load(&v->passed);
    cpu_attention(v->cpu, CPU_ATTENTION_PASS);
    while (atomic_load(&v->executing) && atomic_load(&v->passed) == before)
        sched_yield();
}

void dbt_withhold(struct dbt_vm *vm, struct dbt_cpu *self, const uint8_t *host)
{
    struct dbt_vcpu *own = self ? dbt_vcpu_of(self) : NULL;
    atomic_thread_fence(memory_order_seq_cst); /* the mark first, then the look (tlb.h) */
    if (own) {
        tlb_withhold(&self->tlb, host);
        dbt_vcpu_leave(own); /* two that wait for each other would wait forever */
    }
    for (unsigned i = 0; i < vm->vcpus; i++) {
        struct dbt_vcpu *v = vm->cpus[i];
        if (v && v != own && tlb_withhold(&v->cpu->tlb, host))
            pass(v);
    }
    if (own)
        dbt_vcpu_enter(own);
}

static void drop_page(struct dbt_cpu *cpu, const uint8_t *host)
{
    icache_drop_page(cpu->icache, host);
    if (cpu->drop_translation)
        cpu->drop_translation(cpu, host);
}

static void drop_all(struct dbt_cpu *cpu)
{
    icache_drop_all(cpu->icache);
    if (cpu->drop_translation)
        cpu->drop_translation(cpu, NULL);
}

/* The lock is for two vCPUs that come to one page: the second may go on only when the first is done with the tags. Who
 * waits for it does not count as executing, since its owner may wait for that. */
void dbt_watch_code(struct dbt_cpu *cpu, const uint8_t *page)
{
    struct dbt_vm *vm = cpu->vm;
    uint64_t gpa = mmu_gpa(cpu, page);
    dbt_vcpu_leave(dbt_vcpu_of(cpu));
    pthread_mutex_lock(&vm->watch_lock);
    if (!memory_watches_page(vm->memory, gpa)) {
        memory_watch_page(vm->memory, gpa);
        dbt_withhold(vm, cpu, page);
    }
    pthread_mutex_unlock(&vm->watch_lock);
    dbt_vcpu_enter(dbt_vcpu_of(cpu));
}

static void drop_code(struct dbt_vcpu *v)
{
    pthread_mutex_lock(&v->written_lock);
    if (v->written_count > DBT_WRITTEN_MAX) {
        drop_all(v->cpu);
    } else {
        for (unsigned i = 0; i < v->written_count; i++) {
            const uint8_t *host = memory_at(v->cpu->memory, v->written[i], MEMORY_PAGE_BYTES);
            if (host)
                drop_page(v->cpu, host);
        }
    }
    v->written_count = 0;
    pthread_mutex_unlock(&v->written_lock);
}

void dbt_code_written(struct memory_watch *watch, uint64_t gpa)
{
    struct dbt_vm *vm = (struct dbt_vm *)((char *)watch - offsetof(struct dbt_vm, watch));
    for (unsigned i = 0; i < vm->vcpus; i++) {
        struct dbt_vcpu *v = vm->cpus[i];
        if (!v)
            continue;
        pthread_mutex_lock(&v->written_lock);
        if (v->written_count < DBT_WRITTEN_MAX)
            v->written[v->written_count] = gpa;
        if (v->written_count <= DBT_WRITTEN_MAX)
            v->written_count++;
        pthread_mutex_unlock(&v->written_lock);
        cpu_attention(v->cpu, CPU_ATTENTION_CODE);
    }
}

/* ---- events ---- */

static void init(struct dbt_cpu *cpu)
{
    struct cpu_state before, state;
    cpu_get(cpu, &before);
    cpu_state_reset(&state, cpu->index);
    memcpy(state.msr, before.msr, sizeof state.msr); /* INIT leaves these alone (SDM table 10-1) */
    memcpy(state.xsave, before.xsave, sizeof state.xsave);
    state.xcr0 = before.xcr0;
    if (state.activity != CPU_RUNNING) /* all but the first wait for what comes next */
        state.activity = CPU_WAITING_FOR_SIPI;
    cpu_set(cpu, &state);
}

static void start(struct dbt_cpu *cpu, uint8_t vector)
{
    if (cpu->activity != CPU_WAITING_FOR_SIPI)
        return;
    cpu->seg[CPU_CS].selector = (uint16_t)(vector << 8);
    cpu->seg[CPU_CS].base = (uint64_t)vector << 12;
    cpu->rip = 0;
    cpu->activity = CPU_RUNNING;
    cpu_mode_changed(cpu);
}

static bool take_start(struct dbt_cpu *cpu, unsigned pending)
{
    struct irqchip *chip = cpu->vm->chip;
    uint8_t vector;
    if (pending & IRQCHIP_INIT && irqchip_take(chip, cpu->index, IRQCHIP_INIT, &vector)) {
        init(cpu);
        return true;
    }
    if (pending & IRQCHIP_SIPI && irqchip_take(chip, cpu->index, IRQCHIP_SIPI, &vector)) {
        start(cpu, vector);
        return true;
    }
    return false;
}

static bool take_interrupt(struct dbt_cpu *cpu, unsigned pending)
{
    struct irqchip *chip = cpu->vm->chip;
    uint8_t vector;
    if (pending & IRQCHIP_NMI && !cpu->nmi_masked && !cpu->shadow &&
        irqchip_take(chip, cpu->index, IRQCHIP_NMI, &vector)) {
        cpu->activity = CPU_RUNNING;
        cpu->nmi_masked = true;
        fault_deliver_event(cpu, VECTOR_NMI);
        return true;
    }
    if (!(cpu->rflags & CPU_IF) || cpu->shadow)
        return false;
    int taken = cpu->interrupt_taken ? cpu->interrupt_vector : -1;
    if (taken < 0 && pending & IRQCHIP_INTERRUPT)
        taken = irqchip_accept(chip, cpu->index);
    cpu->interrupt_taken = false;
    if (taken < 0)
        return false;
    cpu->activity = CPU_RUNNING;
    fault_deliver_event(cpu, (uint8_t)taken);
    return true;
}

/* True if something was delivered: look again. event_masked afterwards: something waits that cannot be yet. */
static bool take_event(struct dbt_cpu *cpu)
{
    unsigned pending = irqchip_pending(cpu->vm->chip, cpu->index);
    cpu->event_masked = true;
    if (take_start(cpu, pending))
        return true;
    bool runs = cpu->activity == CPU_RUNNING || cpu->activity == CPU_HALTED;
    if (runs && take_interrupt(cpu, pending))
        return true;
    cpu->event_masked = runs && (cpu->interrupt_taken || pending & IRQCHIP_INTERRUPT);
    if (pending & IRQCHIP_NMI && !cpu->nmi_masked && cpu->shadow)
        cpu_attention(cpu, CPU_ATTENTION_EVENT); /* right after the next instruction */
    return false;
}

/* True: run() returns. */
static bool take_attention(struct dbt_vcpu *v, enum vcpu_exit *exit)
{
    struct dbt_cpu *cpu = v->cpu;
    uint32_t bits = atomic_exchange(&cpu->attention, 0);
    if (bits & CPU_ATTENTION_PASS)
        atomic_fetch_add(&v->passed, 1);
    if (bits & CPU_ATTENTION_CODE)
        drop_code(v);
    if (bits & CPU_ATTENTION_EVENT)
        cpu->event_new = true;
    *exit = VCPU_KICKED;
    return bits & CPU_ATTENTION_KICK;
}

enum next {
    GO,
    STEP,  /* exactly one instruction (interrupt shadow, single step, breakpoints) */
    LEAVE, /* return *exit from run() */
};

/* When attention has a bit, or cpu->event_masked, or an exception waits. Does not raise. */
static enum next attend(struct dbt_cpu *cpu, enum vcpu_exit *exit)
{
    struct dbt_vcpu *v = dbt_vcpu_of(cpu);
    for (;;) {
        if (cpu->shutdown) {
            *exit = VCPU_SHUTDOWN;
            cpu->shutdown = false;
            return LEAVE;
        }
        bool kicked = take_attention(v, exit), stops = debugger_stops(cpu);
        if (stops)
            *exit = VCPU_STOPPED;
        if (kicked || stops) { /* what came with it is for the next run() */
            cpu_attention(cpu, CPU_ATTENTION_EVENT | CPU_ATTENTION_DEBUG);
            return LEAVE;
        }
        if (cpu->exception_waits) {
            fault_deliver(cpu);
            continue;
        }
        if (cpu->debug_hits && !cpu->shadow) {
            cpu->dr6 |= cpu->debug_hits;
            cpu->debug_hits = 0;
            cpu->fault = (struct cpu_fault){.vector = FAULT_DB};
            fault_deliver(cpu);
            continue;
        }
        bool look = cpu->event_new || (cpu->event_masked && cpu->rflags & CPU_IF);
        if (look && !debugger_holds_events(cpu)) {
            cpu->event_new = false;
            if (take_event(cpu))
                continue;
        }
        if (cpu->activity != CPU_RUNNING)
            rest(v);
        else if (!debugger_stops_here(cpu))
            break;
    }
    if (debugger_begins(cpu))
        return STEP;
    bool step = cpu->shadow || cpu->rflags & (CPU_TF | CPU_RF) || cpu->dr7 & 0xff;
    return step ? STEP : GO;
}

enum vcpu_exit dbt_execute(struct dbt_cpu *cpu, void (*go)(struct dbt_cpu *cpu))
{
    enum vcpu_exit exit;
    if (setjmp(cpu->unwind))
        fault_deliver(cpu);
    for (;;) {
        enum next next = dbt_must_attend(cpu) ? attend(cpu, &exit) : GO;
        if (next == LEAVE)
            return exit;
        if (next == STEP)
            interp_step(cpu);
        else
            go(cpu);
    }
}
