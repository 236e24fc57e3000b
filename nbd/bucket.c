#include "nbd/bucket.h"

/* Longer than any machine runs, and far from wrapping a clock. */
static const int64_t FOREVER_NS = INT64_C(1) << 61;

static int64_t cost_ns(uint64_t tokens, uint64_t rate)
{
    __uint128_t ns = ((__uint128_t)tokens * 1000000000 + rate - 1) / rate;
    return ns < (__uint128_t)FOREVER_NS ? (int64_t)ns : FOREVER_NS;
}

struct bucket bucket_of(uint64_t rate, uint64_t burst, uint64_t now_ns)
{
    int64_t burst_ns = rate ? cost_ns(burst, rate) : 0;
    return (struct bucket){.rate = rate, .burst_ns = burst_ns, .empty_ns = (int64_t)now_ns - burst_ns};
}

uint64_t bucket_ready_ns(const struct bucket *b, uint64_t tokens)
{
    if (!b->rate || !tokens)
        return 0;
    int64_t cost = cost_ns(tokens, b->rate);
    int64_t ready = b->empty_ns + (cost < b->burst_ns ? cost : b->burst_ns);
    return ready > 0 ? (uint64_t)ready : 0;
}

void bucket_take(struct bucket *b, uint64_t tokens, uint64_t now_ns)
{
    if (!b->rate)
        return;
    int64_t oldest = (int64_t)now_ns - b->burst_ns;
    if (b->empty_ns < oldest)
        b->empty_ns = oldest; /* what flowed over is gone */
    int64_t cost = cost_ns(tokens, b->rate);
    b->empty_ns = b->empty_ns < FOREVER_NS - cost ? b->empty_ns + cost : FOREVER_NS;
}
