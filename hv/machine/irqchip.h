/* The interrupt chips of our own engines: two PICs, the IOAPIC, and a local APIC for every vCPU (xAPIC and x2APIC).
 *
 *     devices -> irq_set(), irq_msi() -> PIC / IOAPIC -> LAPIC of a vCPU -> pending bits -> that vCPU accepts
 *
 * The chips have a lock of their own (taken after the bus's, if both are held), so that I/O threads raise interrupts
 * without the bus. What waits for a vCPU is one atomic word that its loop looks at; wake() is called when a bit of it
 * appears, from any thread, with the chips' lock held: it may only set flags and wake threads.
 *
 * Source: Intel SDM vol. 3 ch. 11 (APIC), 8259A and 82093AA data sheets, MultiProcessor Specification 1.4 (routing: ISA
 * IRQ 0 is IOAPIC pin 2; the PIC's output is LINT0 of vCPU 0).
 * The LAPIC timer counts nanoseconds of virtual time (a bus of 1 GHz, as KVM's): say so in CPUID 15h and 40000010h.
 *
 * Threads: as said at each. None of the calls is made with the bus's lock held, but for irq_set() and irq_msi(), which
 * do not mind. */
#ifndef HV_MACHINE_IRQCHIP_H
#define HV_MACHINE_IRQCHIP_H

#include <stdbool.h>
#include <stdint.h>

struct bus;
struct chips_state;
struct cpu_state;
struct err;
struct irq;
struct irqchip;
struct timers;

enum irqchip_event {
    IRQCHIP_INTERRUPT = 1, /* irqchip_accept() would return a vector, as far as the chips know (TPR included) */
    IRQCHIP_NMI = 2,
    IRQCHIP_INIT = 4,
    IRQCHIP_SIPI = 8,
};

struct irqchip_cpu {
    void (*wake)(struct irqchip_cpu *cpu);
};

/* Adds its regions (ports 20h, a0h, 4d0h; FEC00000h) to the bus. Main thread. */
struct irqchip *irqchip_new(struct bus *bus, struct timers *timers, unsigned vcpus, struct err *err);
void irqchip_free(struct irqchip *chip);
void irqchip_attach(struct irqchip *chip, unsigned index, struct irqchip_cpu *cpu);
struct irq *irqchip_irq(struct irqchip *chip); /* irq_set, irq_msi: any thread */

/* ---- the vCPU's own thread ---- */

/* enum irqchip_event bits; one atomic load. Any thread. */
unsigned irqchip_pending(const struct irqchip *chip, unsigned index);
/* INTA: the vector to deliver now, from the LAPIC or, through LINT0 or a disabled LAPIC, from the PIC; -1 if there is
 * none after all. The vCPU has looked at IF and its interrupt shadow. */
int irqchip_accept(struct irqchip *chip, unsigned index);
/* Consumes one pending NMI, INIT or SIPI; false if it is gone. vector: SIPI's. INIT resets the LAPIC. */
bool irqchip_take(struct irqchip *chip, unsigned index, enum irqchip_event event, uint8_t *vector);

/* The xAPIC page, 4 KiB at irqchip_base() while the APIC is enabled in xAPIC mode. */
uint32_t irqchip_lapic_read(struct irqchip *chip, unsigned index, uint32_t offset);
void irqchip_lapic_write(struct irqchip *chip, unsigned index, uint32_t offset, uint32_t value);
/* MSRs 800h to 8FFh (x2APIC) and 1Bh (IA32_APIC_BASE); false: #GP. */
bool irqchip_msr_read(struct irqchip *chip, unsigned index, uint32_t msr, uint64_t *value);
bool irqchip_msr_write(struct irqchip *chip, unsigned index, uint32_t msr, uint64_t value);
uint64_t irqchip_base(const struct irqchip *chip, unsigned index); /* IA32_APIC_BASE as it is */

uint64_t irqchip_cr8(const struct irqchip *chip, unsigned index);
void irqchip_set_cr8(struct irqchip *chip, unsigned index, uint64_t cr8);

/* TSC-deadline mode: the engine turns IA32_TSC_DEADLINE into virtual time; 0 disarms. False: the LVT timer is in
 * another mode and the write is ignored. fired: the deadline MSR reads as 0 again. */
bool irqchip_deadline(struct irqchip *chip, unsigned index, uint64_t at_ns);
bool irqchip_deadline_armed(struct irqchip *chip, unsigned index);

/* ---- main thread, no vCPU running ---- */

/* lapic, apic_base, cr8 and pending NMI, INIT, SIPI of cpu. After set, wake() is called for what is pending. */
void irqchip_cpu_get(struct irqchip *chip, unsigned index, struct cpu_state *cpu);
int irqchip_cpu_set(struct irqchip *chip, unsigned index, const struct cpu_state *cpu, struct err *err);
void irqchip_chips_get(struct irqchip *chip, struct chips_state *chips);
int irqchip_chips_set(struct irqchip *chip, const struct chips_state *chips, struct err *err);

#endif
