#include "node/base/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int whole_file_keep_name(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int n = slash ? snprintf(folder, sizeof folder, "%.*s", (int)(slash - path) + 1, path)
                  : snprintf(folder, sizeof folder, "./");
    if (n < 0 || (size_t)n >= sizeof folder)
        return -ENAMETOOLONG;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

int whole_file_publish(const char *fresh, const char *path)
{
    if (rename(fresh, path) < 0)
        return -errno;
    return whole_file_keep_name(path);
}

int whole_file_write(const char *path, const void *data, size_t len, mode_t mode)
{
    char fresh[PATH_MAX];
    int n = snprintf(fresh, sizeof fresh, "%s.XXXXXX", path);
    if (n < 0 || (size_t)n >= sizeof fresh)
        return -ENAMETOOLONG;
    int fd = mkostemp(fresh, O_CLOEXEC); /* made with mode 0600 */
    if (fd < 0)
        return -errno;
    int rc = write_all(fd, data, len);
    if (!rc && fchmod(fd, mode) < 0)
        rc = -errno;
    close(fd);
    if (!rc)
        rc = whole_file_publish(fresh, path);
    if (rc)
        unlink(fresh);
    return rc;
}
