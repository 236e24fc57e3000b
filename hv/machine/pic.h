/* The two 8259A interrupt controllers of a PC: the slave's output is the master's pin 2.
 *
 * Plain logic on chips_state.h's data, without locks: the chips' lock is held (irqchip.c).
 * Source: 8259A data sheet; ELCR: 82371AB (PIIX4) data sheet. */
#ifndef HV_MACHINE_PIC_H
#define HV_MACHINE_PIC_H

#include <stdbool.h>
#include <stdint.h>

#include "hv/chips_state.h"

enum { PIC_CASCADE = 2, PIC_PINS = 16 };

void pic_set(struct pic_state pics[2], unsigned irq, bool level); /* irq 0 to 15, but for 2 */
bool pic_output(const struct pic_state pics[2]);                  /* INTR */
int pic_accept(struct pic_state pics[2]);                         /* INTA: the vector */

/* which: 0 master, 1 slave; port: 0 or 1. */
uint8_t pic_read(struct pic_state pics[2], unsigned which, unsigned port);
void pic_write(struct pic_state pics[2], unsigned which, unsigned port, uint8_t value);
void pic_write_elcr(struct pic_state pics[2], unsigned which, uint8_t value);

#endif
