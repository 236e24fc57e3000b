/* Source: Linux, Documentation/admin-guide/mm/userfaultfd.rst, ioctl_userfaultfd(2). */
#include "hv/late_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/memory.h"
#include "node/base/err.h"
#include "node/base/sandbox.h"

enum { PAGE = MEMORY_PAGE_BYTES };

static const unsigned long ioctls[] = {UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_COPY, UFFDIO_ZEROPAGE, UFFDIO_WAKE};
const struct sandbox_calls late_pages_calls = {.ioctls = ioctls, .ioctl_count = sizeof ioctls / sizeof *ioctls};

/* The device's file has rights of its own, the system call wants those of root. */
static int open_any(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), fd = -1;
    if (device >= 0) {
        fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
        close(device);
    }
    return fd >= 0 ? fd : (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
}

int late_pages_open(struct err *err)
{
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM};
    int fd = open_any();
    if (fd < 0)
        return err_set(err, errno, "userfaultfd: %s", strerror(errno));
    if (ioctl(fd, UFFDIO_API, &api) == 0)
        return fd;
    int rc = err_set(err, errno, "userfaultfd: this kernel has it not for shared memory: %s", strerror(errno));
    close(fd);
    return rc;
}

int late_pages_watch(int fd, const struct memory *memory, struct err *err)
{
    for (unsigned i = 0; i < memory_slot_count(memory); i++) {
        const struct memory_slot *slot = memory_slot(memory, i);
        struct uffdio_register r = {.range = {(uintptr_t)slot->host, slot->bytes},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
        if (!slot->read_only && ioctl(fd, UFFDIO_REGISTER, &r))
            return err_set(err, errno, "userfaultfd: %s", strerror(errno));
    }
    return 0;
}

int late_pages_wanted(int fd, uint8_t **host)
{
    struct uffd_msg msg;
    while (read(fd, &msg, sizeof msg) == (ssize_t)sizeof msg) {
        if (msg.event != UFFD_EVENT_PAGEFAULT)
            continue;
        *host = (uint8_t *)(uintptr_t)(msg.arg.pagefault.address & ~(uint64_t)(PAGE - 1)); /* our own mapping */
        return 1;
    }
    return 0;
}

int late_pages_wake(int fd, uint8_t *host, uint64_t bytes)
{
    struct uffdio_range range = {(uintptr_t)host, bytes};
    return ioctl(fd, UFFDIO_WAKE, &range) ? -errno : 0;
}

/* *done: how far it came, of `bytes`. */
static int put_part(int fd, uint8_t *host, const void *from, uint64_t bytes, uint64_t *done)
{
    struct uffdio_copy copy = {.dst = (uintptr_t)host, .src = (uintptr_t)from, .len = bytes};
    struct uffdio_zeropage zero = {.range = {(uintptr_t)host, bytes}};
    int rc = from ? ioctl(fd, UFFDIO_COPY, &copy) : ioctl(fd, UFFDIO_ZEROPAGE, &zero), code = rc ? errno : 0;
    int64_t n = from ? copy.copy : zero.zeropage;
    *done = n > 0 ? (uint64_t)n : 0;
    return -code;
}

int late_pages_put(int fd, uint8_t *host, const void *from, uint64_t bytes)
{
    for (uint64_t at = 0, done; at < bytes; at += done) {
        int rc = put_part(fd, host + at, from ? (const uint8_t *)from + at : NULL, bytes - at, &done);
        if (rc == -EEXIST && !done) {
            done = PAGE; /* it is there; who waits has found it missing a moment before */
            rc = late_pages_wake(fd, host + at, PAGE);
        }
        if (rc && rc != -EAGAIN && rc != -EEXIST)
            return rc;
    }
    return 0;
}

void late_pages_end(int fd, const struct memory *memory)
{
    for (unsigned i = 0; i < memory_slot_count(memory); i++) {
        const struct memory_slot *slot = memory_slot(memory, i);
        struct uffdio_range range = {(uintptr_t)slot->host, slot->bytes};
        if (!slot->read_only)
            ioctl(fd, UFFDIO_UNREGISTER, &range); /* wakes, too; it cannot fail for what was registered */
    }
}
