/* A debugger outside the guest (struct vcpu_debug, hv/vcpu.h): what its points and steps mean to our own engine.
 *
 *     breakpoint instruction  int3 asks debugger_takes_breakpoint(), and does nothing if it is the debugger's
 *     code point, step        dbt_execute() looks at every instruction, the interpreter executes them one by one
 *     data point              no tags for its page (as for DR7's), the slow path looks
 *
 * So only steps and code points make the guest slow as a whole. Threads: the vCPU's own. */
#ifndef HV_DBT_DEBUGGER_H
#define HV_DBT_DEBUGGER_H

#include <stdbool.h>
#include <stdint.h>

struct dbt_cpu;

bool debugger_has_data(const struct dbt_cpu *cpu);
bool debugger_watches(const struct dbt_cpu *cpu, uint64_t linear, unsigned bytes);
/* A data access; a hit stops the vCPU behind the instruction. */
void debugger_check_data(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, bool write);

/* The breakpoint instruction at cpu->rip is the debugger's: the vCPU stops before it. May raise. */
bool debugger_takes_breakpoint(struct dbt_cpu *cpu);

/* ---- for dbt_execute(), between two instructions ---- */
bool debugger_stops(struct dbt_cpu *cpu);              /* run() returns VCPU_STOPPED */
bool debugger_holds_events(const struct dbt_cpu *cpu); /* interrupts wait */
bool debugger_stops_here(struct dbt_cpu *cpu);         /* a code point: debugger_stops() says so next */
bool debugger_begins(struct dbt_cpu *cpu);             /* the next instruction is executed alone */

#endif
