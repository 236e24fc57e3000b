#include "nbd/raw_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "node/base/err.h"

enum { USED_BASE = 100, DENIED_BASE = 200, PERM_READ = 0, PERM_WRITE = 1, PERM_RESIZE = 3, PERM_COUNT = 5 };

/* A server that was killed holds its claim a moment longer: the kernel takes its io_uring down behind its back. */
enum { TRIES_MAX = 50, TRY_AGAIN_NS = 20000000 };

static int take(int fd, int byte)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* 0: nobody else holds the byte; -EBUSY: somebody does. */
static int probe(int fd, int byte)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type == F_UNLCK ? 0 : -EBUSY;
}

static int claim(int fd, uint32_t used, uint32_t denied)
{
    int rc = 0;
    for (int p = 0; p < PERM_COUNT && !rc; p++)
        if (used & 1u << p)
            rc = take(fd, USED_BASE + p);
    for (int p = 0; p < PERM_COUNT && !rc; p++)
        if (denied & 1u << p)
            rc = take(fd, DENIED_BASE + p);
    for (int p = 0; p < PERM_COUNT && !rc; p++) {
        if (used & 1u << p)
            rc = probe(fd, DENIED_BASE + p);
        if (!rc && denied & 1u << p)
            rc = probe(fd, USED_BASE + p);
    }
    return rc;
}

void raw_unlock(int fd)
{
    struct flock lock = {
        .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = USED_BASE, .l_len = 2 * (DENIED_BASE - USED_BASE)};
    fcntl(fd, F_OFD_SETLK, &lock);
}

int raw_lock_try(int fd, bool writer)
{
    uint32_t used = 1u << PERM_READ | (writer ? 1u << PERM_WRITE | 1u << PERM_RESIZE : 0);
    uint32_t denied = 1u << PERM_WRITE | 1u << PERM_RESIZE;
    int rc = claim(fd, used, denied);
    if (rc == -EBUSY)
        raw_unlock(fd); /* what was taken of it must not keep out whoever has it */
    return rc == -ENOLCK || rc == -EOPNOTSUPP || rc == -EINVAL ? 0 : rc; /* no locks: nothing to claim */
}

int raw_lock(int fd, bool writer, const char *name, struct err *err)
{
    int rc = raw_lock_try(fd, writer);
    for (unsigned tries = 0; rc == -EBUSY && tries < TRIES_MAX; tries++) {
        nanosleep(&(struct timespec){.tv_nsec = TRY_AGAIN_NS}, NULL);
        rc = raw_lock_try(fd, writer);
    }
    if (rc)
        return err_set(err, EBUSY, "'%s' is in use by another %s (\"no-lock\" in the stack overrides this)", name,
                       writer ? "program" : "writer");
    return 0;
}
