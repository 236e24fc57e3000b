/* The engine "lockstep": the translator with the interpreter beside it (lockstep.h). For tests; a guest that was saved
 * under another engine can be loaded to see what goes wrong in it. */
#include <errno.h>
#include <stddef.h>

#include "hv/dbt/engine_dbt.h"
#include "hv/dbt/interp.h"
#include "hv/dbt/lockstep.h"
#include "hv/dbt/vm.h"
#include "node/base/container.h"
#include "node/base/err.h"

static int lockstep_open(const struct vm_config *config, struct vm **vm, struct err *err)
{
    if (config->vcpus > 1)
        return err_set(err, EINVAL,
                       "vcpus: engine lockstep runs guests of one, since two change memory for each other");
    return dbt_open(&engine_lockstep, config, vm, err);
}

static struct dbt_cpu *cpu_of(struct vcpu *vcpu)
{
    return CONTAINER_OF(vcpu, struct dbt_vcpu, vcpu)->cpu;
}

static void vcpu_free(struct vcpu *vcpu)
{
    if (vcpu)
        lockstep_free(cpu_of(vcpu)->lockstep);
    engine_dbt_vcpu_free(vcpu);
}

static int vcpu_new(struct vm *vm, unsigned index, struct vcpu **vcpu, struct err *err)
{
    int rc = engine_dbt_vcpu_new(vm, index, vcpu, err);
    if (rc || lockstep_new(cpu_of(*vcpu)->translation))
        return rc;
    vcpu_free(*vcpu);
    return err_set(err, ENOMEM, "no memory for the comparison of vCPU %u", index);
}

static void go(struct dbt_cpu *cpu)
{
    if (cpu->code_bytes == 8)
        lockstep_run(cpu->lockstep);
    else
        interp_run(cpu);
}

static enum vcpu_exit run(struct vcpu *vcpu)
{
    return engine_dbt_run(vcpu, go);
}

const struct engine engine_lockstep = {
    .name = "lockstep",
    .calls = &engine_dbt_calls,
    .probe = dbt_probe,
    .open = lockstep_open,
    .close = dbt_close,
    .vcpu_new = vcpu_new,
    .vcpu_free = vcpu_free,
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
