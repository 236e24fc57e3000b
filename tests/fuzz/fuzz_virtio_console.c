/* The console under a hostile driver, with a host that has typed something and takes what is said in pieces. */
#include <stdlib.h>
#include <string.h>

#include "hv/virtio/virtio_console.h"
#include "node/base/loop.h"
#include "tests/fuzz/fuzz_virtio.h"

static struct virtio_console *console;
static struct loop *loop;
static unsigned taken;
static bool delivered;

static size_t output(struct virtio_console_host *host, const uint8_t *data, size_t bytes)
{
    (void)host;
    volatile uint8_t last = bytes ? data[bytes - 1] : 0;
    (void)last;
    return ++taken % 3 ? bytes : bytes / 2;
}

static void arrived(struct loop_message *message)
{
    (void)message;
    delivered = true;
}

/* The main loop, until it has delivered all that was posted before. */
static void run_loop(void)
{
    static struct loop_message mine = {.deliver = arrived};
    delivered = false;
    loop_post(loop, &mine);
    while (!delivered)
        loop_step(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_console_host host = {.output = output};
    if (!console) {
        loop = loop_new(NULL);
        struct virtio_console_parts parts = {fuzz_virtio_memory(), fuzz_virtio_bus(), loop, fuzz_virtio_io(), &host};
        if (!loop || virtio_console_new(&parts, &console, NULL))
            abort();
    }
    fuzz_virtio_plug(virtio_console_device(console));
    fuzz_virtio_lock();
    virtio_console_input(console, data, size < 100 ? size : 100);
    virtio_console_set_size(console, (uint16_t)size, 25);
    fuzz_virtio_unlock();
    fuzz_virtio_run(virtio_console_device(console), data, size);
    run_loop();
    fuzz_virtio_lock();
    virtio_console_output_ready(console);
    fuzz_virtio_unlock();
    return 0;
}
