/* A token bucket that is kept as one time instead of a count of tokens: no refilling, no rounding
 * that adds up.
 *
 * empty_ns is when the bucket was empty (perhaps before the clock began), or, in debt, when it will
 * be. What it holds at a time `now` is therefore the work of min(now - empty_ns, burst_ns)
 * nanoseconds; a cost in tokens is turned into nanoseconds by the rate. Times are those of one
 * monotonic clock, in ns. Threads: a bucket belongs to its owner. */
#ifndef NBD_BUCKET_H
#define NBD_BUCKET_H

#include <stdint.h>

struct bucket {
    uint64_t rate; /* tokens a second; 0: no limit, everything passes */
    int64_t burst_ns;
    int64_t empty_ns;
};

/* A full bucket. rate 0: no limit; burst: tokens it holds at most, at least 1. */
struct bucket bucket_of(uint64_t rate, uint64_t burst, uint64_t now_ns);

/* The earliest time a cost of so many tokens may be taken: `now_ns` or before means now. */
uint64_t bucket_ready_ns(const struct bucket *bucket, uint64_t tokens);

/* Takes the tokens, into debt if need be. */
void bucket_take(struct bucket *bucket, uint64_t tokens, uint64_t now_ns);

#endif
