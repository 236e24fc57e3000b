/* A counter that only grows, as a window of rates: what was counted between two looks, per second, in units. Or what
 * goes up and down, as a window of what it was.
 *
 * A counter that fell, or that another process has begun, begins a window anew. Thread: the owner's. */
#ifndef NODE_AGENT_LOAD_METER_H
#define NODE_AGENT_LOAD_METER_H

#include <stdint.h>

enum {
    LOAD_SAMPLES = 30,
    LOAD_SAMPLES_NEEDED = 3, /* of a guest's window of processor time; with fewer it is not measured yet */
    LOAD_RATE_MAX = 999999   /* what is more is this: six digits */
};

struct json_t;

struct load_meter {
    uint64_t value, at_us; /* when it was looked at last; at_us 0: never */
    int window[LOAD_SAMPLES];
    unsigned count;
};

/* One more look. unit: what of the counter is one of the rate. */
void load_meter_add(struct load_meter *meter, uint64_t value, uint64_t now_us, double unit);
/* One more sample of what is no counter. */
void load_meter_note(struct load_meter *meter, int sample);
/* The next sample is the first one; a counter goes on from its last look. */
void load_meter_anew(struct load_meter *meter);
/* The oldest first; a new reference. NULL: there is none, or it is all zero and need not be said. */
struct json_t *load_meter_window(const struct load_meter *meter);

/* What 95 of 100 samples are not above; 0 without any. */
int load_meter_p95(const struct load_meter *meter);

/* The same of a window as load_meter_window() says it, of at most LOAD_SAMPLES; what is no number counts as 0. */
int load_window_p95(const struct json_t *window);

#endif
