/* A local APIC, in xAPIC and x2APIC mode.
 *
 * Without locks: the chips' lock is held by every call; those marked "time" need the bus's, too, taken before it. What
 * must happen elsewhere (a message to other APICs, an EOI for the IOAPIC) goes through lapic_ops.
 *
 * The timer counts virtual nanoseconds: one a tick, before the divider, as KVM's (1 GHz bus).
 *
 * Source: Intel SDM vol. 3 ch. 11. */
#ifndef HV_MACHINE_LAPIC_H
#define HV_MACHINE_LAPIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "hv/machine/apic_message.h"
#include "hv/timers.h"

struct irqchip;
struct irqchip_cpu;
struct lapic;

/* In units of 16 bytes: the offset in the page / 16, or the MSR - 800h. */
enum lapic_register {
    LAPIC_ID = 0x02,
    LAPIC_VERSION = 0x03,
    LAPIC_TPR = 0x08,
    LAPIC_APR = 0x09,
    LAPIC_PPR = 0x0a,
    LAPIC_EOI = 0x0b,
    LAPIC_RRD = 0x0c,
    LAPIC_LDR = 0x0d,
    LAPIC_DFR = 0x0e,
    LAPIC_SVR = 0x0f,
    LAPIC_ISR = 0x10, /* 8 of each */
    LAPIC_TMR = 0x18,
    LAPIC_IRR = 0x20,
    LAPIC_ESR = 0x28,
    LAPIC_ICR = 0x30,
    LAPIC_ICR_HIGH = 0x31,
    LAPIC_LVT_TIMER = 0x32,
    LAPIC_LVT_THERMAL = 0x33,
    LAPIC_LVT_PERFORMANCE = 0x34,
    LAPIC_LVT_LINT0 = 0x35,
    LAPIC_LVT_LINT1 = 0x36,
    LAPIC_LVT_ERROR = 0x37,
    LAPIC_TIMER_INITIAL = 0x38,
    LAPIC_TIMER_CURRENT = 0x39,
    LAPIC_TIMER_DIVIDE = 0x3e,
    LAPIC_SELF_IPI = 0x3f,
    LAPIC_REGISTERS = 0x40,
};

enum { /* of an LVT */
       LVT_REMOTE_IRR = 1 << 14,
       LVT_LEVEL = 1 << 15,
       LVT_MASKED = 1 << 16,
       LVT_TIMER_PERIODIC = 1 << 17,
       LVT_TIMER_DEADLINE = 1 << 18,
};

enum { /* of IA32_APIC_BASE */
       LAPIC_BASE_BSP = 1 << 8,
       LAPIC_BASE_X2APIC = 1 << 10,
       LAPIC_BASE_ENABLED = 1 << 11,
};

enum lapic_error { LAPIC_SEND_ILLEGAL = 1 << 5, LAPIC_RECEIVE_ILLEGAL = 1 << 6, LAPIC_ILLEGAL_REGISTER = 1 << 7 };

struct lapic_ops {
    void (*send)(struct lapic *from, const struct apic_message *message, enum apic_shorthand to);
    void (*eoi)(struct lapic *from, uint8_t vector); /* of a level-triggered interrupt */
};

struct lapic {
    const struct lapic_ops *ops;
    struct irqchip *chip;    /* for them */
    struct irqchip_cpu *cpu; /* NULL: nobody to wake */
    unsigned index;
    atomic_uint pending; /* enum irqchip_event */
    uint64_t base;       /* IA32_APIC_BASE */
    uint32_t reg[LAPIC_REGISTERS];
    uint32_t errors; /* since ESR was written */
    uint8_t sipi_vector;
    bool lint[2]; /* the pins */

    struct timers *timers;
    struct timer timer;
    bool counting;       /* the timer runs, or a deadline is set */
    uint64_t expires_ns; /* while it does */
};

/* ops, chip, timers, timer.fire and index are set. Time */
void lapic_init(struct lapic *lapic);
void lapic_reset(struct lapic *lapic); /* INIT: base and ID stay. Time */

/* ---- delivery ---- */

bool lapic_is_target(const struct lapic *lapic, const struct apic_message *message);
/* Can it take a message of this mode now? */
bool lapic_accepts(const struct lapic *lapic, uint8_t mode);
void lapic_receive(struct lapic *lapic, const struct apic_message *message);
void lapic_set_lint(struct lapic *lapic, unsigned pin, bool level);
void lapic_deliver_lvt(struct lapic *lapic, enum lapic_register lvt);
uint8_t lapic_ppr(const struct lapic *lapic);

/* The highest vector that may interrupt now, or -1. */
int lapic_vector(const struct lapic *lapic);
void lapic_begin(struct lapic *lapic, uint8_t vector); /* IRR -> ISR */
void lapic_eoi(struct lapic *lapic);
/* Is LINT0 up, and the way for the PIC's interrupts to this vCPU? */
bool lapic_wants_pic(const struct lapic *lapic);

/* Pending bits. refresh: IRQCHIP_INTERRUPT follows the registers; calls wake() where a bit appears. */
void lapic_refresh(struct lapic *lapic);
void lapic_raise(struct lapic *lapic, unsigned events);
void lapic_error(struct lapic *lapic, enum lapic_error error);

static inline bool lapic_enabled(const struct lapic *lapic)
{
    return lapic->base & LAPIC_BASE_ENABLED;
}

static inline bool lapic_x2apic(const struct lapic *lapic)
{
    return lapic->base & LAPIC_BASE_X2APIC;
}

/* ---- registers (lapic_registers.c). Time, where lapic_needs_time() ---- */

bool lapic_needs_time(uint32_t reg);
uint32_t lapic_get(const struct lapic *lapic, enum lapic_register reg); /* as the guest sees it */
/* A register of a saved state: what the guest could not have written is dropped. */
uint32_t lapic_sane(const struct lapic *lapic, enum lapic_register reg, uint32_t value);
uint32_t lapic_read(struct lapic *lapic, uint32_t offset); /* the xAPIC page */
void lapic_write(struct lapic *lapic, uint32_t offset, uint32_t value);
bool lapic_read_x2apic(struct lapic *lapic, uint32_t reg, uint64_t *value); /* false: #GP */
bool lapic_write_x2apic(struct lapic *lapic, uint32_t reg, uint64_t value);
bool lapic_set_base(struct lapic *lapic, uint64_t base); /* time; false: #GP */
bool lapic_base_is_valid(uint64_t base);
void lapic_set_tpr(struct lapic *lapic, uint8_t tpr);

/* ---- timer (lapic_timer.c). All: time ---- */

uint32_t lapic_timer_count(const struct lapic *lapic);
void lapic_timer_start(struct lapic *lapic, uint32_t count); /* from count on down; 0 stops */
bool lapic_timer_deadline(struct lapic *lapic, uint64_t at_ns);
void lapic_timer_stop(struct lapic *lapic);
void lapic_timer_set_lvt(struct lapic *lapic, uint32_t lvt);
void lapic_timer_set_divide(struct lapic *lapic, uint32_t divide);
void lapic_timer_fired(struct lapic *lapic); /* what lapic->timer calls in the end */

#endif
