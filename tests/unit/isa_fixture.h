/* A board for tests of chips and devices: a bus, timers whose time moves only when it is told to (they stand in for
 * hv/timers.c), and interrupt lines that are written down. */
#ifndef TESTS_UNIT_ISA_FIXTURE_H
#define TESTS_UNIT_ISA_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/irq.h"
#include "hv/timers.h"

struct isa_fixture {
    struct bus *bus;
    struct timers *timers;
    struct irq irq;
    bool line[IRQ_GSI_COUNT];
    unsigned rises[IRQ_GSI_COUNT];
};

/* For cmocka's setup and teardown: *state is a struct isa_fixture. */
int isa_setup(void **state);
int isa_teardown(void **state);

/* Time goes on; timers fire in order, each at its own time. */
void isa_advance(struct isa_fixture *b, uint64_t ns);
unsigned isa_timers_set(const struct isa_fixture *b); /* how many are */

uint8_t isa_in(struct isa_fixture *b, uint16_t port);
void isa_out(struct isa_fixture *b, uint16_t port, uint8_t value);

/* Saves a device, loads that into `into` (may be the same), saves again, and fails unless both are equal. */
void isa_round_trip(struct isa_fixture *b, struct device *device, struct device *into);

#endif
