/* A counter that only grows, as a window of rates: what was counted between two looks, per second, in units.
 *
 * A counter that fell, or that another process has begun, begins a window anew. Thread: the owner's. */
#ifndef NODE_AGENT_LOAD_METER_H
#define NODE_AGENT_LOAD_METER_H

#include <stdint.h>

enum { LOAD_SAMPLES = 30, LOAD_RATE_MAX = 999999 /* what is more is this: six digits */ };

struct json_t;

struct load_meter {
    uint64_t value, at_us; /* when it was looked at last; at_us 0: never */
    int window[LOAD_SAMPLES];
    unsigned count;
};

/* One more look. unit: what of the counter is one of the rate. */
void load_meter_add(struct load_meter *meter, uint64_t value, uint64_t now_us, double unit);
/* The oldest first; a new reference. NULL: there is none, or it is all zero and need not be said. */
struct json_t *load_meter_window(const struct load_meter *meter);

/* The rate that 95 of 100 samples are not above; 0 without any. */
int load_meter_p95(const struct load_meter *meter);

/* The same of a window as load_meter_window() says it, of at most LOAD_SAMPLES; what is no number counts as 0. */
int load_window_p95(const struct json_t *window);

#endif
