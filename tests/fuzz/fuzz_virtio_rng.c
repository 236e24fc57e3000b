/* Random numbers under a hostile driver; the limit is far away, so that nothing waits for its second. */
#include <stdlib.h>

#include "hv/virtio/virtio_rng.h"
#include "tests/fuzz/fuzz_virtio.h"

enum { PLENTY = 1 << 30 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_rng *rng;
    if (!rng && virtio_rng_new(fuzz_virtio_memory(), fuzz_virtio_io(), PLENTY, &rng, NULL))
        abort();
    fuzz_virtio_run(virtio_rng_device(rng), data, size);
    return 0;
}
