#include "nbd/raw_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <stdio.h>
#include <unistd.h>

#include "nbd/raw_lock.h"
#include "node/base/err.h"

enum { DIRECT_ALIGN_DEFAULT = 4096 };

int raw_file_descriptor(const struct raw_config *c, bool read_only, struct err *err)
{
    int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    if (c->fd) {
        int fd = fcntl((int)c->fd, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? err_set(err, errno, "fd %d: %s", (int)c->fd, strerror(errno)) : fd;
    }
    if (!c->file)
        return err_set(err, EINVAL, "file is missing (the image or device)");
    if (c->direct)
        flags |= O_DIRECT;
    struct stat st;
    if (!read_only && stat(c->file, &st) == 0 && S_ISBLK(st.st_mode))
        flags |= O_EXCL; /* nobody may have it mounted */
    int fd = open(c->file, flags);
    if (fd >= 0)
        return fd;
    int rc = errno;
    if (rc == EINVAL && c->direct)
        return err_set(err, rc, "'%s': this file system has no O_DIRECT: leave out direct", c->file);
    if ((rc == EACCES || rc == EROFS || rc == EPERM) && !read_only)
        return err_set(err, rc, "'%s': %s (to serve it anyway: --read-only)", c->file, strerror(rc));
    return err_set(err, rc, "'%s': %s", c->file, strerror(rc));
}

static bool disk_rotates(dev_t device)
{
    char path[96], digit = '0';
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/queue/rotational", major(device), minor(device));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, &digit, 1);
    close(fd);
    return n == 1 && digit == '1';
}

static void measure_alignment(struct raw_file *f)
{
    f->align_bytes = f->memory_align_bytes = 1;
    if (!f->direct)
        return;
    struct statx sx;
    f->align_bytes = f->memory_align_bytes = DIRECT_ALIGN_DEFAULT;
    int sector = 0;
    if (f->block_device && ioctl(f->fd, BLKSSZGET, &sector) == 0 && sector >= 512 && sector <= 65536)
        f->align_bytes = f->memory_align_bytes = (uint32_t)sector;
#ifdef STATX_DIOALIGN
    else if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 && sx.stx_mask & STATX_DIOALIGN &&
             sx.stx_dio_offset_align) {
        f->align_bytes = sx.stx_dio_offset_align;
        f->memory_align_bytes = sx.stx_dio_mem_align;
    }
#endif
    (void)sx;
}

static int measure_size(const struct raw_config *c, struct raw_file *f, const struct stat *st, struct err *err)
{
    f->size_bytes = (uint64_t)st->st_size;
    if (f->block_device && ioctl(f->fd, BLKGETSIZE64, &f->size_bytes) < 0)
        return err_set(err, errno, "'%s': cannot read the device's size: %s", c->file, strerror(errno));
    if (c->size_bytes) {
        if (c->size_bytes > f->size_bytes)
            return err_set(err, EINVAL, "size: the file has only %llu bytes", (unsigned long long)f->size_bytes);
        f->size_bytes = c->size_bytes;
    }
    if (f->size_bytes % f->align_bytes)
        return err_set(err, EINVAL, "direct: the size, %llu, is not a multiple of %u",
                       (unsigned long long)f->size_bytes, f->align_bytes);
    return 0;
}

/* EOPNOTSUPP says that reads of this file cannot be asked to return rather than wait. */
static bool can_read_nowait(int fd)
{
    char byte;
    struct iovec nothing = {&byte, 0};
    return preadv2(fd, &nothing, 1, 0, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP;
}

static int describe(const struct raw_config *c, struct raw_file *f, struct err *err)
{
    const char *name = c->file ? c->file : "handed descriptor";
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return err_set(err, errno, "'%s': %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(err, EINVAL, "'%s' is neither a regular file nor a block device", name);
    f->block_device = S_ISBLK(st.st_mode);
    f->rotational = disk_rotates(f->block_device ? st.st_rdev : st.st_dev);
    int flags = fcntl(f->fd, F_GETFL);
    if (f->writable && (flags & O_ACCMODE) != O_RDWR)
        return err_set(err, EACCES, "'%s' was opened for reading only", name);
    f->direct = flags & O_DIRECT;
    measure_alignment(f);
    int rc = measure_size(c, f, &st, err);
    if (rc)
        return rc;
    f->read_nowait = f->direct || can_read_nowait(f->fd);
    if (c->no_lock || f->block_device)
        return 0;
    f->unclaimed = c->lock_late;
    return c->lock_late ? 0 : raw_lock(f->fd, f->writable, name, err);
}

int raw_file_open(const struct raw_config *config, bool read_only, struct raw_file *file, struct err *err)
{
    struct raw_file f = {.writable = !read_only};
    f.fd = raw_file_descriptor(config, read_only, err);
    if (f.fd < 0)
        return f.fd;
    int rc = describe(config, &f, err);
    if (rc) {
        close(f.fd);
        return rc;
    }
    *file = f;
    return 0;
}

int raw_file_claim(struct raw_file *f)
{
    int rc = f->unclaimed ? raw_lock_try(f->fd, f->writable) : 0;
    f->unclaimed = rc;
    return rc;
}

void raw_file_close(struct raw_file *file)
{
    /* closing is not enough: whoever handed the file has it open, and the ring of the loop may, for a while */
    raw_unlock(file->fd);
    close(file->fd);
    file->fd = -1;
}
