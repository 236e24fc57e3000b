/* What an APIC is told by another one, by the IOAPIC or by a device (MSI): an interrupt, and for whom.
 *
 * Source: Intel SDM vol. 3, 11.6 (ICR) and 11.11 (MSI). Threads: any. */
#ifndef HV_MACHINE_APIC_MESSAGE_H
#define HV_MACHINE_APIC_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

enum apic_mode { /* delivery modes, as in ICR, LVTs, IOAPIC entries and MSI data */
                 APIC_FIXED = 0,
                 APIC_LOWEST = 1,
                 APIC_SMI = 2,
                 APIC_NMI = 4,
                 APIC_INIT = 5,
                 APIC_STARTUP = 6,
                 APIC_EXTINT = 7,
};

enum apic_shorthand { APIC_TO_DESTINATION, APIC_TO_SELF, APIC_TO_ALL, APIC_TO_OTHERS };

struct apic_message {
    uint32_t destination;
    bool logical;
    bool broadcast; /* destination is all ones, as wide as the sender writes it */
    uint8_t mode;   /* enum apic_mode */
    uint8_t vector;
    bool level; /* trigger: its EOI goes back to the IOAPIC */
};

static inline struct apic_message apic_message_of_msi(uint64_t address, uint32_t data)
{
    uint32_t destination = (uint32_t)(address >> 12) & 0xff;
    bool redirect = address & 8; /* to the one of lowest priority */
    uint8_t mode = data >> 8 & 7;
    return (struct apic_message){
        .destination = destination,
        .logical = address & 4,
        .broadcast = destination == 0xff,
        .mode = redirect && mode == APIC_FIXED ? APIC_LOWEST : mode,
        .vector = (uint8_t)data,
        .level = data & 0x8000 && data & 0x4000,
    };
}

#endif
