/* Traces that are made: loads of processors as guests have them, by a pattern and a seed.
 *
 * The same pattern, seed and guests give the same values on the same machine. Each guest has a mean: its own if that is
 * known (but for MIXED, which is made of the seed alone), else it is thrown: most have little, few have much.
 *
 *   MIXED   a rhythm of a day at any hour, now and then a burst that fades
 *   DAILY   busy by day, with its peak between 12 and 16 o'clock (an eighth of the guests: at night), a quarter of that
 *           on two days of seven
 *   BURSTS  0.4 of its mean, and twice a day, for half an hour or so, 40 to 100 % more; a tenth of the guests
 *           30 to 60 % at the same time too, four times a day
 *   GROWTH  from its mean to twice as much at the end, with a mild day in it: a quarter of the guests stay as they
 *           are, the others grow up to 3.7 times
 *
 * Threads: any. */
#ifndef BALANCER_TRACE_MADE_H
#define BALANCER_TRACE_MADE_H

#include <stdbool.h>

#include "balancer/trace.h"

enum trace_pattern { TRACE_MIXED, TRACE_DAILY, TRACE_BURSTS, TRACE_GROWTH, TRACE_PATTERNS };

enum { TRACE_STEPS_A_DAY = 288 };

struct trace_recipe {
    enum trace_pattern pattern;
    int rows, steps; /* at least 1 each */
    int begin;       /* the step of the day at which it begins */
    uint64_t seed;
    const double *means; /* [rows] percent, 0: not known; NULL: none is */
};

const char *trace_pattern_name(enum trace_pattern pattern);
/* -ENOMEM, or -EFBIG: more values than can be. */
int trace_make(struct trace *trace, const struct trace_recipe *recipe, struct err *err);

#endif
