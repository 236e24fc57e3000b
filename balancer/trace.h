/* Loads over time: a row a guest, a column a step, in percent of the guest's vCPUs.
 *
 * Text: numbers 0 to 100 parted by tabs, commas or spaces, a line a row (PlanetLab's days have this form). Bytes are
 * foreign: errors are -EINVAL with file, line and reason. Threads: any. */
#ifndef BALANCER_TRACE_H
#define BALANCER_TRACE_H

#include <stddef.h>
#include <stdint.h>

struct err;

enum { TRACE_ROWS_MAX = 200000, TRACE_STEPS_MAX = 100000 };

struct trace {
    int rows, steps;
    float *percent; /* [rows * steps] */
};

int trace_read(struct trace *trace, const char *name, const char *text, size_t len, struct err *err);
/* Days with a rhythm, bursts and idle guests; the same for the same seed. */
int trace_make(struct trace *trace, int rows, int steps, uint64_t seed, struct err *err);
void trace_fini(struct trace *trace);

static inline double trace_at(const struct trace *trace, int row, int step)
{
    return (double)trace->percent[(size_t)(row % trace->rows) * (size_t)trace->steps + (size_t)(step % trace->steps)] /
           100;
}

#endif
