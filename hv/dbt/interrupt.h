/* Through the IDT: interrupts, exceptions and INT n, in real mode, protected mode and long mode; and IRET, back.
 *
 * Source: Intel SDM vol. 3 ch. 6, vol. 2 IRET. Threads: the vCPU's own. */
#ifndef HV_DBT_INTERRUPT_H
#define HV_DBT_INTERRUPT_H

#include <stdbool.h>
#include <stdint.h>

struct dbt_cpu;

struct interrupt {
    uint8_t vector;
    bool has_code;
    bool soft;     /* INT n, INT3, INTO: the gate's DPL counts */
    bool external; /* not this code's doing: EXT in error codes */
    bool restarts; /* a fault: RF is set in the pushed flags */
    uint32_t code;
    uint64_t rip; /* to go back to */
};

/* Raises what goes wrong on the way, with nothing changed but memory below the new stack. */
void interrupt_deliver(struct dbt_cpu *cpu, const struct interrupt *interrupt);

/* bytes: operand size; next: of the instruction behind, for a return to another task. Sets rip. Raises. */
void interrupt_return(struct dbt_cpu *cpu, unsigned bytes, uint64_t next);

#endif
