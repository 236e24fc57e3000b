/* The balloon under a hostile driver: pages that are nowhere, statistics of any form, reports of any length. What it is
 * told to lend, and that it is asked for figures, the first byte says, too. */
#include <stdlib.h>

#include "hv/bus.h"
#include "hv/virtio/virtio_balloon.h"
#include "tests/fuzz/fuzz_virtio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_balloon *balloon;
    struct virtio_balloon_stats stats;
    if (!balloon && virtio_balloon_new(fuzz_virtio_memory(), fuzz_virtio_io(), &balloon, NULL))
        abort();
    if (!size)
        return 0;
    fuzz_virtio_plug(virtio_balloon_device(balloon));
    fuzz_virtio_lock(); /* the board's lock, as the control socket's command takes it */
    virtio_balloon_set_target(balloon, (uint64_t)data[0] << 13);
    virtio_balloon_ask_stats(balloon);
    fuzz_virtio_unlock();
    fuzz_virtio_run(virtio_balloon_device(balloon), data, size);
    virtio_balloon_stats(balloon, &stats);
    return 0;
}
