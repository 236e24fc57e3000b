/* A vCPU's access to what is not memory: its local APIC's page, the bus, the I/O ports. 1 to 8 bytes; an access that is
 * no power of two is made of bytes. While it waits for the bus's lock the vCPU counts as not executing (vm.h).
 * Threads: the vCPU's own. */
#ifndef HV_DBT_DEVICE_H
#define HV_DBT_DEVICE_H

#include <stdint.h>

struct dbt_cpu;

uint64_t device_load(struct dbt_cpu *cpu, uint64_t gpa, unsigned bytes);
void device_store(struct dbt_cpu *cpu, uint64_t gpa, unsigned bytes, uint64_t value);
uint32_t device_in(struct dbt_cpu *cpu, uint16_t port, unsigned bytes);
void device_out(struct dbt_cpu *cpu, uint16_t port, unsigned bytes, uint32_t value);

#endif
