/* The machine's timers and its virtual time: nanoseconds that the guest has been running, so they stand still while it
 * is paused and go on after a save and load.
 *
 * Timers belong to devices and fire on the main loop's thread, with the bus locked. Thread: set, clear and now from any
 * thread that holds the bus lock; the rest from the main loop. */
#ifndef HV_TIMERS_H
#define HV_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

struct bus;
struct err;
struct loop;
struct state;
struct timers;

struct timer {
    void (*fire)(struct timer *timer);
    uint64_t at_ns; /* virtual time */
    uint32_t slot;  /* place in the heap + 1; 0 = not set */
};

struct timers *timers_new(struct loop *loop, struct bus *bus, struct err *err); /* stopped, at 0 */
void timers_free(struct timers *timers);

uint64_t timers_now_ns(const struct timers *timers);
bool timers_running(const struct timers *timers);
void timer_set(struct timers *timers, struct timer *timer, uint64_t at_ns); /* in the past: fires soon */
void timer_clear(struct timers *timers, struct timer *timer);

void timers_start(struct timers *timers); /* virtual time runs */
void timers_stop(struct timers *timers);
void timers_state(struct timers *timers, struct state *state); /* the time alone: devices set their timers again */

#endif
