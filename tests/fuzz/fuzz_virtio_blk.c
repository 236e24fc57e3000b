/* A disk under a hostile driver: any ring, any register write. */
#include <stdlib.h>

#include "hv/virtio/virtio_blk.h"
#include "tests/fuzz/fuzz_virtio.h"

static struct blk *blk;

static void open_stack(void *context)
{
    (void)context;
    if (blk_open(io_thread_env(fuzz_virtio_io()), "mem:1M", 0, &blk, NULL))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_blk *disk;
    struct virtio_blk_options options = {.serial = "fuzzed", .queues = 2};
    if (!disk) {
        io_thread_call(fuzz_virtio_io(), open_stack, NULL);
        if (virtio_blk_new(fuzz_virtio_memory(), fuzz_virtio_io(), blk, &options, &disk, NULL))
            abort();
    }
    fuzz_virtio_run(virtio_blk_device(disk), data, size);
    return 0;
}
