/* One counter of the 8254, by its own clock: `now` is in its ticks and never goes back.
 *
 * Threads: the owner's. Source: Intel 8254 data sheet, "Mode definitions". */
#ifndef HV_MACHINE_PIT_COUNTER_H
#define HV_MACHINE_PIT_COUNTER_H

#include <stdbool.h>
#include <stdint.h>

enum pit_access { PIT_LATCH, PIT_LOW, PIT_HIGH, PIT_LOW_HIGH };

struct pit_counter {
    uint8_t mode;   /* 0 to 5 */
    uint8_t access; /* enum pit_access */
    bool bcd, gate;
    bool loaded;   /* a count has been written since the control word */
    bool counting; /* from `start`; else at rest: waits for a count, or for its gate */
    bool high_next_write, high_next_read;
    bool count_latched, status_latched;
    uint8_t low_written, latched_status;
    uint16_t latched_count;
    uint32_t initial; /* 1 to 65536 (10000 in BCD) */
    uint32_t next;    /* modes 2 and 3: takes over at `next_at`; 0: none */
    uint64_t start, next_at;
    uint64_t passed; /* ticks that had passed when the gate stopped it (modes 0 and 4) */
};

void pit_counter_reset(struct pit_counter *c);
void pit_counter_control(struct pit_counter *c, uint8_t word, uint64_t now); /* mode, access, latch */
void pit_counter_latch_status(struct pit_counter *c, uint64_t now);
void pit_counter_latch_count(struct pit_counter *c, uint64_t now);
void pit_counter_write(struct pit_counter *c, uint8_t value, uint64_t now);
uint8_t pit_counter_read(struct pit_counter *c, uint64_t now);
void pit_counter_set_gate(struct pit_counter *c, bool gate, uint64_t now);

bool pit_counter_output(struct pit_counter *c, uint64_t now);
/* The first tick after now at which the output goes up, 0 if it does not by itself. */
uint64_t pit_counter_next_rise(struct pit_counter *c, uint64_t now);
bool pit_counter_is_sane(const struct pit_counter *c);

#endif
