/* A latency histogram: power-of-two buckets cut in four, so any quantile is known within 25 percent, in 1 KiB.
 * Threads: belongs to its owner's thread. */
#ifndef NODE_BASE_HISTOGRAM_H
#define NODE_BASE_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_SUB_SHIFT = 2, HISTOGRAM_BUCKETS = 160 }; /* to 2^41 ns, 36 minutes */

struct histogram {
    uint32_t count[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
    if (value < 4)
        return (unsigned)value;
    unsigned top = 63 - (unsigned)__builtin_clzll(value);
    unsigned bucket = ((top - 1) << HISTOGRAM_SUB_SHIFT) + (unsigned)((value >> (top - HISTOGRAM_SUB_SHIFT)) & 3);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->count[histogram_bucket(value)]++;
}

/* Lower bound of a bucket. */
static inline uint64_t histogram_value(unsigned bucket)
{
    if (bucket < 4)
        return bucket;
    unsigned top = (bucket >> HISTOGRAM_SUB_SHIFT) + 1;
    return (UINT64_C(4) | (bucket & 3)) << (top - HISTOGRAM_SUB_SHIFT);
}

/* Value below which a share of per_mille/1000 of the samples lies (0 if there are none). */
uint64_t histogram_quantile(const struct histogram *h, unsigned per_mille);

#endif
