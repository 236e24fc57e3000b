/* What the tests of the machine's parts stand on: a bus, memory, timers whose clock the test moves, and an interrupt
 * controller and a reset line that only remember. */
#ifndef TESTS_UNIT_FAKE_BOARD_H
#define TESTS_UNIT_FAKE_BOARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/irq.h"
#include "hv/machine/irq_share.h"
#include "hv/machine/reset.h"
#include "hv/memory.h"

enum { FAKE_MSI_MAX = 256, FAKE_MEMORY_BYTES = 16 << 20 };

struct fake_board {
    struct loop *loop;
    struct bus *bus;
    struct memory *memory;
    struct timers *timers;
    struct irq irq;
    struct irq_share lines;
    struct reset reset;
    bool level[IRQ_GSI_COUNT];
    unsigned edges[IRQ_GSI_COUNT]; /* how often each went up */
    unsigned msi_count;
    struct {
        uint64_t address;
        uint32_t data;
    } msi[FAKE_MSI_MAX];
    unsigned restarts, offs;
};

/* For cmocka's setup and teardown: *state is a struct fake_board. */
int fake_board_setup(void **state);
int fake_board_teardown(void **state);

/* As a vCPU does it. */
uint32_t board_in(struct fake_board *b, uint16_t port, unsigned size);
void board_out(struct fake_board *b, uint16_t port, unsigned size, uint32_t value);
uint64_t board_load(struct fake_board *b, uint64_t gpa, unsigned size);
void board_store(struct fake_board *b, uint64_t gpa, unsigned size, uint64_t value);
uint32_t board_config_read(struct fake_board *b, unsigned slot, unsigned function, unsigned offset, unsigned size);
void board_config_write(struct fake_board *b, unsigned slot, unsigned function, unsigned offset, unsigned size,
                        uint32_t value);

/* Virtual time stands still, and goes where the test says (never back). */
void board_set_time(struct fake_board *b, uint64_t ns);

/* Saves the device, and returns the bytes (malloc) and their length. */
void *board_save(struct fake_board *b, struct device *device, size_t *bytes);
/* Loads them into the device. 0 or the error's code. */
int board_load_state(struct fake_board *b, struct device *device, const void *data, size_t bytes);
/* save -> load into `to` -> save: the same bytes, or the test fails. */
void board_round_trip(struct fake_board *b, struct device *from, struct device *to);

#endif
