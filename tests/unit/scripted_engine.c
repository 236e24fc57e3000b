#include "tests/unit/scripted_engine.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "hv/bus.h"
#include "hv/chips_state.h"
#include "hv/cpu_state.h"
#include "node/base/container.h"
#include "node/base/err.h"

struct cpu {
    struct vcpu vcpu;
    struct cpu_state state;
    /* under script.lock */
    bool kicked, exits;
    enum vcpu_exit exit;
    void (*run)(void *context);
    void *context;
    unsigned runs;
};

struct access {
    uint16_t port;
    unsigned size;
    uint32_t value;
};

static struct {
    struct vm vm;
    struct irq irq;
    struct bus *bus;
    struct chips_state chips;
    struct cpu cpus[VCPU_MAX];
    unsigned broken;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned sets;
    bool refuses, has_last;
    struct access last;
} script = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .broken = VCPU_MAX};

void scripted_begin(unsigned broken_vcpu)
{
    memset(script.cpus, 0, sizeof script.cpus);
    script.broken = broken_vcpu;
    script.sets = 0;
    script.refuses = script.has_last = false;
}

/* ---- the test's side ---- */

void scripted_do(unsigned index, void (*run)(void *context), void *context)
{
    struct cpu *c = &script.cpus[index];
    pthread_mutex_lock(&script.lock);
    assert(!c->run);
    c->context = context;
    c->run = run;
    pthread_cond_broadcast(&script.changed);
    while (c->run)
        pthread_cond_wait(&script.changed, &script.lock);
    pthread_mutex_unlock(&script.lock);
}

static void out(void *context)
{
    const struct access *a = context;
    bus_write(script.bus, BUS_PORTS, a->port, a->size, a->value);
}

static void in(void *context)
{
    struct access *a = context;
    a->value = (uint32_t)bus_read(script.bus, BUS_PORTS, a->port, a->size);
}

void scripted_out(unsigned index, uint16_t port, unsigned size, uint32_t value)
{
    struct access a = {port, size, value};
    scripted_do(index, out, &a);
}

uint32_t scripted_in(unsigned index, uint16_t port, unsigned size)
{
    struct access a = {port, size, 0};
    scripted_do(index, in, &a);
    return a.value;
}

void scripted_out_at_end(uint16_t port, uint32_t value)
{
    script.last = (struct access){port, 1, value};
    script.has_last = true;
}

void scripted_exit(unsigned index, enum vcpu_exit exit)
{
    pthread_mutex_lock(&script.lock);
    script.cpus[index].exits = true;
    script.cpus[index].exit = exit;
    pthread_cond_broadcast(&script.changed);
    pthread_mutex_unlock(&script.lock);
}

void scripted_refuse_state(void)
{
    pthread_mutex_lock(&script.lock);
    script.refuses = true;
    pthread_mutex_unlock(&script.lock);
}

unsigned scripted_sets(void)
{
    pthread_mutex_lock(&script.lock);
    unsigned sets = script.sets;
    pthread_mutex_unlock(&script.lock);
    return sets;
}

void scripted_wait_sets(unsigned count)
{
    pthread_mutex_lock(&script.lock);
    while (script.sets < count)
        pthread_cond_wait(&script.changed, &script.lock);
    pthread_mutex_unlock(&script.lock);
}

unsigned scripted_runs(unsigned index)
{
    pthread_mutex_lock(&script.lock);
    unsigned runs = script.cpus[index].runs;
    pthread_mutex_unlock(&script.lock);
    return runs;
}

uint64_t scripted_rip(void)
{
    return script.cpus[0].state.rip;
}

struct bus *scripted_bus(void)
{
    return script.bus;
}

/* ---- the engine ---- */

static void set_line(struct irq *irq, unsigned gsi, bool level)
{
    (void)irq, (void)gsi, (void)level;
}

static void take_msi(struct irq *irq, uint64_t address, uint32_t data)
{
    (void)irq, (void)address, (void)data;
}

static int probe(struct err *err)
{
    (void)err;
    return 0;
}

static int open_vm(const struct vm_config *config, struct vm **vm, struct err *err)
{
    static const struct cpuid_table none;
    script.irq = (struct irq){set_line, take_msi};
    script.vm = (struct vm){.engine = &scripted_engine, .irq = &script.irq};
    script.bus = config->bus;
    int rc = cpu_model_build(config->cpu, &none, config->vcpus, 1000000, &script.vm.model, err);
    if (!rc)
        *vm = &script.vm;
    return rc;
}

static void close_vm(struct vm *vm)
{
    (void)vm;
    script.bus = NULL;
}

static int vcpu_new(struct vm *vm, unsigned index, struct vcpu **vcpu, struct err *err)
{
    if (index == script.broken)
        return err_set(err, ENOMEM, "vCPU %u is broken", index);
    script.cpus[index].vcpu = (struct vcpu){.vm = vm, .index = index};
    *vcpu = &script.cpus[index].vcpu;
    return 0;
}

static void vcpu_free(struct vcpu *vcpu)
{
    if (vcpu && !vcpu->index && script.has_last)
        out(&script.last);
}

static enum vcpu_exit run(struct vcpu *vcpu)
{
    struct cpu *c = CONTAINER_OF(vcpu, struct cpu, vcpu);
    enum vcpu_exit exit = VCPU_KICKED;
    pthread_mutex_lock(&script.lock);
    c->runs++;
    while (!c->kicked && !c->exits) {
        if (!c->run) {
            pthread_cond_wait(&script.changed, &script.lock);
            continue;
        }
        pthread_mutex_unlock(&script.lock);
        c->run(c->context);
        pthread_mutex_lock(&script.lock);
        c->run = NULL;
        pthread_cond_broadcast(&script.changed);
    }
    if (c->exits)
        exit = c->exit;
    else
        c->kicked = false;
    c->exits = false;
    pthread_mutex_unlock(&script.lock);
    return exit;
}

static void kick(struct vcpu *vcpu)
{
    pthread_mutex_lock(&script.lock);
    CONTAINER_OF(vcpu, struct cpu, vcpu)->kicked = true;
    pthread_cond_broadcast(&script.changed);
    pthread_mutex_unlock(&script.lock);
}

static int get(struct vcpu *vcpu, struct cpu_state *cpu, struct err *err)
{
    (void)err;
    *cpu = CONTAINER_OF(vcpu, struct cpu, vcpu)->state;
    return 0;
}

static int set(struct vcpu *vcpu, const struct cpu_state *cpu, struct err *err)
{
    CONTAINER_OF(vcpu, struct cpu, vcpu)->state = *cpu;
    if (vcpu->index)
        return 0;
    pthread_mutex_lock(&script.lock);
    bool refuses = script.refuses;
    script.refuses = false;
    script.sets++;
    pthread_cond_broadcast(&script.changed);
    pthread_mutex_unlock(&script.lock);
    return refuses ? err_set(err, EINVAL, "the engine refuses this state") : 0;
}

static int chips_get(struct vm *vm, struct chips_state *chips, struct err *err)
{
    (void)vm, (void)err;
    *chips = script.chips;
    return 0;
}

static int chips_set(struct vm *vm, const struct chips_state *chips, struct err *err)
{
    (void)vm, (void)err;
    script.chips = *chips;
    return 0;
}

static int log_start(struct vm *vm, struct err *err)
{
    (void)vm, (void)err;
    return 0;
}

static void nothing(struct vm *vm)
{
    (void)vm;
}

static void stats(struct vm *vm, struct vm_stats *stats)
{
    (void)vm;
    *stats = (struct vm_stats){.exits = 7};
}

const struct engine scripted_engine = {
    .name = "scripted",
    .probe = probe,
    .open = open_vm,
    .close = close_vm,
    .vcpu_new = vcpu_new,
    .vcpu_free = vcpu_free,
    .run = run,
    .kick = kick,
    .get = get,
    .set = set,
    .chips_get = chips_get,
    .chips_set = chips_set,
    .log_start = log_start,
    .log_sync = nothing,
    .log_stop = nothing,
    .resume = nothing,
    .pause = nothing,
    .stats = stats,
};
