/* What the fuzz targets of the machine share: a bus, memory and interrupts that go nowhere, and a guest that does what
 * the input says: records of 12 bytes {action, size, address (4, little-endian), value (4), 2 bytes unused}. */
#ifndef TESTS_FUZZ_FUZZ_BOARD_H
#define TESTS_FUZZ_FUZZ_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hv/bus.h"
#include "hv/device.h"
#include "hv/irq.h"
#include "hv/machine/irq_share.h"
#include "hv/machine/reset.h"
#include "hv/memory.h"

/* libFuzzer's entry point. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_MEMORY_BYTES = 2 << 20 };
enum fuzz_action { FUZZ_IN, FUZZ_OUT, FUZZ_LOAD, FUZZ_STORE, FUZZ_POKE, FUZZ_HOST, FUZZ_ACTIONS };

struct fuzz_record {
    enum fuzz_action action;
    unsigned size; /* 1, 2, 4; 8 for memory */
    uint32_t address, value;
};

struct fuzz_board {
    struct loop *loop;
    struct bus *bus;
    struct memory *memory;
    struct timers *timers;
    struct irq irq;
    struct irq_share lines;
    struct reset reset;
};

/* Made at the first call, kept for the whole run. */
struct fuzz_board *fuzz_board(void);

/* The next record; false at the end of the input. */
bool fuzz_next(const uint8_t **data, size_t *size, struct fuzz_record *record);
/* Does all but FUZZ_HOST. */
void fuzz_do(struct fuzz_board *b, const struct fuzz_record *record);

/* Saves `from`, loads it into `to`, saves that: aborts if anything differs. */
void fuzz_round_trip(struct fuzz_board *b, struct device *from, struct device *to);

#endif
