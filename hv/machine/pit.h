/* The 8254 timer: three counters at 1.193182 MHz. Counter 0 raises IRQ 0; counter 2's gate and output are port 61h's
 * (port61.h); counter 1 drove the memory refresh of machines long gone.
 *
 * A counter is a function of virtual time: what it holds is computed when it is looked at. Only counter 0 sets a timer.
 * Ticks that the main loop is too late for are not made up.
 *
 * Threads: with the bus locked; main for new and free. Source: Intel 8254 data sheet. */
#ifndef HV_MACHINE_PIT_H
#define HV_MACHINE_PIT_H

#include <stdbool.h>

struct bus;
struct device;
struct err;
struct irq;
struct pit;
struct timers;

enum { PIT_PORT = 0x40, PIT_HZ = 1193182, PIT_SPEAKER = 2 };

struct pit *pit_new(struct bus *bus, struct irq *irq, struct timers *timers, struct err *err);
void pit_free(struct pit *pit);
struct device *pit_device(struct pit *pit);

/* Of counter 2. */
void pit_set_gate(struct pit *pit, bool gate);
bool pit_gate(const struct pit *pit);
bool pit_output(struct pit *pit);

#endif
