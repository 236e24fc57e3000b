/* An engine that executes no guest code: a vCPU sleeps in run() until it is kicked, or until the test gives it
 * something to do. What it does it does on its own thread, as code of a guest would: ports, registers of devices, a
 * triple fault.
 *
 * One machine at a time. Threads: the test's, another than the guest's main loop's. */
#ifndef TESTS_UNIT_SCRIPTED_ENGINE_H
#define TESTS_UNIT_SCRIPTED_ENGINE_H

#include <stdint.h>

#include "hv/vcpu.h"

extern const struct engine scripted_engine;

/* Before a guest is built: forgets what was, and which vCPU cannot be made (VCPU_MAX: all can). */
void scripted_begin(unsigned broken_vcpu);
/* Runs it on the vCPU's thread and waits for its end; waits first until the vCPU runs. */
void scripted_do(unsigned index, void (*run)(void *context), void *context);
void scripted_out(unsigned index, uint16_t port, unsigned size, uint32_t value);
uint32_t scripted_in(unsigned index, uint16_t port, unsigned size);
/* The vCPU's run() returns this, once. Does not wait. */
void scripted_exit(unsigned index, enum vcpu_exit exit);
/* A last word: vCPU 0 writes a port while it is freed, on the main thread. */
void scripted_out_at_end(uint16_t port, uint32_t value);
/* Makes the next set() of vCPU 0 fail. */
void scripted_refuse_state(void);

unsigned scripted_sets(void);            /* of vCPU 0's state: at its start, and at each reset */
void scripted_wait_sets(unsigned count); /* until there were so many */
unsigned scripted_runs(unsigned index);  /* how often run() was called */
uint64_t scripted_rip(void);             /* vCPU 0's, as last set */
struct bus *scripted_bus(void);

#endif
