#include "hv/guest_files.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hv/gdb.h"
#include "hv/late_pages.h"
#include "node/base/err.h"
#include "node/base/listen.h"
#include "node/base/log.h"
#include "node/base/message.h"

static const char *const seabios[] = {"/usr/share/seabios/bios-256k.bin", "/usr/share/qemu/bios-256k.bin"};
enum { FILE_BYTES_MAX = 1 << 30, FIRMWARE_BYTES_MAX = 16 << 20 };

static const struct guest_files no_files = {.kernel = {.fd = -1},
                                            .initrd = {.fd = -1},
                                            .firmware = {.fd = -1},
                                            .control = -1,
                                            .gdb = -1,
                                            .load = -1,
                                            .late = -1,
                                            .incoming = -1};

int guest_file_read(struct guest_file *file, struct err *err)
{
    if (file->data)
        return 0;
    uint8_t *data = mmap(NULL, file->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (data == MAP_FAILED)
        return err_set(err, ENOMEM, "no memory for its %zu bytes", file->bytes);
    int rc = 0;
    for (size_t at = 0; !rc && at < file->bytes;) {
        ssize_t n = pread(file->fd, data + at, file->bytes - at, (off_t)at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0)
            rc = err_set(err, EIO, "it has only %zu bytes left of %zu: put it back as it was", at, file->bytes);
        else if (errno != EINTR)
            rc = err_set(err, errno, "cannot read it: %s", strerror(errno));
    }
    if (rc)
        munmap(data, file->bytes);
    else
        file->data = data;
    return rc;
}

void guest_file_drop(struct guest_file *file)
{
    if (file->data)
        munmap(file->data, file->bytes);
    file->data = NULL;
}

static int open_file(struct guest_file *file, const char *what, const char *path, off_t max, struct err *err)
{
    struct stat st;
    if (!path)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int rc = err_set(err, errno, "%s: cannot open %s: %s", what, path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    if (!S_ISREG(st.st_mode) || !st.st_size || st.st_size > max) {
        close(fd);
        return err_set(err, EINVAL, "%s: %s must be a file of 1 byte to %lld MiB", what, path, (long long)max >> 20);
    }
    *file = (struct guest_file){.fd = fd, .bytes = (size_t)st.st_size};
    return 0;
}

/* A BIOS is small, and each reset needs it. */
static int read_firmware(struct guest_file *file, const char *path, struct err *err)
{
    int rc = open_file(file, "firmware", path, FIRMWARE_BYTES_MAX, err);
    if (rc || file->fd < 0)
        return rc;
    rc = guest_file_read(file, err);
    return rc ? err_prefix(err, "firmware %s", path) : 0;
}

static void close_file(struct guest_file *file)
{
    guest_file_drop(file);
    if (file->fd >= 0)
        close(file->fd);
}

static const char *firmware_path(const struct guest_config *config)
{
    if (!config->firmware || strcmp(config->firmware, "seabios") != 0)
        return config->firmware;
    for (unsigned i = 0; i + 1 < sizeof seabios / sizeof *seabios; i++)
        if (access(seabios[i], R_OK) == 0)
            return seabios[i];
    return seabios[1];
}

/* Before any file of ours could have one of their numbers. */
static int check_inherited(const struct guest_config *config, struct err *err)
{
    for (uint32_t i = 0; i < config->net_count; i++) {
        uint32_t fd = config->nets[i].fd;
        if (fd != UINT32_MAX && fcntl((int)fd, F_GETFD) < 0)
            return err_set(err, EBADF, "nets[%u].fd: %u is not open: it must be handed to this process", i, fd);
    }
    const uint32_t fds[] = {config->incoming, config->migration_key};
    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] != GUEST_NO_FD && fcntl((int)fds[i], F_GETFD) < 0)
            return err_set(err, EBADF, "%s: %u is not open: it must be handed to this process",
                           i ? "migration-key" : "incoming", fds[i]);
    return 0;
}

static int open_key(const struct guest_config *config, struct err *err)
{
    if (!config->migration_key_file)
        return (int)config->migration_key;
    int fd = open(config->migration_key_file, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? err_set(err, errno, "cannot open %s: %s", config->migration_key_file, strerror(errno)) : fd;
}

static int check_listener(int fd, struct err *err)
{
    if (!listen_is_listening(fd))
        return err_set(err, EINVAL, "incoming: %d is not a listening socket", fd);
    /* several workers take connections from it, and it must not block the slower ones */
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_set(err, errno, "incoming: %s", strerror(errno));
    return 0;
}

static int take_incoming(struct guest_files *files, const struct guest_config *config, struct err *err)
{
    int fd = (int)config->incoming;
    if (!guest_config_is_incoming(config))
        return 0;
    int key = open_key(config, err);
    int rc = key < 0 ? key : migrate_key_read(&files->key, key, err);
    if (rc)
        return err_prefix(err, "migration-key");
    if (config->incoming_at && listen_open(config->incoming_at, &fd, 1, err) < 0)
        return err_prefix(err, "incoming");
    rc = check_listener(fd, err);
    if (!rc)
        files->incoming = fd;
    return rc;
}

/* Not every kernel has it, and not everybody may: it is slower without. */
static int open_late(const struct guest_config *config)
{
    struct err err;
    int fd = late_pages_open(&err);
    if (fd < 0)
        log_info("%s: all of its memory has to be there before it goes on: %s", config->name, err.text);
    return fd < 0 ? -1 : fd;
}

int guest_files_open(struct guest_files *files, const struct guest_config *config, struct err *err)
{
    *files = no_files;
    int rc = check_inherited(config, err);
    rc = rc ? rc : take_incoming(files, config, err);
    rc = rc ? rc : open_file(&files->kernel, "kernel", config->kernel, FILE_BYTES_MAX, err);
    rc = rc ? rc : open_file(&files->initrd, "initrd", config->initrd, FILE_BYTES_MAX, err);
    rc = rc ? rc : read_firmware(&files->firmware, firmware_path(config), err);
    if (!rc && config->load) {
        files->load = open(config->load, O_RDONLY | O_CLOEXEC);
        if (files->load < 0)
            rc = err_set(err, errno, "load: cannot open %s: %s", config->load, strerror(errno));
    }
    if (!rc && (config->load || guest_config_is_incoming(config)))
        files->late = open_late(config);
    if (!rc && config->control) {
        rc = message_listen(config->control, &files->control, err);
        if (rc)
            err_prefix(err, "control");
    }
    if (!rc && config->gdb)
        rc = gdb_listen(config->gdb, &files->gdb, err);
    if (rc)
        guest_files_close(files);
    return rc;
}

void guest_files_close(struct guest_files *files)
{
    close_file(&files->kernel);
    close_file(&files->initrd);
    close_file(&files->firmware);
    if (files->control >= 0)
        close(files->control);
    if (files->gdb >= 0)
        close(files->gdb);
    if (files->load >= 0)
        close(files->load);
    if (files->late >= 0)
        close(files->late);
    if (files->incoming >= 0)
        close(files->incoming);
    migrate_key_wipe(&files->key);
    *files = no_files;
}
