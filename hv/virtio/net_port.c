/* See net_port.h. */
#include "hv/virtio/net_port.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "node/base/err.h"

int net_port_init(struct net_port *port, int fd, bool tap, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return err_set(err, errno, "network: descriptor %d cannot be used: %s", fd, strerror(errno));
    if (tap) {
        int size = NET_HEADER_BYTES;
        struct ifreq request;
        memset(&request, 0, sizeof request);
        if (ioctl(fd, TUNGETIFF, &request) < 0)
            return err_set(err, errno, "network: descriptor %d is not a tap: %s", fd, strerror(errno));
        if (!(request.ifr_flags & IFF_VNET_HDR) || !(request.ifr_flags & IFF_NO_PI) || !(request.ifr_flags & IFF_TAP))
            return err_set(err, EINVAL,
                           "network: the tap %.16s must be opened with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR",
                           request.ifr_name);
        if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0)
            return err_set(err, errno, "network: the tap %.16s cannot use the guest's header: %s", request.ifr_name,
                           strerror(errno));
    }
    *port = (struct net_port){fd, tap};
    return 0;
}

/* Past the header's place. */
static int skip_header(const struct iovec *iov, int count, struct iovec *to)
{
    size_t skip = NET_HEADER_BYTES;
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        to[n++] = (struct iovec){(uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip};
        skip = 0;
    }
    return n;
}

static void clear_header(const struct iovec *iov, int count)
{
    size_t left = NET_HEADER_BYTES;
    for (int i = 0; i < count && left; i++) {
        size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;
        memset(iov[i].iov_base, 0, n);
        left -= n;
    }
}

ssize_t net_port_receive(const struct net_port *port, const struct iovec *iov, int count)
{
    struct iovec bare[NET_VECTOR_MAX];
    ssize_t n;
    if (port->tap) {
        n = readv(port->fd, iov, count);
        if (n < 0)
            return errno == EFAULT || errno == EINVAL ? -EMSGSIZE : -errno;
        return n;
    }
    struct msghdr m = {.msg_iov = bare, .msg_iovlen = (size_t)skip_header(iov, count, bare)};
    n = recvmsg(port->fd, &m, MSG_DONTWAIT);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    if (m.msg_flags & MSG_TRUNC)
        return -EMSGSIZE;
    clear_header(iov, count);
    return n + NET_HEADER_BYTES;
}

int net_port_send(const struct net_port *port, const struct iovec *iov, int count)
{
    struct iovec bare[NET_VECTOR_MAX];
    if (port->tap)
        return writev(port->fd, iov, count) < 0 ? -errno : 0;
    struct msghdr m = {.msg_iov = bare, .msg_iovlen = (size_t)skip_header(iov, count, bare)};
    return sendmsg(port->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int net_port_set_offloads(const struct net_port *port, uint64_t features)
{
    unsigned offloads = 0;
    if (!port->tap)
        return 0;
    if (features >> VIRTIO_NET_F_GUEST_CSUM & 1) {
        offloads |= TUN_F_CSUM;
        if (features >> VIRTIO_NET_F_GUEST_TSO4 & 1)
            offloads |= TUN_F_TSO4;
        if (features >> VIRTIO_NET_F_GUEST_TSO6 & 1)
            offloads |= TUN_F_TSO6;
        if (features >> VIRTIO_NET_F_GUEST_ECN & 1 && offloads & (TUN_F_TSO4 | TUN_F_TSO6))
            offloads |= TUN_F_TSO_ECN;
    }
    return ioctl(port->fd, TUNSETOFFLOAD, (unsigned long)offloads) < 0 ? -errno : 0;
}

int net_port_attach(const struct net_port *port, bool attached)
{
    struct ifreq request;
    if (!port->tap)
        return 0;
    memset(&request, 0, sizeof request);
    request.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    return ioctl(port->fd, TUNSETQUEUE, &request) < 0 ? -errno : 0;
}
