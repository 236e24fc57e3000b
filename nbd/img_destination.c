#include "nbd/img_destination.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nbd/blk.h"
#include "nbd/img_location.h"
#include "nbd/img_session.h"
#include "node/base/err.h"

static int create_file(const char *path, uint64_t size_bytes, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_set(err, errno, "cannot create '%s': %s", path, strerror(errno));
    int rc = 0;
    if (ftruncate(fd, (off_t)size_bytes) < 0) {
        rc = err_set(err, errno, "cannot make '%s' %llu bytes long: %s", path, (unsigned long long)size_bytes,
                     strerror(errno));
        unlink(path);
    }
    close(fd);
    return rc;
}

/* 1: it was created, 0: it was there (or is no file at all, which blk_open() will say). */
static int create_if_missing(const char *path, uint64_t size_bytes, bool create, struct err *err)
{
    struct stat st;
    if (!path || stat(path, &st) == 0 || errno != ENOENT)
        return 0;
    if (!create)
        return err_set(err, ENOENT, "'%s' does not exist, and --no-create forbids to make it", path);
    int rc = create_file(path, size_bytes, err);
    return rc ? rc : 1;
}

static int grow(struct img_session *session, struct blk *blk, const char *text, uint64_t needed_bytes, struct err *err)
{
    uint64_t size = blk_size(blk), mask = blk_limits(blk)->align_bytes - 1;
    struct img_session_io io = {.req = {.op = BLK_RESIZE, .offset = (needed_bytes + mask) & ~mask}};
    if (size >= needed_bytes)
        return 0;
    if (!(blk_can(blk) & BLK_CAN_RESIZE))
        return err_set(err, ENOSPC, "'%s' is too small: it has %llu bytes, %llu are needed, and it cannot grow", text,
                       (unsigned long long)size, (unsigned long long)needed_bytes);
    int rc = img_session_io(session, blk, &io);
    if (rc)
        return err_set(err, -rc, "'%s' cannot grow from %llu to %llu bytes: %s", text, (unsigned long long)size,
                       (unsigned long long)io.req.offset, strerror(-rc));
    return 0;
}

int img_destination_open(struct img_session *session, const char *text, uint64_t needed_bytes, bool create,
                         struct img_destination *destination, struct err *err)
{
    struct img_destination d = {0};
    struct img_location location;
    int rc = img_location_parse(text, &location, err);
    if (!rc)
        rc = create_if_missing(location.path, needed_bytes, create, err);
    d.created = rc > 0;
    if (rc >= 0)
        rc = blk_open(&session->env, location.stack, 0, &d.blk, err);
    if (rc && d.created)
        unlink(location.path);
    if (!rc) {
        d.zero_from = d.created ? 0 : blk_size(d.blk);
        if (blk_read_only(d.blk))
            rc = err_set(err, EROFS, "'%s' is read-only", text);
        else
            rc = grow(session, d.blk, text, needed_bytes, err);
        if (rc)
            img_session_close(session, d.blk);
    }
    img_location_fini(&location);
    if (!rc)
        *destination = d;
    return rc;
}
