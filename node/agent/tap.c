/* See tap.h. */
#include "node/agent/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <string.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "node/agent/link.h"
#include "node/agent/netlink.h"
#include "node/base/err.h"

_Static_assert((int)TAP_NAME_MAX == (int)LINK_NAME_MAX, "a tap's name is a device's");

char *tap_name(const char *guest, unsigned index, char name[TAP_NAME_MAX])
{
    return link_name(LINK_TAP, guest, index, name);
}

/* ---- files ---- */

static int explain(const char *name, int code, struct err *err)
{
    if (code == EPERM)
        return err_set(err, code, "tap %s: not allowed: it needs root or CAP_NET_ADMIN", name);
    if (code == EBUSY)
        return err_set(err, code, "tap %s: a program has it open: stop the guest first", name);
    if (code == EINVAL)
        return err_set(err, code, "tap %s: was made with another kind of queues: remove it first", name);
    return err_set(err, code, "tap %s: cannot be opened: %s", name, strerror(code));
}

static int open_queue(const char *name, bool several, int *fd, struct err *err)
{
    struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)};
    if (several)
        request.ifr_flags = (short)(request.ifr_flags | IFF_MULTI_QUEUE);
    memcpy(request.ifr_name, name, strlen(name) + 1);
    int f = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (f < 0)
        return err_set(err, errno, "tap %s: /dev/net/tun cannot be opened: %s%s", name, strerror(errno),
                       errno == ENOENT || errno == ENODEV ? ": load the module tun" : "");
    if (ioctl(f, TUNSETIFF, &request) < 0) {
        int rc = explain(name, errno, err);
        close(f);
        return rc;
    }
    *fd = f;
    return 0;
}

/* ---- the device ---- */

static int create(const struct tap_spec *spec, const char *name, struct err *err)
{
    int fd = -1;
    int rc = open_queue(name, spec->queues > 1, &fd, err);
    if (rc)
        return rc;
    if (spec->owner != (uid_t)-1 && ioctl(fd, TUNSETOWNER, (unsigned long)spec->owner) < 0)
        rc = err_set(err, errno, "tap %s: cannot be given to user %u: %s", name, spec->owner, strerror(errno));
    if (!rc && ioctl(fd, TUNSETPERSIST, 1UL) < 0)
        rc = err_set(err, errno, "tap %s: cannot be made to stay: %s", name, strerror(errno));
    close(fd); /* a device that was not made to stay ends with it */
    return rc;
}

static bool fits(const struct link *l, const struct tap_spec *spec)
{
    const struct link_tap *t = &l->tap;
    return t->tap && t->vnet_hdr && !t->packet_info && t->persistent && t->several == (spec->queues > 1) &&
           t->owner == (uint32_t)spec->owner;
}

/* Finds it, and takes it away where it does not fit. 1: there it is, 0: there is none. */
static int find_fitting(struct netlink *netlink, const struct tap_spec *spec, struct link *l, struct err *err)
{
    int rc = link_find_ours(netlink, LINK_TAP, spec->guest, spec->index, l, err);
    if (rc <= 0 || fits(l, spec))
        return rc;
    if (l->carrier)
        return err_set(
            err, EBUSY,
            "tap %s of guest %s: a program has it open, and it should have %s queue and user %d: stop the guest",
            l->name, spec->guest, spec->queues > 1 ? "more than one" : "one", (int)spec->owner);
    return link_remove(netlink, l->name, err);
}

int tap_ensure(struct netlink *netlink, const struct tap_spec *spec, struct err *err)
{
    char name[TAP_NAME_MAX];
    struct link l;
    tap_name(spec->guest, spec->index, name);
    if (spec->queues < 1 || spec->queues > TAP_QUEUES_MAX)
        return err_set(err, EINVAL, "tap %s: must have 1 to %d queues, not %u", name, TAP_QUEUES_MAX, spec->queues);
    int rc = find_fitting(netlink, spec, &l, err);
    if (rc)
        return rc < 0 ? rc : 0;
    rc = create(spec, name, err);
    return rc ? rc : 1;
}

int tap_plug(struct netlink *netlink, const struct tap_spec *spec, struct err *err)
{
    char alias[LINK_ALIAS_MAX];
    struct link l;
    struct link_wish wish = {.alias = link_alias(LINK_TAP, spec->guest, spec->index, alias),
                             .mtu = spec->mtu,
                             .master = spec->bridge,
                             .address_mode = IN6_ADDR_GEN_MODE_NONE};
    int rc = link_find_ours(netlink, LINK_TAP, spec->guest, spec->index, &l, err);
    if (rc == 0)
        return err_set(err, ENODEV, "tap of guest %s, nic %u: is not there", spec->guest, spec->index);
    return rc < 0 ? rc : link_adjust(netlink, &l, &wish, err);
}

int tap_remove(struct netlink *netlink, const char *guest, unsigned index, struct err *err)
{
    return link_remove_ours(netlink, LINK_TAP, guest, index, err);
}
