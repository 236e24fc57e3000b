/* The interpreter: executes a vCPU instruction by instruction. It is an engine by itself (engine_interp) and what the
 * translator falls back to.
 *
 * All of these raise faults to cpu->unwind, which the caller has set. Threads: the vCPU's own. */
#ifndef HV_DBT_INTERP_H
#define HV_DBT_INTERP_H

#include "hv/vcpu.h"

struct dbt_cpu;
struct insn;

/* Executes one instruction that is decoded already, at cpu->rip; rip is the next one's afterwards. */
void interp_execute(struct dbt_cpu *cpu, const struct insn *insn);

/* Fetches, decodes and executes one instruction. */
void interp_one(struct dbt_cpu *cpu);

/* The same with everything round it that belongs to a single step: interrupt shadow, RF, TF, breakpoints. */
void interp_step(struct dbt_cpu *cpu);

/* From cpu->rip to the end of a run of decoded instructions, or less. */
void interp_run(struct dbt_cpu *cpu);

#endif
