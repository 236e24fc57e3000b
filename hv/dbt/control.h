/* What writing CR0, CR3, CR4, EFER means: checks with #GP, changes of mode, flushes. Source: Intel SDM vol. 3 ch. 2.5,
 * 4.1. Threads: the vCPU's own. */
#ifndef HV_DBT_CONTROL_H
#define HV_DBT_CONTROL_H

#include <stdint.h>

struct dbt_cpu;

void control_set_cr0(struct dbt_cpu *cpu, uint64_t value);
void control_set_cr3(struct dbt_cpu *cpu, uint64_t value);
void control_set_cr4(struct dbt_cpu *cpu, uint64_t value);
void control_set_efer(struct dbt_cpu *cpu, uint64_t value);
void control_set_xcr0(struct dbt_cpu *cpu, uint64_t value);

#endif
