/* The interpreter as an engine (hv/vcpu.h): the translator's oracle, and a guest's last resort. */
#include <stddef.h>

#include "hv/dbt/interp.h"
#include "hv/dbt/vm.h"
#include "node/base/container.h"

static int interp_open(const struct vm_config *config, struct vm **vm, struct err *err)
{
    return dbt_open(&engine_interp, config, vm, err);
}

static enum vcpu_exit run(struct vcpu *vcpu)
{
    struct dbt_vcpu *v = CONTAINER_OF(vcpu, struct dbt_vcpu, vcpu);
    dbt_vcpu_enter(v);
    enum vcpu_exit exit = dbt_execute(v->cpu, interp_run);
    dbt_vcpu_leave(v);
    return exit;
}

const struct engine engine_interp = {
    .name = "interp",
    .probe = dbt_probe,
    .open = interp_open,
    .close = dbt_close,
    .vcpu_new = dbt_vcpu_new,
    .vcpu_free = dbt_vcpu_free,
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
    .stats = dbt_stats,
};
