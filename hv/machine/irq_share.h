/* Interrupt lines that several sources drive: a line is up while any of its sources is.
 *
 * PCI interrupts and ACPI's SCI can meet on one line (a guest routes them as it likes), and the chips know only the
 * level of the line. A source is embedded in its device, which alone sets it.
 *
 * Threads: any. Lock order: bus, a PCI function's, this one's, irq chips. */
#ifndef HV_MACHINE_IRQ_SHARE_H
#define HV_MACHINE_IRQ_SHARE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/irq.h"

enum { IRQ_NOWHERE = 255 };

struct irq_share {
    struct irq *irq;
    pthread_mutex_t lock;
    unsigned up[IRQ_GSI_COUNT]; /* how many sources hold this line up */
};

struct irq_source {
    uint8_t gsi; /* IRQ_NOWHERE: its level is remembered and reaches nobody */
    bool level;
};

void irq_share_init(struct irq_share *share, struct irq *irq);
void irq_share_fini(struct irq_share *share);

void irq_source_init(struct irq_source *source, unsigned gsi); /* down */
void irq_source_set(struct irq_share *share, struct irq_source *source, bool level);
/* Moves a source, with its level, to another line. A gsi that does not exist is nowhere. */
void irq_source_route(struct irq_share *share, struct irq_source *source, unsigned gsi);

#endif
