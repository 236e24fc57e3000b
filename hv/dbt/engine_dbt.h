/* What the engines with a translator share: "dbt" itself and "lockstep" (lockstep.h). Entries of struct engine
 * (hv/vcpu.h).
 *
 * Threads: as hv/vcpu.h says. */
#ifndef HV_DBT_ENGINE_DBT_H
#define HV_DBT_ENGINE_DBT_H

#include "hv/vcpu.h"

struct dbt_cpu;
struct sandbox_calls;

/* What its threads call where the kernel lets no program set GS.base by itself (no FSGSBASE). */
extern const struct sandbox_calls engine_dbt_calls;

int engine_dbt_vcpu_new(struct vm *vm, unsigned index, struct vcpu **vcpu, struct err *err);
void engine_dbt_vcpu_free(struct vcpu *vcpu);
void engine_dbt_stats(struct vm *vm, struct vm_stats *stats);

/* run(): prepares the thread for translated code. execute: go of dbt_execute(). */
enum vcpu_exit engine_dbt_run(struct vcpu *vcpu, void (*execute)(struct dbt_cpu *cpu));

#endif
