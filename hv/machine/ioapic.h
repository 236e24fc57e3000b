/* The IOAPIC: 24 pins, each with an entry that says which message it sends.
 *
 * An edge that arrives while its pin is masked is lost, as the data sheet says. A level-triggered pin sends once, then
 * waits (remote IRR) for the EOI of its vector, and sends again if the line is still up.
 *
 * Without locks: the chips' lock is held. Source: 82093AA data sheet. */
#ifndef HV_MACHINE_IOAPIC_H
#define HV_MACHINE_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/chips_state.h"

struct apic_message;

struct ioapic {
    struct ioapic_state state;
    /* False if no APIC took it. */
    bool (*send)(struct ioapic *ioapic, const struct apic_message *message);
};

static const uint64_t ioapic_base = 0xfec00000;

void ioapic_set(struct ioapic *ioapic, unsigned pin, bool level);
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

/* offset: in the page at ioapic_base. */
uint32_t ioapic_read(const struct ioapic *ioapic, uint64_t offset);
void ioapic_write(struct ioapic *ioapic, uint64_t offset, uint32_t value);

#endif
