#include "hv/engine_choice.h"

#include <stddef.h>

#include "hv/kvm/kvm_engine.h"
#include "node/base/err.h"
#include "node/base/log.h"

static const struct engine *choose_auto(struct err *err)
{
    struct err why = {0};
    if (kvm_hardware() && engine_kvm.probe(&why) == 0)
        return &engine_kvm;
    if (engine_dbt.probe(err))
        return NULL;
    log_info("engine: dbt, our own: %s", why.code ? why.text : "this processor does not virtualise");
    return &engine_dbt;
}

const struct engine *engine_choose(enum guest_engine wanted, struct err *err)
{
    static const struct engine *const engines[] = {
        [GUEST_ENGINE_KVM] = &engine_kvm,
        [GUEST_ENGINE_DBT] = &engine_dbt,
        [GUEST_ENGINE_INTERP] = &engine_interp,
        [GUEST_ENGINE_LOCKSTEP] = &engine_lockstep,
    };
    if (wanted == GUEST_ENGINE_AUTO)
        return choose_auto(err);
    if (engines[wanted]->probe(err)) {
        err_prefix(err, "engine %s", engines[wanted]->name);
        return NULL;
    }
    return engines[wanted];
}
