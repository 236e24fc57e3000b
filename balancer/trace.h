/* Loads over time: a row a guest, a column a step.
 *
 * Text: values parted by tabs, commas or spaces, a line a row (PlanetLab's days have this form); empty lines are no
 * rows. Of processors and memory they are parts, 0 to 100 percent of what the guest has; of disks and networks bytes a
 * second, as a number or with K, M, G or T. Bytes are foreign: errors are -EINVAL with file, line and reason.
 * Threads: any. */
#ifndef BALANCER_TRACE_H
#define BALANCER_TRACE_H

#include <stddef.h>
#include <stdint.h>

struct err;

enum { TRACE_ROWS_MAX = 200000, TRACE_STEPS_MAX = 100000 };

enum trace_unit { TRACE_PERCENT, TRACE_BYTES };

struct trace {
    enum trace_unit unit;
    int rows, steps;
    int last_line; /* of the file: where the last row is */
    float *values; /* [rows * steps] */
};

int trace_read(struct trace *trace, enum trace_unit unit, const char *name, const char *text, size_t len,
               struct err *err);
void trace_fini(struct trace *trace);
/* As trace_read() reads it, to the last bit; a string to free(), NULL: no memory. */
char *trace_write(const struct trace *trace, size_t *len);

/* A part of 1, or bytes a second. Behind the last row and step come the first again. */
static inline double trace_at(const struct trace *trace, int row, int step)
{
    double value =
        (double)trace->values[(size_t)(row % trace->rows) * (size_t)trace->steps + (size_t)(step % trace->steps)];
    return trace->unit == TRACE_PERCENT ? value / 100 : value;
}

#endif
