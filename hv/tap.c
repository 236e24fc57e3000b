#include "hv/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "node/base/err.h"

static int explain(const char *name, int code, struct err *err)
{
    if (code == EPERM)
        return err_set(err, code, "tap %s: not allowed: make it yours with `ip tuntap add %s mode tap user NAME`", name,
                       name);
    if (code == EINVAL)
        return err_set(err, code, "tap %s: it has other queues: make it with multi_queue for several, without for one",
                       name);
    if (code == EBUSY)
        return err_set(err, code, "tap %s: another program has it", name);
    return err_set(err, code, "tap %s: cannot open it: %s", name, strerror(code));
}

static int open_queue(const char *name, bool several, int *fd, struct err *err)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)};
    if (several)
        request.ifr_flags = (short)(request.ifr_flags | IFF_MULTI_QUEUE);
    memcpy(request.ifr_name, name, strlen(name));
    *fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (*fd < 0)
        return err_set(err, errno, "tap %s: cannot open /dev/net/tun: %s", name, strerror(errno));
    if (ioctl(*fd, TUNSETIFF, &request) == 0)
        return 0;
    int rc = explain(name, errno, err);
    close(*fd);
    return rc;
}

int tap_open(const char *name, unsigned queues, int *fds, struct err *err)
{
    if (strlen(name) >= IFNAMSIZ)
        return err_set(err, EINVAL, "tap %s: an interface's name has at most %d letters", name, IFNAMSIZ - 1);
    int rc = 0;
    for (unsigned i = 0; !rc && i < queues; i++) {
        rc = open_queue(name, queues > 1, &fds[i], err);
        for (unsigned n = i; rc && n-- > 0;)
            close(fds[n]);
    }
    return rc;
}
