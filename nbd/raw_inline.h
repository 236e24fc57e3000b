/* Whether a transfer that may wait is done at once, on the loop's thread, or handed to a worker.
 *
 * Waking a thread and being woken again costs more than a write into the page cache, and writers of one file queue for
 * its lock anyway. But whoever waits on the loop's thread holds up every export. So, of each file:
 *
 *   - calls made at once take at most RAW_INLINE_TURN_NS of a turn, give or take one; the workers have the rest;
 *   - a call that made the thread sleep (full cache, journal) is paid for: the workers have everything for
 *     RAW_INLINE_REPAY times as long, so the loop sleeps at most one part in that many;
 *   - while an fdatasync of it runs, the workers have everything: the journal may be in the way then (beside seven jobs
 *     that sync, one write in a hundred slept, for 130 us in the mean and 2 ms at most).
 *
 * A single wait is as long as the kernel makes a writer wait: up to 200 ms when the cache is full of what is not
 * written yet, else until the journal has room. No bound exists for a disk that stops answering: the first write that
 * needs its journal then stops the loop, where nobody was syncing. Thread: the loop's. */
#ifndef NBD_RAW_INLINE_H
#define NBD_RAW_INLINE_H

#include <stdbool.h>
#include <stdint.h>

struct raw_sync;

enum {
    RAW_INLINE_MAX_BYTES = 128 << 10, /* a longer one overlaps with the receiving of the next */
    RAW_INLINE_TURN_NS = 500000,
    RAW_INLINE_SLOW_NS = 500000, /* a call that took less is not asked whether it slept */
    RAW_INLINE_REPAY = 32,
};

struct raw_inline {
    uint64_t turn_ns;  /* loop_now_ns() of the turn that the next two are of */
    uint64_t spent_ns; /* by calls made at once */
    long sleeps;       /* of the thread, before the first of them */
    uint64_t again_ns; /* the workers have everything until then */
};

/* May a transfer of that length be done at once? now_ns: loop_now_ns(). */
bool raw_inline_may(struct raw_inline *inl, const struct raw_sync *sync, uint64_t length_bytes, uint64_t now_ns);

/* It was done, from start_ns to end_ns (clock_ns()). */
void raw_inline_done(struct raw_inline *inl, uint64_t start_ns, uint64_t end_ns);

#endif
