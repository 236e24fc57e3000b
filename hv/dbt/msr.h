/* Model-specific registers: what RDMSR and WRMSR do. An index that is not known, or a value that is not allowed: #GP.
 *
 * Source: Intel SDM vol. 4, AMD APM vol. 2 appendix A, Documentation/virt/kvm/x86/msr.rst in Linux.
 * Threads: the vCPU's own. */
#ifndef HV_DBT_MSR_H
#define HV_DBT_MSR_H

#include <stdint.h>

struct dbt_cpu;

uint64_t msr_read(struct dbt_cpu *cpu, uint32_t index);
void msr_write(struct dbt_cpu *cpu, uint32_t index, uint64_t value);

/* The TSC as this vCPU sees it. */
uint64_t msr_tsc(const struct dbt_cpu *cpu);
/* IA32_TSC_DEADLINE; 0: none, it has passed. One that is due fires at once, or when the guest goes on. */
uint64_t msr_deadline(struct dbt_cpu *cpu);
void msr_set_deadline(struct dbt_cpu *cpu, uint64_t tsc);
/* Time goes on: the KVM clock's page is filled again, the deadline is armed again. Main thread, no vCPU running. */
void msr_time_resumed(struct dbt_cpu *cpu);

#endif
