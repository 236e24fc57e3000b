/* The engine "dbt": the vCPU's loop round translated code.
 *
 *     dbt_execute() -> 64-bit code: find or make the block, enter, link the way that was taken
 *                   -> other code, single steps: the interpreter
 *
 * While translated code runs the stack pointer is the guest's, so nothing may be pushed on the thread's stack: signals
 * stay blocked but for those that the thread itself causes. */
#include "hv/dbt/engine_dbt.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

#include "hv/dbt/interp.h"
#include "hv/dbt/mmu.h"
#include "hv/dbt/translator.h"
#include "hv/dbt/vm.h"
#include "node/base/container.h"
#include "node/base/sandbox.h"

static const int calls[] = {SYS_arch_prctl};

const struct sandbox_calls engine_dbt_calls = {.calls = calls, .call_count = sizeof calls / sizeof *calls};

static void remember(struct dbt_cpu *cpu, enum tlb_class class, uint64_t code)
{
    const struct tlb_entry *e = tlb_at(&cpu->tlb, class, cpu->rip);
    unsigned index = cpu->rip >> 12 & (TLB_ENTRIES - 1);
    if (tlb_hit(&e->fetch, cpu->rip, 1)) /* so the jump goes when the TLB's entry goes */
        jump_cache_put(&cpu->jumps, class, cpu->rip, code, cpu->tlb.marks[class][index] & TLB_MARK_GLOBAL);
}

/* The code to go on with at cpu->rip; 0: the interpreter does the next instruction. May raise. */
static uint64_t find(struct translator *t)
{
    struct way *way = &t->way;
    struct dbt_cpu *cpu = t->cpu;
    enum tlb_class class = mmu_class(cpu);
    jump_cache_follow(&cpu->jumps, &cpu->tlb);
    const struct jump *jump = &cpu->jumps.entries[class][jump_index(cpu->rip)];
    if (jump->linear == cpu->rip && !(way->open && way->left.patch))
        return jump->code;
    const uint8_t *host = mmu_fetch_host(cpu, cpu->rip);
    uint32_t block = host ? translator_block(t, cpu->rip, host) : BLOCK_NONE;
    if (block == BLOCK_NONE)
        return 0;
    uint64_t code = translator_code(t, block);
    if (way->open && way->dropped == t->dropped)
        translator_link(t, &way->left, block);
    remember(cpu, class, code);
    return code;
}

static void go(struct dbt_cpu *cpu)
{
    struct translator *t = cpu->translation;
    if (cpu->code_bytes != 8) {
        interp_run(cpu);
        return;
    }
    uint64_t code = find(t);
    t->way.open = false; /* also if what comes raises */
    if (!code) {
        interp_step(cpu);
        return;
    }
    t->way.dropped = t->dropped;
    t->way.open = translator_enter(t, code, &t->way.left);
}

enum vcpu_exit engine_dbt_run(struct vcpu *vcpu, void (*execute)(struct dbt_cpu *cpu))
{
    static const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGSYS};
    struct dbt_vcpu *v = CONTAINER_OF(vcpu, struct dbt_vcpu, vcpu);
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (unsigned n = 0; n < sizeof own / sizeof *own; n++)
        sigdelset(&blocked, own[n]);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    translator_use(v->cpu);
    dbt_vcpu_enter(v);
    enum vcpu_exit exit = dbt_execute(v->cpu, execute);
    dbt_vcpu_leave(v);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return exit;
}

static enum vcpu_exit run(struct vcpu *vcpu)
{
    return engine_dbt_run(vcpu, go);
}

int engine_dbt_vcpu_new(struct vm *vm, unsigned index, struct vcpu **vcpu, struct err *err)
{
    int rc = dbt_vcpu_new(vm, index, vcpu, err);
    if (rc)
        return rc;
    struct dbt_vcpu *v = CONTAINER_OF(*vcpu, struct dbt_vcpu, vcpu);
    if (translator_new(v->cpu, err))
        return 0;
    dbt_vcpu_free(*vcpu);
    return -1;
}

void engine_dbt_vcpu_free(struct vcpu *vcpu)
{
    if (!vcpu)
        return;
    translator_free(CONTAINER_OF(vcpu, struct dbt_vcpu, vcpu)->cpu->translation);
    dbt_vcpu_free(vcpu);
}

static int engine_open(const struct vm_config *config, struct vm **vm, struct err *err)
{
    return dbt_open(&engine_dbt, config, vm, err);
}

void engine_dbt_stats(struct vm *vm, struct vm_stats *out)
{
    dbt_stats(vm, out);
    const struct dbt_vm *v = CONTAINER_OF(vm, struct dbt_vm, vm);
    for (unsigned i = 0; i < v->vcpus; i++)
        if (v->cpus[i] && v->cpus[i]->cpu->translation)
            out->overhead_bytes += translator_bytes(v->cpus[i]->cpu->translation);
}

const struct engine engine_dbt = {
    .name = "dbt",
    .calls = &engine_dbt_calls,
    .probe = dbt_probe,
    .open = engine_open,
    .close = dbt_close,
    .vcpu_new = engine_dbt_vcpu_new,
    .vcpu_free = engine_dbt_vcpu_free,
    .run = run,
    .kick = dbt_kick,
    .get = dbt_get,
    .set = dbt_set,
    .debug = dbt_debug,
    .chips_get = dbt_chips_get,
    .chips_set = dbt_chips_set,
    .log_start = dbt_log_start,
    .log_sync = dbt_log_sync,
    .log_taken = dbt_log_taken,
    .log_stop = dbt_log_stop,
    .resume = dbt_resume,
    .pause = dbt_pause,
    .stats = engine_dbt_stats,
};
