/* See vm.h: making and ending, state, the dirty log. */
#include "hv/dbt/vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/dbt/cpuid.h"
#include "hv/dbt/icache.h"
#include "hv/dbt/msr.h"
#include "hv/dbt/simd.h"
#include "node/base/container.h"
#include "node/base/err.h"

enum { CPU_ALIGNMENT = 4096 };

static struct dbt_vm *of(struct vm *vm)
{
    return CONTAINER_OF(vm, struct dbt_vm, vm);
}

static const struct dbt_vm *of_const(const struct vm *vm)
{
    return (const struct dbt_vm *)((const char *)vm - offsetof(struct dbt_vm, vm));
}

static struct dbt_vcpu *vcpu_of(struct vcpu *vcpu)
{
    return CONTAINER_OF(vcpu, struct dbt_vcpu, vcpu);
}

int dbt_probe(struct err *err)
{
#if defined(__x86_64__)
    (void)err;
    return 0;
#else
    return err_set(err, ENOTSUP, "the own engine runs on x86-64 processors only; use a node that has one");
#endif
}

static int prepare(struct dbt_vm *vm, const struct vm_config *config, struct err *err)
{
    struct cpuid_table *supported = malloc(sizeof *supported);
    if (!supported)
        return err_set(err, ENOMEM, "no memory");
    dbt_cpuid_supported(supported);
    dbt_clock_init(&vm->clock, config->timers);
    int rc = cpu_model_build(config->cpu, supported, config->vcpus, vm->clock.khz, &vm->vm.model, err);
    free(supported);
    if (rc)
        return rc;
    uint32_t vendor[4];
    cpu_model_query(&vm->vm.model, 0, 0, 0, vendor);
    vm->amd = !memcmp(&vendor[1], "Auth", 4) || !memcmp(&vendor[1], "Hygo", 4);
    vm->cr4_known = dbt_cpuid_cr4(&vm->vm.model);
    vm->efer_known = dbt_cpuid_efer(&vm->vm.model);
    vm->arch_capabilities = dbt_cpuid_arch_capabilities(&vm->vm.model);
    vm->physical_mask = (1ull << dbt_cpuid_physical_bits(&vm->vm.model)) - 1;
    vm->chip = irqchip_new(config->bus, config->timers, config->vcpus, err);
    return vm->chip ? 0 : -ENOMEM;
}

int dbt_open(const struct engine *engine, const struct vm_config *config, struct vm **out, struct err *err)
{
    struct dbt_vm *vm = calloc(1, sizeof *vm);
    if (!vm)
        return err_set(err, ENOMEM, "no memory");
    vm->memory = config->memory;
    vm->bus = config->bus;
    vm->timers = config->timers;
    vm->vcpus = config->vcpus;
    int rc = prepare(vm, config, err);
    if (rc) {
        free(vm);
        return rc;
    }
    pthread_mutex_init(&vm->split_lock, NULL);
    pthread_mutex_init(&vm->watch_lock, NULL);
    vm->vm.engine = engine;
    vm->vm.irq = irqchip_irq(vm->chip);
    vm->watch.written = dbt_code_written;
    memory_watch(vm->memory, &vm->watch);
    *out = &vm->vm;
    return 0;
}

void dbt_close(struct vm *v)
{
    struct dbt_vm *vm = of(v);
    memory_watch(vm->memory, NULL);
    irqchip_free(vm->chip);
    pthread_mutex_destroy(&vm->split_lock);
    pthread_mutex_destroy(&vm->watch_lock);
    free(vm);
}

/* ---- vCPUs ---- */

static void chips_wake(struct irqchip_cpu *chips)
{
    dbt_wake(CONTAINER_OF(chips, struct dbt_vcpu, chips), CPU_ATTENTION_EVENT);
}

static void cpu_free(struct dbt_cpu *cpu)
{
    if (!cpu)
        return;
    simd_free(cpu->simd);
    icache_free(cpu->icache);
    free(cpu);
}

static struct dbt_cpu *cpu_new(struct dbt_vm *vm, unsigned index, struct err *err)
{
    size_t bytes = (sizeof(struct dbt_cpu) + CPU_ALIGNMENT - 1) & ~(size_t)(CPU_ALIGNMENT - 1);
    struct dbt_cpu *cpu = aligned_alloc(CPU_ALIGNMENT, bytes);
    if (!cpu) {
        err_set(err, ENOMEM, "no memory for vCPU %u", index);
        return NULL;
    }
    memset(cpu, 0, bytes);
    cpu->icache = icache_new();
    cpu->simd = simd_new(err);
    if (!cpu->icache || !cpu->simd) {
        if (!cpu->icache)
            err_set(err, ENOMEM, "no memory for vCPU %u", index);
        cpu_free(cpu);
        return NULL;
    }
    cpu->vm = vm;
    cpu->memory = vm->memory;
    cpu->low_host = memory_slot(vm->memory, 0)->host;
    cpu->low_bytes = memory_slot(vm->memory, 0)->bytes;
    cpu->physical_mask = vm->physical_mask;
    cpu->index = index;
    tlb_init(&cpu->tlb);
    cpu_reset(cpu);
    return cpu;
}

int dbt_vcpu_new(struct vm *vm, unsigned index, struct vcpu **out, struct err *err)
{
    struct dbt_vcpu *v = calloc(1, sizeof *v);
    if (!v)
        return err_set(err, ENOMEM, "no memory for vCPU %u", index);
    struct dbt_cpu *cpu = cpu_new(of(vm), index, err);
    if (!cpu) {
        free(v);
        return -ENOMEM;
    }
    v->vcpu = (struct vcpu){.vm = vm, .index = index};
    v->cpu = cpu;
    v->chips.wake = chips_wake;
    pthread_mutex_init(&v->written_lock, NULL);
    of(vm)->cpus[index] = v;
    irqchip_attach(of(vm)->chip, index, &v->chips);
    *out = &v->vcpu;
    return 0;
}

void dbt_vcpu_free(struct vcpu *vcpu)
{
    if (!vcpu)
        return;
    struct dbt_vcpu *v = vcpu_of(vcpu);
    irqchip_attach(of(vcpu->vm)->chip, vcpu->index, NULL);
    of(vcpu->vm)->cpus[vcpu->index] = NULL;
    cpu_free(v->cpu);
    pthread_mutex_destroy(&v->written_lock);
    free(v);
}

void dbt_kick(struct vcpu *vcpu)
{
    dbt_wake(vcpu_of(vcpu), CPU_ATTENTION_KICK);
}

int dbt_get(struct vcpu *vcpu, struct cpu_state *state, struct err *err)
{
    (void)err;
    struct dbt_cpu *cpu = vcpu_of(vcpu)->cpu;
    memset(state, 0, sizeof *state);
    cpu_get(cpu, state);
    irqchip_cpu_get(cpu->vm->chip, cpu->index, state);
    state->msr[CPU_MSR_TSC] = msr_tsc(cpu);
    state->tsc_deadline = msr_deadline(cpu);
    state->tsc_khz = cpu->vm->clock.khz;
    state->kvmclock_ns = dbt_clock_ns(&cpu->vm->clock);
    return 0;
}

int dbt_set(struct vcpu *vcpu, const struct cpu_state *state, struct err *err)
{
    struct dbt_cpu *cpu = vcpu_of(vcpu)->cpu;
    int rc = irqchip_cpu_set(cpu->vm->chip, cpu->index, state, err);
    if (rc)
        return rc;
    cpu_set(cpu, state);
    if (cpu->index == 0) {
        bus_lock(cpu->vm->bus);
        dbt_clock_load(&cpu->vm->clock, state->kvmclock_ns, state->tsc_khz);
        bus_unlock(cpu->vm->bus);
    }
    cpu->tsc_offset = state->msr[CPU_MSR_TSC] - dbt_clock_tsc(&cpu->vm->clock);
    msr_set_deadline(cpu, state->tsc_deadline);
    return 0;
}

/* ---- the rest of the table ---- */

int dbt_chips_get(struct vm *vm, struct chips_state *chips, struct err *err)
{
    (void)err;
    irqchip_chips_get(of(vm)->chip, chips);
    return 0;
}

int dbt_chips_set(struct vm *vm, const struct chips_state *chips, struct err *err)
{
    return irqchip_chips_set(of(vm)->chip, chips, err);
}

/* While the log runs only dirty pages have write tags: the first store to a clean one takes the slow path, which logs
 * it. */
int dbt_log_start(struct vm *vm, struct err *err)
{
    (void)err;
    memory_log_start(of(vm)->memory);
    dbt_withhold(of(vm), NULL, NULL);
    return 0;
}

void dbt_log_sync(struct vm *vm)
{
    (void)vm; /* stores are in the memory's own log at once */
}

void dbt_log_taken(struct vm *vm)
{
    dbt_withhold(of(vm), NULL, NULL); /* pages that were dirty are clean now */
}

void dbt_log_stop(struct vm *vm)
{
    memory_log_stop(of(vm)->memory);
}

void dbt_resume(struct vm *v)
{
    struct dbt_vm *vm = of(v);
    bus_lock(vm->bus);
    dbt_clock_resume(&vm->clock);
    bus_unlock(vm->bus);
    for (unsigned i = 0; i < vm->vcpus; i++)
        if (vm->cpus[i])
            msr_time_resumed(vm->cpus[i]->cpu);
}

void dbt_pause(struct vm *v)
{
    struct dbt_vm *vm = of(v);
    bus_lock(vm->bus);
    dbt_clock_pause(&vm->clock);
    bus_unlock(vm->bus);
}

void dbt_stats(struct vm *v, struct vm_stats *stats)
{
    const struct dbt_vm *vm = of_const(v);
    *stats = (struct vm_stats){.overhead_bytes = sizeof *vm};
    for (unsigned i = 0; i < vm->vcpus; i++) {
        const struct dbt_vcpu *c = vm->cpus[i];
        if (!c)
            continue;
        stats->instructions += __atomic_load_n(&c->cpu->instructions, __ATOMIC_RELAXED);
        stats->overhead_bytes += sizeof *c + sizeof *c->cpu + icache_bytes(c->cpu->icache);
    }
}
