#include "balancer/forecast.h"

#include <math.h>

static double blend(double old, double new, double rate)
{
    return old + rate * (new - old);
}

/* The weight of a new value: of all that was, until there is more than the moving average remembers. */
static double weight(int seen, double rate)
{
    return 1.0 / seen > rate ? 1.0 / seen : rate;
}

void forecast_add(struct forecast *f, double value, double day_ago)
{
    if (!f->seen++) {
        f->level = value;
        return;
    }
    double miss = value - f->level;
    f->recent_error = blend(f->recent_error, miss * miss, weight(f->seen - 1, FORECAST_ERROR_RATE));
    if (day_ago >= 0) {
        double other = value - day_ago;
        f->season_error = blend(f->season_error, other * other, weight(++f->seasons, FORECAST_ERROR_RATE));
    }
    f->level = blend(f->level, value, weight(f->seen, FORECAST_LEVEL_RATE));
}

double forecast_next(const struct forecast *f, double day_ago, double *error)
{
    if (day_ago < 0 || f->seasons < FORECAST_SEASONS_NEEDED) {
        *error = sqrt(f->recent_error);
        return f->level;
    }
    double recent = 1 / (f->recent_error + 1e-12), season = 1 / (f->season_error + 1e-12);
    double best = f->recent_error < f->season_error ? f->recent_error : f->season_error;
    *error = sqrt(best);
    return (f->level * recent + day_ago * season) / (recent + season);
}
