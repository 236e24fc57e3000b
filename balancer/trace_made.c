#include "balancer/trace_made.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "node/base/err.h"

static const double TURN = 6.2831853;
static const double VALUES_MAX = 1 << 29; /* 2 GiB */

enum { HOURS_A_DAY = 24, DAYS_A_WEEK = 7, WORKDAYS = 5 };

const char *trace_pattern_name(enum trace_pattern pattern)
{
    static const char *const names[TRACE_PATTERNS] = {"mixed", "daily", "bursts", "growth"};
    return names[pattern];
}

static double random_unit(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (double)(*seed >> 11) / 9007199254740992.0;
}

/* Most have little. */
static double thrown_mean(uint64_t *dice)
{
    return 2 + 30 * pow(random_unit(dice), 3);
}

static double mean_of(const struct trace_recipe *r, int row, uint64_t *dice)
{
    double thrown = thrown_mean(dice);
    return r->means && r->means[row] > 0 ? r->means[row] : thrown;
}

static float bounded(double value)
{
    return (float)(value < 0 ? 0 : value > 100 ? 100 : value);
}

static void mixed(const struct trace_recipe *r, uint64_t *dice, float *to)
{
    double base = thrown_mean(dice), swing = base * random_unit(dice);
    double phase = TURN * random_unit(dice), burst = 0;
    for (int s = 0; s < r->steps; s++) {
        if (random_unit(dice) < 0.01)
            burst = 60 * random_unit(dice);
        burst *= 0.9;
        to[s] =
            bounded(base + swing * sin(TURN * s / TRACE_STEPS_A_DAY + phase) + burst + 3 * (random_unit(dice) - 0.5));
    }
}

/* 1 at the hour of the peak, 0 twelve hours later; its mean over a day is 3/8. */
static double curve(const struct trace_recipe *r, int step, double peak_h)
{
    double hour = fmod((double)(r->begin + step) * HOURS_A_DAY / TRACE_STEPS_A_DAY, HOURS_A_DAY);
    double c = 0.5 * (1 + cos(TURN * (hour - peak_h) / HOURS_A_DAY));
    return c * c;
}

static double noise(uint64_t *dice, double part)
{
    return 1 + part * (2 * random_unit(dice) - 1);
}

static void daily(const struct trace_recipe *r, uint64_t *dice, double mean, float *to)
{
    bool by_night = random_unit(dice) < 0.125;
    double peak_h = (by_night ? 1 : 12) + 4 * random_unit(dice);
    for (int s = 0; s < r->steps; s++) {
        int day = (r->begin + s) / TRACE_STEPS_A_DAY % DAYS_A_WEEK;
        double busy = curve(r, s, peak_h) * (day < WORKDAYS || by_night ? 1 : 0.25);
        to[s] = bounded(mean * (0.4 + 1.6 * busy) * noise(dice, 0.1));
    }
}

/* crowd[steps]: what all of the crowd have at the same time. */
static void bursts(const struct trace_recipe *r, uint64_t *dice, double mean, const double *crowd, float *to)
{
    bool with_crowd = random_unit(dice) < 0.1;
    double height = 0;
    for (int s = 0; s < r->steps; s++) {
        double start = random_unit(dice), end = random_unit(dice), high = 40 + 60 * random_unit(dice);
        if (height > 0 && end < 1.0 / 6)
            height = 0;
        else if (height <= 0 && start < 2.0 / TRACE_STEPS_A_DAY)
            height = high;
        double idle = 0.4 * mean * noise(dice, 0.25);
        to[s] = bounded(fmax(idle + height, with_crowd ? idle + crowd[s] : 0));
    }
}

static void growth(const struct trace_recipe *r, uint64_t *dice, double mean, float *to)
{
    double grows = random_unit(dice), by = 8.0 / 3 * random_unit(dice), peak_h = 12 + 4 * random_unit(dice);
    double last = r->steps > 1 ? r->steps - 1 : 1;
    for (int s = 0; s < r->steps; s++) {
        double so_far = grows < 0.25 ? 1 : 1 + by * s / last;
        to[s] = bounded(mean * so_far * (0.85 + 0.4 * curve(r, s, peak_h)) * noise(dice, 0.1));
    }
}

/* Together they are busy four times a day, for as long as one alone. */
static void gather(double *crowd, int steps, uint64_t *dice)
{
    double height = 0;
    for (int s = 0; s < steps; s++) {
        double start = random_unit(dice), end = random_unit(dice), high = 30 + 30 * random_unit(dice);
        if (height > 0 && end < 1.0 / 6)
            height = 0;
        else if (height <= 0 && start < 4.0 / TRACE_STEPS_A_DAY)
            height = high;
        crowd[s] = height;
    }
}

int trace_make(struct trace *trace, const struct trace_recipe *r, struct err *err)
{
    struct trace t = {.unit = TRACE_PERCENT, .rows = r->rows, .steps = r->steps};
    uint64_t dice = r->seed * 2 + 1;
    if (r->pattern != TRACE_MIXED) /* the first values of small seeds are small; those of MIXED stay what they were */
        dice *= UINT64_C(0x9E3779B97F4A7C15);
    if ((double)r->rows * r->steps > VALUES_MAX)
        return err_set(err, EFBIG, "%d steps of %d guests are too many to be made: %.0f steps are the most", r->steps,
                       r->rows, floor(VALUES_MAX / r->rows));
    t.values = calloc((size_t)r->rows * (size_t)r->steps, sizeof *t.values);
    double *crowd = calloc((size_t)r->steps, sizeof *crowd);
    if (!t.values || !crowd) {
        free(t.values);
        free(crowd);
        return err_set(err, ENOMEM, "no memory for a trace of %d guests", r->rows);
    }
    if (r->pattern == TRACE_BURSTS)
        gather(crowd, r->steps, &dice);
    for (int row = 0; row < r->rows; row++) {
        float *to = t.values + (size_t)row * (size_t)r->steps;
        double mean = r->pattern == TRACE_MIXED ? 0 : mean_of(r, row, &dice);
        if (r->pattern == TRACE_DAILY)
            daily(r, &dice, mean, to);
        else if (r->pattern == TRACE_BURSTS)
            bursts(r, &dice, mean, crowd, to);
        else if (r->pattern == TRACE_GROWTH)
            growth(r, &dice, mean, to);
        else
            mixed(r, &dice, to);
    }
    free(crowd);
    *trace = t;
    return 0;
}
