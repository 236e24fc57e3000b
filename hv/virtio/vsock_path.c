/* See vsock_path.h. */
#include "hv/virtio/vsock_path.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/base/container.h"

static int dial(struct virtio_vsock_host *host, uint32_t port)
{
    const struct vsock_path *p = CONTAINER_OF(host, struct vsock_path, host);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int n = snprintf(address.sun_path, sizeof address.sun_path, "%s_%u", p->path, port);
    if (n < 0 || (size_t)n >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0) {
        int rc = -errno; /* also -EAGAIN: its backlog is full */
        close(fd);
        return rc;
    }
    return fd;
}

void vsock_path_init(struct vsock_path *p, const char *text)
{
    p->host.dial = dial;
    p->path = text;
}
