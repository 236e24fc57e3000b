/* See raw_inline.h. A call may take long because it slept, or because another process had the processor; only the first
 * is the disk's fault. The thread's voluntary context switches tell them apart: within a turn, nothing but such a call
 * makes a loop's thread sleep. */
#include "nbd/raw_inline.h"

#include <sys/resource.h>

#include "nbd/raw_sync.h"

static long sleeps_of_thread(void)
{
    struct rusage usage = {0};
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nvcsw;
}

bool raw_inline_may(struct raw_inline *inl, const struct raw_sync *sync, uint64_t length_bytes, uint64_t now_ns)
{
    if (length_bytes > RAW_INLINE_MAX_BYTES || now_ns < inl->again_ns || raw_sync_running(sync))
        return false;
    if (inl->turn_ns == now_ns)
        return inl->spent_ns < RAW_INLINE_TURN_NS;
    inl->turn_ns = now_ns;
    inl->spent_ns = 0;
    inl->sleeps = sleeps_of_thread();
    return true;
}

void raw_inline_done(struct raw_inline *inl, uint64_t start_ns, uint64_t end_ns)
{
    uint64_t took_ns = end_ns - start_ns;
    inl->spent_ns += took_ns;
    if (took_ns > RAW_INLINE_SLOW_NS && sleeps_of_thread() != inl->sleeps)
        inl->again_ns = end_ns + RAW_INLINE_REPAY * took_ns;
}
