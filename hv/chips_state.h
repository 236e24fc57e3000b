/* The interrupt controllers that all vCPUs share, as plain data: two PICs (8259A) and the IOAPIC. Saved and sent like
 * cpu_state.h; an engine whose chips are the kernel's converts. Threads: the owner's. */
#ifndef HV_CHIPS_STATE_H
#define HV_CHIPS_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/irq.h"

struct state;

struct pic_state {                      /* Intel 8259A data sheet */
    uint8_t irr, isr, imr, last_levels; /* one bit a pin */
    uint8_t elcr;                       /* level-triggered pins; port 4d0h */
    uint8_t vector_base, priority_add, init_step;
    bool read_isr, poll, special_mask, auto_eoi, rotate_on_auto_eoi, fully_nested, needs_icw4;
};

struct ioapic_state { /* 82093AA data sheet */
    uint32_t id, select, irr, levels;
    uint64_t redirection[IRQ_GSI_COUNT];
};

struct chips_state {
    struct pic_state pic[2]; /* master, slave */
    struct ioapic_state ioapic;
};

void chips_state_reset(struct chips_state *chips);
/* Section "chips". */
void chips_state_state(struct chips_state *chips, struct state *state);

#endif
