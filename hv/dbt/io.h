/* May this code touch these ports? IOPL, and the TSS's permission bitmap. Raises #GP. */
#ifndef HV_DBT_IO_H
#define HV_DBT_IO_H

#include <stdint.h>

struct dbt_cpu;

void io_check(struct dbt_cpu *cpu, uint16_t port, unsigned bytes);

#endif
