/* See lapic.h. What arrives at a local APIC, and which of it interrupts. */
#include "hv/machine/lapic.h"

#include <string.h>

#include "hv/machine/irqchip.h"

enum {
    VERSION = 0x50014, /* 6 LVT entries; no suppression of EOI broadcasts */
    SVR_ENABLED = 0x100,
    FIRST_VECTOR = 16,
    LDR_FLAT_MODEL = 0xf,
};

static int highest(const uint32_t words[8])
{
    for (int i = 7; i >= 0; i--)
        if (words[i])
            return 32 * i + 31 - __builtin_clz(words[i]);
    return -1;
}

static bool test_bit(const uint32_t words[8], uint8_t bit)
{
    return words[bit / 32] >> (bit % 32) & 1;
}

static void assign_bit(uint32_t words[8], uint8_t bit, bool value)
{
    if (value)
        words[bit / 32] |= 1u << (bit % 32);
    else
        words[bit / 32] &= ~(1u << (bit % 32));
}

void lapic_init(struct lapic *l)
{
    l->base = 0xfee00000 | LAPIC_BASE_ENABLED | (l->index ? 0 : LAPIC_BASE_BSP);
    l->reg[LAPIC_ID] = l->index << 24;
    lapic_reset(l);
}

void lapic_reset(struct lapic *l)
{
    uint32_t id = l->reg[LAPIC_ID];
    lapic_timer_stop(l);
    memset(l->reg, 0, sizeof l->reg);
    l->errors = 0;
    l->reg[LAPIC_VERSION] = VERSION;
    l->reg[LAPIC_DFR] = 0xffffffff;
    l->reg[LAPIC_SVR] = 0xff;
    for (unsigned lvt = LAPIC_LVT_TIMER; lvt <= LAPIC_LVT_ERROR; lvt++)
        l->reg[lvt] = LVT_MASKED;
    if (lapic_x2apic(l)) {
        l->reg[LAPIC_ID] = l->index;
        l->reg[LAPIC_LDR] = l->index >> 4 << 16 | 1u << (l->index & 15);
    } else {
        l->reg[LAPIC_ID] = id;
    }
    lapic_refresh(l);
}

/* ---- what is pending ---- */

static bool software_enabled(const struct lapic *l)
{
    return lapic_enabled(l) && l->reg[LAPIC_SVR] & SVR_ENABLED;
}

uint8_t lapic_ppr(const struct lapic *l)
{
    int serviced = highest(&l->reg[LAPIC_ISR]);
    uint8_t tpr = (uint8_t)l->reg[LAPIC_TPR], class = serviced < 0 ? 0 : serviced & 0xf0;
    return (tpr & 0xf0) >= class ? tpr : class;
}

int lapic_vector(const struct lapic *l)
{
    int vector = highest(&l->reg[LAPIC_IRR]);
    if (vector < 0 || !lapic_enabled(l))
        return -1;
    return (vector & 0xf0) > (lapic_ppr(l) & 0xf0) ? vector : -1;
}

bool lapic_wants_pic(const struct lapic *l)
{
    if (!l->lint[0])
        return false;
    if (!lapic_enabled(l))
        return true;
    uint32_t lvt = l->reg[LAPIC_LVT_LINT0];
    return !(lvt & LVT_MASKED) && (lvt >> 8 & 7) == APIC_EXTINT;
}

static void set_pending(struct lapic *l, unsigned pending)
{
    unsigned before = atomic_load(&l->pending);
    if (pending == before)
        return;
    atomic_store(&l->pending, pending);
    if (pending & ~before && l->cpu)
        l->cpu->wake(l->cpu);
}

void lapic_refresh(struct lapic *l)
{
    unsigned rest = atomic_load(&l->pending) & ~(unsigned)IRQCHIP_INTERRUPT;
    set_pending(l, rest | (lapic_vector(l) >= 0 || lapic_wants_pic(l) ? IRQCHIP_INTERRUPT : 0));
}

void lapic_raise(struct lapic *l, unsigned events)
{
    set_pending(l, atomic_load(&l->pending) | events);
}

void lapic_begin(struct lapic *l, uint8_t vector)
{
    assign_bit(&l->reg[LAPIC_IRR], vector, false);
    assign_bit(&l->reg[LAPIC_ISR], vector, true);
    lapic_refresh(l);
}

/* A LINT pin of fixed mode and level trigger: sends again while it is up. */
static void serve_lint(struct lapic *l, unsigned pin)
{
    uint32_t lvt = l->reg[LAPIC_LVT_LINT0 + pin];
    if (l->lint[pin] && lvt & LVT_LEVEL && !(lvt & (LVT_REMOTE_IRR | LVT_MASKED)) && (lvt >> 8 & 7) == APIC_FIXED)
        lapic_deliver_lvt(l, LAPIC_LVT_LINT0 + pin);
}

void lapic_eoi(struct lapic *l)
{
    int serviced = highest(&l->reg[LAPIC_ISR]);
    if (serviced < 0)
        return;
    uint8_t vector = (uint8_t)serviced;
    assign_bit(&l->reg[LAPIC_ISR], vector, false);
    if (test_bit(&l->reg[LAPIC_TMR], vector)) {
        for (unsigned pin = 0; pin < 2; pin++) {
            uint32_t *lvt = &l->reg[LAPIC_LVT_LINT0 + pin];
            if ((uint8_t)*lvt == vector && *lvt & LVT_REMOTE_IRR) {
                *lvt &= ~(uint32_t)LVT_REMOTE_IRR;
                serve_lint(l, pin);
            }
        }
        l->ops->eoi(l, vector);
    }
    lapic_refresh(l);
}

/* ---- what arrives ---- */

void lapic_error(struct lapic *l, enum lapic_error error)
{
    bool was = l->errors & error;
    l->errors |= error;
    if (!was)
        lapic_deliver_lvt(l, LAPIC_LVT_ERROR);
}

static void fixed(struct lapic *l, uint8_t vector, bool level)
{
    if (vector < FIRST_VECTOR) {
        lapic_error(l, LAPIC_RECEIVE_ILLEGAL);
        return;
    }
    assign_bit(&l->reg[LAPIC_IRR], vector, true);
    assign_bit(&l->reg[LAPIC_TMR], vector, level);
    lapic_refresh(l);
}

bool lapic_accepts(const struct lapic *l, uint8_t mode)
{
    return mode == APIC_FIXED || mode == APIC_LOWEST ? software_enabled(l) : lapic_enabled(l);
}

void lapic_receive(struct lapic *l, const struct apic_message *message)
{
    switch (message->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        fixed(l, message->vector, message->level);
        break;
    case APIC_NMI:
        lapic_raise(l, IRQCHIP_NMI);
        break;
    case APIC_INIT:
        atomic_fetch_and(&l->pending, ~(unsigned)IRQCHIP_SIPI); /* one that came before is void */
        lapic_raise(l, IRQCHIP_INIT);
        break;
    case APIC_STARTUP:
        l->sipi_vector = message->vector;
        lapic_raise(l, IRQCHIP_SIPI);
        break;
    default: /* there is no SMM, and the PIC reaches a vCPU by LINT0 alone */
        break;
    }
}

void lapic_deliver_lvt(struct lapic *l, enum lapic_register which)
{
    uint32_t *lvt = &l->reg[which];
    if (*lvt & LVT_MASKED || !lapic_enabled(l))
        return;
    bool lint = which == LAPIC_LVT_LINT0 || which == LAPIC_LVT_LINT1;
    uint8_t mode = which == LAPIC_LVT_TIMER || which == LAPIC_LVT_ERROR ? APIC_FIXED : *lvt >> 8 & 7;
    bool level = lint && mode == APIC_FIXED && *lvt & LVT_LEVEL;
    if (level)
        *lvt |= LVT_REMOTE_IRR;
    if (mode == APIC_FIXED || mode == APIC_NMI || mode == APIC_INIT)
        lapic_receive(l, &(struct apic_message){.mode = mode, .vector = (uint8_t)*lvt, .level = level});
}

void lapic_set_lint(struct lapic *l, unsigned pin, bool level)
{
    bool rises = level && !l->lint[pin];
    l->lint[pin] = level;
    if (!lapic_enabled(l)) { /* then they are the processor's INTR and NMI */
        if (pin == 1 && rises)
            lapic_raise(l, IRQCHIP_NMI);
    } else if (l->reg[LAPIC_LVT_LINT0 + pin] & LVT_LEVEL) {
        serve_lint(l, pin);
    } else if (rises) {
        lapic_deliver_lvt(l, LAPIC_LVT_LINT0 + pin);
    }
    lapic_refresh(l);
}

/* ---- for whom ---- */

static bool matches_physical(const struct lapic *l, const struct apic_message *m)
{
    return m->destination == (lapic_x2apic(l) ? l->reg[LAPIC_ID] : l->reg[LAPIC_ID] >> 24);
}

static bool matches_logical(const struct lapic *l, const struct apic_message *m)
{
    uint32_t ldr = l->reg[LAPIC_LDR], to = m->destination;
    if (lapic_x2apic(l))
        return ldr >> 16 == to >> 16 && ldr & to & 0xffff;
    if (l->reg[LAPIC_DFR] >> 28 == LDR_FLAT_MODEL)
        return ldr >> 24 & to;
    return ldr >> 28 == to >> 4 && ldr >> 24 & to & 0xf;
}

bool lapic_is_target(const struct lapic *l, const struct apic_message *m)
{
    if (!lapic_enabled(l))
        return false;
    return m->broadcast || (m->logical ? matches_logical(l, m) : matches_physical(l, m));
}
