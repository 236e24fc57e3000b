/* Hardware task switches: 16- and 32-bit TSS, by JMP, CALL, interrupt or IRET.
 *
 * Source: Intel SDM vol. 3 ch. 7. Threads: the vCPU's own. */
#ifndef HV_DBT_TASK_H
#define HV_DBT_TASK_H

#include <stdint.h>

struct dbt_cpu;

enum task_reason { TASK_JUMP, TASK_CALL, TASK_INTERRUPT, TASK_RETURN };

/* selector: of the TSS; next: where the old task goes on. code: an error code to push on the new stack, or NULL.
 * Raises; #TS and its like after the switch are the new task's. */
void task_switch(struct dbt_cpu *cpu, uint16_t selector, enum task_reason reason, uint64_t next, const uint32_t *code);

#endif
