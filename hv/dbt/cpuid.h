/* CPUID of our own engine: what it can show, and what a vCPU answers. */
#ifndef HV_DBT_CPUID_H
#define HV_DBT_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/cpu_model.h"

struct dbt_cpu;

/* What is implemented, and, where guest instructions are executed with the host's, what the host has: for
 * cpu_model_build(). Any thread. */
void dbt_cpuid_supported(struct cpuid_table *table);

/* out: EAX, EBX, ECX, EDX. */
void dbt_cpuid(const struct dbt_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* Bits of CR4 and EFER that a guest with this model may set. */
uint64_t dbt_cpuid_cr4(const struct cpu_model *model);
uint64_t dbt_cpuid_efer(const struct cpu_model *model);
bool dbt_cpuid_arch_capabilities(const struct cpu_model *model); /* is there the MSR? */
unsigned dbt_cpuid_physical_bits(const struct cpu_model *model);

#endif
