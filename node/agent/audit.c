/* See audit.h. A line is built whole, written by one write() in append mode, and only then is the chain moved on: a
 * line that did not get out leaves the chain where it was. */
#include "node/agent/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/agent/audit_line.h"
#include "node/base/container.h"
#include "node/base/err.h"
#include "node/base/log.h"
#include "node/base/loop.h"

enum { FILES_DEFAULT = 16, SYNC_MS_DEFAULT = 1000, PATH_BYTES_MAX = 1024 };

static const uint64_t file_bytes_default = UINT64_C(64) << 20;

struct audit {
    struct loop *loop;
    char path[PATH_BYTES_MAX];
    uint64_t file_limit, file_bytes;
    unsigned files, sync_ms;
    int fd;
    uint64_t seq;
    char prev[AUDIT_HASH_HEX + 1];
    struct loop_timer sync_timer;
    struct loop_op sync_op;
    bool syncing, dirty; /* dirty: lines are not on the disk yet, and the timer is set */
};

/* ---- syncing ---- */

static void sync_done(struct loop_op *op, int result, uint32_t cqe_flags)
{
    struct audit *a = CONTAINER_OF(op, struct audit, sync_op);
    (void)cqe_flags;
    a->syncing = false;
    if (result < 0)
        log_error("audit log '%s': cannot bring it to the disk: %s; the last lines may be lost with the power", a->path,
                  strerror(-result));
}

static void sync_due(struct loop_timer *timer)
{
    struct audit *a = CONTAINER_OF(timer, struct audit, sync_timer);
    if (a->syncing) {
        loop_timer_set(a->loop, &a->sync_timer, loop_now_ns(a->loop) + a->sync_ms * UINT64_C(1000000));
        return;
    }
    a->dirty = false;
    a->syncing = true;
    struct io_uring_sqe *sqe = loop_sqe(a->loop, &a->sync_op);
    io_uring_prep_fsync(sqe, a->fd, IORING_FSYNC_DATASYNC);
}

static void sync_later(struct audit *a)
{
    if (a->dirty)
        return;
    a->dirty = true;
    loop_timer_set(a->loop, &a->sync_timer, loop_now_ns(a->loop) + a->sync_ms * UINT64_C(1000000));
}

int audit_idle(const struct audit *a)
{
    return !a->syncing;
}

/* ---- opening ---- */

static int open_file(struct audit *a, struct err *err)
{
    struct stat st;
    int fd = open(a->path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int rc = err_set(err, errno, "audit log '%s': %s", a->path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, EINVAL, "audit log '%s' is no regular file", a->path);
    }
    a->fd = fd;
    a->file_bytes = (uint64_t)st.st_size;
    return 0;
}

/* The last line of tail[0..len) that is one, looking back over torn ones. */
static bool last_line(const char *tail, size_t len, struct audit_link *link)
{
    while (len) {
        size_t start = len;
        while (start && tail[start - 1] != '\n')
            start--;
        if (audit_line_read(tail + start, len - start, link, NULL) == 0)
            return true;
        len = start ? start - 1 : 0;
    }
    return false;
}

/* Takes the chain up where the file ends. A line that a crash tore gets its end, and stays as a scar. */
static int take_up(struct audit *a, struct err *err)
{
    char tail[AUDIT_LINE_MAX * 2];
    struct audit_link link;
    if (!a->file_bytes)
        return 0;
    size_t want = a->file_bytes < sizeof tail ? (size_t)a->file_bytes : sizeof tail;
    ssize_t n = pread(a->fd, tail, want, (off_t)(a->file_bytes - want));
    if (n != (ssize_t)want)
        return err_set(err, EIO, "audit log '%s': cannot read its end", a->path);
    bool torn = tail[want - 1] != '\n';
    if (last_line(tail, torn ? want : want - 1, &link)) {
        a->seq = link.seq;
        memcpy(a->prev, link.hash, sizeof a->prev);
    } else if (want < a->file_bytes || memchr(tail, '\n', want)) {
        return err_set(err, EBADMSG, "'%s' does not end like an audit log; move it away", a->path);
    }
    if (!torn)
        return 0;
    log_warn("audit log '%s': its last line is not whole", a->path);
    if (write(a->fd, "\n", 1) != 1)
        return err_set(err, errno, "audit log '%s': %s", a->path, strerror(errno));
    a->file_bytes++;
    return 0;
}

struct audit *audit_new(struct loop *loop, const struct audit_config *config, struct err *err)
{
    struct audit *a = calloc(1, sizeof *a);
    if (!a || strlen(config->path) + 8 >= sizeof a->path) {
        err_set(err, EINVAL, "the audit log's path is too long, or memory is out");
        free(a);
        return NULL;
    }
    a->loop = loop;
    a->fd = -1;
    strcpy(a->path, config->path);
    a->file_limit = config->file_bytes ? config->file_bytes : file_bytes_default;
    a->files = config->files ? config->files : FILES_DEFAULT;
    a->sync_ms = config->sync_ms ? config->sync_ms : SYNC_MS_DEFAULT;
    a->sync_timer.fire = sync_due;
    a->sync_op.done = sync_done;
    memset(a->prev, '0', AUDIT_HASH_HEX);
    if (open_file(a, err) || take_up(a, err)) {
        if (a->fd >= 0)
            close(a->fd);
        free(a);
        return NULL;
    }
    return a;
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    loop_timer_clear(a->loop, &a->sync_timer);
    if (a->dirty && fdatasync(a->fd) < 0)
        log_error("audit log '%s': %s", a->path, strerror(errno));
    close(a->fd);
    free(a);
}

/* ---- writing ---- */

/* PATH becomes PATH.1, PATH.1 PATH.2 and so on; the oldest goes. */
static int rotate(struct audit *a, struct err *err)
{
    char from[PATH_BYTES_MAX + 16], to[PATH_BYTES_MAX + 16];
    if (a->syncing)
        return 0; /* the next line will */
    if (fdatasync(a->fd) < 0)
        return err_set(err, errno, "audit log '%s': %s", a->path, strerror(errno));
    for (unsigned i = a->files; i > 0; i--) {
        snprintf(to, sizeof to, "%s.%u", a->path, i);
        snprintf(from, sizeof from, i > 1 ? "%s.%u" : "%s", a->path, i - 1);
        if (rename(from, to) < 0 && errno != ENOENT)
            return err_set(err, errno, "audit log: cannot rename '%s' to '%s': %s", from, to, strerror(errno));
    }
    int old = a->fd;
    int rc = open_file(a, err);
    if (rc)
        return rc;
    close(old);
    return 0;
}

int audit_write(struct audit *a, const struct audit_entry *entry, struct err *err)
{
    char line[AUDIT_LINE_MAX];
    struct audit_link link = {.seq = a->seq + 1};
    if (a->file_bytes >= a->file_limit) {
        int rc = rotate(a, err);
        if (rc)
            return rc;
    }
    size_t len = audit_line_write(entry, link.seq, a->prev, line, sizeof line);
    if (!len)
        return err_set(err, ENOMEM, "audit log '%s': no memory for a line", a->path);
    audit_line_hash(line, len, link.hash);
    line[len++] = '\n';
    ssize_t n = write(a->fd, line, len);
    if (n != (ssize_t)len) {
        int code = n < 0 ? errno : ENOSPC;
        if (n > 0 && ftruncate(a->fd, (off_t)a->file_bytes) < 0)
            log_error("audit log '%s': a torn line stays in it: %s", a->path, strerror(errno));
        return err_set(err, code, "audit log '%s': %s", a->path, strerror(code));
    }
    a->file_bytes += len;
    a->seq = link.seq;
    memcpy(a->prev, link.hash, sizeof a->prev);
    sync_later(a);
    return 0;
}

void audit_write_own(struct audit *a, const char *node, const char *method, const char *path, const char *target,
                     const char *why)
{
    struct err err = {0};
    const struct audit_entry entry = {.who = "drover",
                                      .role = "agent",
                                      .from = node,
                                      .method = method,
                                      .path = path,
                                      .target = target,
                                      .why = why,
                                      .status = 200};
    if (a && audit_write(a, &entry, &err))
        log_warn("the audit log: %s", err.text);
}
