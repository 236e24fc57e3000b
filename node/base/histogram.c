#include "node/base/histogram.h"

uint64_t histogram_quantile(const struct histogram *h, unsigned per_mille)
{
    uint64_t total = 0, seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        total += h->count[i];
    if (!total)
        return 0;
    uint64_t want = (total * per_mille + 999) / 1000;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->count[i];
        if (seen >= want && seen)
            return i + 1 < HISTOGRAM_BUCKETS ? histogram_value(i + 1) : histogram_value(i);
    }
    return histogram_value(HISTOGRAM_BUCKETS - 1);
}
