/* Interrupts, as devices see them: a line (GSI) goes up or down, or a message (MSI) is sent. Who delivers them (chips
 * of ours in hv/machine/irqchip.c, or the kernel's) is the engine's.
 *
 * Lines: GSI 0 to 15 are the ISA interrupts, on the PICs and (0 as pin 2) on the IOAPIC; 16 to 23 are PCI's, on the
 * IOAPIC alone. A line that several devices share is theirs to merge (irq_line).
 *
 * Threads: any; takes no bus lock. */
#ifndef HV_IRQ_H
#define HV_IRQ_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/trace.h"

enum { IRQ_GSI_COUNT = 24 };

struct irq {
    void (*set)(struct irq *irq, unsigned gsi, bool level);
    void (*msi)(struct irq *irq, uint64_t address, uint32_t data); /* Intel SDM vol. 3, 11.11 */
};

static inline void irq_set(struct irq *irq, unsigned gsi, bool level)
{
    trace_all(TRACE_IRQ, "line %u %s", gsi, level ? "up" : "down");
    irq->set(irq, gsi, level);
}

static inline void irq_pulse(struct irq *irq, unsigned gsi)
{
    irq_set(irq, gsi, true);
    irq_set(irq, gsi, false);
}

static inline void irq_msi(struct irq *irq, uint64_t address, uint32_t data)
{
    trace_all(TRACE_IRQ, "message %#x to %#llx", data, (unsigned long long)address);
    irq->msi(irq, address, data);
}

#endif
