/* Debug registers: breakpoints on code, data and I/O, and what DR6 says afterwards.
 *
 * Source: Intel SDM vol. 3 ch. 17.2. Threads: the vCPU's own. */
#ifndef HV_DBT_DEBUG_H
#define HV_DBT_DEBUG_H

#include <stdbool.h>
#include <stdint.h>

struct dbt_cpu;

enum debug_dr6 {
    DEBUG_DR6_B0 = 1,
    DEBUG_DR6_BD = 0x2000,
    DEBUG_DR6_BS = 0x4000,
    DEBUG_DR6_BT = 0x8000,
};

/* DR7, DR0 to DR3 or the debugger's points were written: data breakpoints take the TLB's tags away. */
void debug_changed(struct dbt_cpu *cpu);
bool debug_watches_page(const struct dbt_cpu *cpu, uint64_t page);
/* A data access; a hit goes into cpu->debug_hits, which is a trap after the instruction. */
void debug_check_data(struct dbt_cpu *cpu, uint64_t linear, unsigned bytes, bool write);
void debug_check_io(struct dbt_cpu *cpu, uint16_t port, unsigned bytes);
/* A code breakpoint at linear: the DR6 bits, or 0. */
uint32_t debug_check_code(const struct dbt_cpu *cpu, uint64_t linear);

#endif
