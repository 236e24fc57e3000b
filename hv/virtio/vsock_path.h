/* The host's ports of a vsock device as unix sockets: port P is PATH_P, which whoever serves it listens on. For
 * processes that may still make and connect sockets. Thread: the device's I/O thread. */
#ifndef HV_VIRTIO_VSOCK_PATH_H
#define HV_VIRTIO_VSOCK_PATH_H

#include "hv/virtio/virtio_vsock.h"

struct vsock_path {
    struct virtio_vsock_host host; /* for struct virtio_vsock_options */
    const char *path;              /* the caller's */
};

void vsock_path_init(struct vsock_path *path, const char *text);

#endif
