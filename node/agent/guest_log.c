#include "node/agent/guest_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/process.h"
#include "node/agent/process_file.h"
#include "node/base/err.h"
#include "node/base/log.h"

enum { LOG_MAX_BYTES = 1 << 20 };

int guest_log_open(const char *path, const char *id)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && !fstat(fd, &st) && st.st_size > LOG_MAX_BYTES && ftruncate(fd, 0))
        log_warn("guest %s: its log cannot be shortened: %s", id, strerror(errno));
    return fd;
}

void guest_log_reason(const char *path, int status, struct err *reason)
{
    char text[ERR_TEXT_MAX / 2], how[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    process_file_last_words(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    err_set(reason, EIO, "%s%s%s", process_describe(status, how, sizeof how), *text ? ": " : "", text);
}
