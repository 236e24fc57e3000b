#include "balancer/trace.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "balancer/text_line.h"
#include "node/base/err.h"

void trace_fini(struct trace *t)
{
    free(t->percent);
    *t = (struct trace){0};
}

static bool parts_numbers(char c)
{
    return c == '\t' || c == ',' || c == ' ' || c == '\r';
}

/* The numbers of one line into row[], which may be NULL to count only; -1: one is none. */
static int read_row(struct text_field line, float *row, int max)
{
    int count = 0;
    size_t i = 0;
    while (i < line.len) {
        size_t from = i;
        while (i < line.len && !parts_numbers(line.at[i]))
            i++;
        double value;
        if (i > from) {
            if (!text_field_number((struct text_field){line.at + from, i - from}, 0, 100, &value))
                return -1;
            if (row && count < max)
                row[count] = (float)value;
            count++;
        }
        i++;
    }
    return count;
}

int trace_read(struct trace *trace, const char *name, const char *text, size_t len, struct err *err)
{
    struct trace t = {0};
    struct text_field rest = {text, len}, line;
    int number = 0;
    for (int pass = 0; pass < 2; pass++) {
        rest = (struct text_field){text, len};
        number = 0;
        int row = 0;
        while (text_line_next(&rest, &line)) {
            number++;
            float *to = pass ? t.percent + (size_t)row * (size_t)t.steps : NULL;
            int count = read_row(line, to, t.steps);
            if (!count)
                continue;
            if (count < 0 || count > TRACE_STEPS_MAX || (t.steps && count != t.steps) || row == TRACE_ROWS_MAX) {
                trace_fini(&t);
                return err_set(
                    err, EINVAL,
                    "%s:%d: every line needs the same number of values from 0 to 100, at most %d lines of %d", name,
                    number, TRACE_ROWS_MAX, TRACE_STEPS_MAX);
            }
            t.steps = count;
            row++;
        }
        t.rows = row;
        if (!row)
            return err_set(err, EINVAL, "%s: there are no values in it", name);
        if (!pass && !(t.percent = calloc((size_t)t.rows * (size_t)t.steps, sizeof *t.percent)))
            return err_set(err, ENOMEM, "no memory for %s", name);
    }
    *trace = t;
    return 0;
}

static double random_unit(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (double)(*seed >> 11) / 9007199254740992.0;
}

int trace_make(struct trace *trace, int rows, int steps, uint64_t seed, struct err *err)
{
    struct trace t = {.rows = rows, .steps = steps};
    t.percent = calloc((size_t)rows * (size_t)steps + 1, sizeof *t.percent);
    if (!t.percent)
        return err_set(err, ENOMEM, "no memory for a trace of %d guests", rows);
    seed = seed * 2 + 1;
    for (int r = 0; r < rows; r++) {
        double base = 2 + 30 * pow(random_unit(&seed), 3), swing = base * random_unit(&seed);
        double phase = 6.2831853 * random_unit(&seed), burst = 0;
        for (int s = 0; s < steps; s++) {
            if (random_unit(&seed) < 0.01)
                burst = 60 * random_unit(&seed);
            burst *= 0.9;
            double v = base + swing * sin(6.2831853 * s / 288 + phase) + burst + 3 * (random_unit(&seed) - 0.5);
            t.percent[(size_t)r * (size_t)steps + (size_t)s] = (float)(v < 0 ? 0 : v > 100 ? 100 : v);
        }
    }
    *trace = t;
    return 0;
}
