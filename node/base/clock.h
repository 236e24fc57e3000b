/* The monotonic clock, read now: for measuring. What the loop knows already is loop_now_ns(). Threads: any. */
#ifndef NODE_BASE_CLOCK_H
#define NODE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
