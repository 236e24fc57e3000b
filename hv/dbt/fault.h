/* Faults: raised anywhere below an instruction, delivered by the execution loop.
 *
 * fault_raise() and its like note the exception in cpu->fault and longjmp() to cpu->unwind. The loop then calls
 * fault_deliver(), which goes through the IDT (interrupt.h) and turns a fault during delivery into a double fault, and
 * one during that into shutdown. cpu->rip is the address of the instruction at fault; RFLAGS and registers are as
 * before it.
 *
 * For generated code: a stub that calls a function which can raise has put all guest registers, rflags and rip into
 * the struct before. The stack frames between are dropped, so nothing that can raise holds a lock or memory.
 *
 * Source: Intel SDM vol. 3 ch. 6. */
#ifndef HV_DBT_FAULT_H
#define HV_DBT_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct dbt_cpu;

enum fault_vector {
    FAULT_DE,
    FAULT_DB,
    FAULT_NMI,
    FAULT_BP,
    FAULT_OF,
    FAULT_BR,
    FAULT_UD,
    FAULT_NM,
    FAULT_DF,
    FAULT_TS = 10,
    FAULT_NP,
    FAULT_SS,
    FAULT_GP,
    FAULT_PF,
    FAULT_MF = 16,
    FAULT_AC,
    FAULT_MC,
    FAULT_XM,
};

enum fault_page_code { FAULT_PAGE_P = 1, FAULT_PAGE_W = 2, FAULT_PAGE_U = 4, FAULT_PAGE_RSVD = 8, FAULT_PAGE_I = 16 };

/* Those without an error code: #DE, #UD, #NM, #MF, #XM, #BR, #DB (dr6 is the caller's). */
_Noreturn void fault_raise(struct dbt_cpu *cpu, enum fault_vector vector);
/* Those with one; code: selector without RPL, or 0. The EXT bit is added while an external event is delivered. */
_Noreturn void fault_raise_code(struct dbt_cpu *cpu, enum fault_vector vector, uint32_t code);
_Noreturn void fault_raise_page(struct dbt_cpu *cpu, uint64_t linear, uint32_t code); /* sets CR2 */

static inline _Noreturn void fault_gp(struct dbt_cpu *cpu)
{
    fault_raise_code(cpu, FAULT_GP, 0);
}

static inline _Noreturn void fault_ud(struct dbt_cpu *cpu)
{
    fault_raise(cpu, FAULT_UD);
}

/* Delivers cpu->fault; for the loop, after a longjmp. May set cpu->shutdown. Does not raise; cpu->unwind stays. */
void fault_deliver(struct dbt_cpu *cpu);

/* Delivers an interrupt or NMI that the loop has taken; on a fault inside goes on as fault_deliver(). Does not raise.
 */
void fault_deliver_event(struct dbt_cpu *cpu, uint8_t vector);

#endif
