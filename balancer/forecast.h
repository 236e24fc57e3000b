/* What a load will be next, from what it was: recent values, the same hour of earlier days, and how wrong that was.
 *
 * Two guesses run side by side, a moving average and the value a day ago; each keeps the square of its error, and the
 * forecast is the mean of both weighted by how seldom they were wrong. Threads: any. */
#ifndef BALANCER_FORECAST_H
#define BALANCER_FORECAST_H

struct forecast {
    double level;                      /* moving average */
    double recent_error, season_error; /* moving averages of squared errors */
    int seen, seasons;                 /* values; of them those with one a day before */
};

/* So many values are needed before anybody may act on a forecast. */
enum { FORECAST_STEPS_NEEDED = 2 };

/* So often the day before must have been compared: one or two that are exactly alike are luck. */
enum { FORECAST_SEASONS_NEEDED = 3 };

/* How fast old values are forgotten: the weight of a new one. A load that jumps does so seldom: its error is remembered
 * for longer than its level. */
static const double FORECAST_LEVEL_RATE = 0.15, FORECAST_ERROR_RATE = 0.03;

/* One more value; day_ago: what it was at this time the day before, negative if that is not known. */
void forecast_add(struct forecast *forecast, double value, double day_ago);

/* For the next step, whose value a day before was day_ago (negative: not known). *error: the standard error. */
double forecast_next(const struct forecast *forecast, double day_ago, double *error);

#endif
