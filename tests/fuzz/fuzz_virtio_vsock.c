/* Stream sockets under a hostile driver, with a host that answers every call and has something to say. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hv/virtio/virtio_vsock.h"
#include "tests/fuzz/fuzz_virtio.h"

static int dial(struct virtio_vsock_host *host, uint32_t port)
{
    int fds[2];
    (void)host;
    if (port % 4 == 3)
        return -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
        abort();
    if (write(fds[1], "welcome", 7) != 7)
        abort();
    close(fds[1]); /* an end behind the words */
    return fds[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct virtio_vsock_host host = {dial};
    static struct virtio_vsock *vsock;
    struct virtio_vsock_options options = {.cid = 3, .listen_fd = -1, .host = &host};
    if (!vsock && virtio_vsock_new(fuzz_virtio_memory(), fuzz_virtio_io(), &options, &vsock, NULL))
        abort();
    fuzz_virtio_run(virtio_vsock_device(vsock), data, size);
    return 0;
}
