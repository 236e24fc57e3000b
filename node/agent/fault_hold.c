#include "node/agent/fault_hold.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "node/agent/fault_config.h"
#include "node/base/clock.h"
#include "node/base/err.h"

enum { LOOK_US = 50000, TEXT_MAX = 32 };

void fault_hold_path(const char *run, char path[FAULT_HOLD_PATH_MAX])
{
    snprintf(path, FAULT_HOLD_PATH_MAX, "%s/drill.hold", run);
}

int fault_hold_write(const char *path, uint64_t until_ns, struct err *err)
{
    char text[TEXT_MAX];
    int n = snprintf(text, sizeof text, "%llu\n", (unsigned long long)until_ns);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    ssize_t written = fd < 0 ? -1 : write(fd, text, (size_t)n);
    int error = written == n ? 0 : errno ? errno : EIO;
    if (fd >= 0)
        close(fd);
    return error ? err_set(err, error, "%s cannot be written: %s", path, strerror(error)) : 0;
}

void fault_hold_remove(const char *path)
{
    unlink(path);
}

bool fault_hold_is_waited_for(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool waited = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
    if (fd >= 0)
        close(fd);
    return waited;
}

/* 0: it is over, or says nothing that can be right. */
static uint64_t left_ns(int fd)
{
    char text[TEXT_MAX];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    uint64_t until = strtoull(text, NULL, 10), now = clock_boot_ns();
    bool is_right = until > now && until - now <= FAULT_MS_MAX * UINT64_C(1000000);
    return is_right ? until - now : 0; /* one of before a reboot lies anywhere: it is over */
}

bool fault_hold_wait(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return false;
    bool waited = false;
    flock(fd, LOCK_EX | LOCK_NB);
    while (left_ns(fd) && !access(path, F_OK)) {
        waited = true;
        usleep(LOOK_US);
    }
    unlink(path);
    close(fd);
    return waited;
}
