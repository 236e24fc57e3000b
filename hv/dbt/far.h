/* Control transfers to another code segment: far JMP, CALL, RET, with gates, tasks and changes of privilege; and the
 * fast system calls. All set rip and raise with nothing changed but memory below a new stack.
 *
 * Source: Intel SDM vol. 3 ch. 5.8, vol. 2. Threads: the vCPU's own. */
#ifndef HV_DBT_FAR_H
#define HV_DBT_FAR_H

#include <stdint.h>

struct dbt_cpu;

/* next: of the instruction behind; bytes: operand size. */
void far_jump(struct dbt_cpu *cpu, uint16_t selector, uint64_t offset, uint64_t next);
void far_call(struct dbt_cpu *cpu, uint16_t selector, uint64_t offset, unsigned bytes, uint64_t next);
void far_return(struct dbt_cpu *cpu, unsigned bytes, unsigned drop_bytes);

void far_syscall(struct dbt_cpu *cpu, uint64_t next);
void far_sysret(struct dbt_cpu *cpu, unsigned bytes);
void far_sysenter(struct dbt_cpu *cpu);
void far_sysexit(struct dbt_cpu *cpu, unsigned bytes);

#endif
