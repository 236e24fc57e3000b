/* A network card under a hostile driver, with a frame waiting on its other side. */
#include <stdlib.h>
#include <sys/socket.h>

#include "hv/virtio/virtio_net.h"
#include "tests/fuzz/fuzz_virtio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_net *card;
    static int fds[2];
    uint8_t frame[1514] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (!card) {
        struct io_thread *io = fuzz_virtio_io();
        struct virtio_net_options o = {.mtu = 9000, .pairs = 1, .fds = fds, .ios = &io, .io_count = 1};
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds) ||
            virtio_net_new(fuzz_virtio_memory(), &o, &card, NULL))
            abort();
    }
    if (send(fds[1], frame, 60 + size % 1400, 0) < 0)
        frame[0] = 0; /* those of the last runs are still waiting: fine */
    fuzz_virtio_run(virtio_net_device(card), data, size);
    while (recv(fds[1], frame, sizeof frame, 0) >= 0)
        continue;
    return 0;
}
