#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nbd/img_command.h"
#include "nbd/raw_blocking.h"
#include "nbd/raw_lock.h"

enum preallocate { PREALLOCATE_OFF, PREALLOCATE_FALLOC, PREALLOCATE_FULL };

struct create_arguments {
    struct img_arguments common;
    int preallocate; /* enum preallocate */
    bool force, json;
};

enum { KEY_PREALLOCATE = 256, KEY_FORCE, KEY_JSON };

static const struct argp_option create_options[] = {
    {"preallocate", KEY_PREALLOCATE, "HOW", 0, "off: sparse (default); falloc: reserve the space; full: write zeroes",
     0},
    {"force", KEY_FORCE, NULL, 0, "Overwrite a file that is there, unless it is in use", 0},
    {"json", KEY_JSON, NULL, 0, "Print the result as JSON", 0},
    {0},
};

static error_t parse_create(int key, char *value, struct argp_state *state)
{
    static const char *const how[] = {"off", "falloc", "full", NULL};
    struct create_arguments *a = state->input;
    switch (key) {
    case KEY_PREALLOCATE:
        return img_arguments_choice(&a->common, "--preallocate", value, how, &a->preallocate);
    case KEY_FORCE:
        a->force = true;
        return 0;
    case KEY_JSON:
        a->json = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp create_argp = {
    .options = create_options,
    .parser = parse_create,
    .args_doc = "FILE SIZE",
    .doc = "Makes a raw image file of SIZE bytes that reads as zeroes.\v"
           "Exit codes: 0 made; 1 failed, and a new file is removed again; 2 a bad command line.",
};

static int open_new(const char *path, bool force, struct err *err)
{
    /* not O_TRUNC: what is in use must not be emptied before the claim says so */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (force ? 0 : O_EXCL), 0666);
    struct stat st;
    int rc = 0;
    if (fd < 0 && errno == EEXIST)
        return err_set(err, EEXIST, "'%s' exists (--force overwrites it)", path);
    if (fd < 0)
        return err_set(err, errno, "cannot create '%s': %s", path, strerror(errno));
    if (fstat(fd, &st) < 0)
        rc = err_set(err, errno, "'%s': %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        rc = err_set(err, EINVAL, "'%s' is not a regular file: only files are created", path);
    else
        rc = raw_lock(fd, true, path, err);
    if (rc)
        close(fd);
    return rc ? rc : fd;
}

static int fill(int fd, uint64_t size_bytes, enum preallocate how, struct err *err)
{
    int rc = ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)size_bytes) < 0 ? -errno : 0;
    if (!rc && size_bytes && how == PREALLOCATE_FALLOC && fallocate(fd, 0, 0, (off_t)size_bytes) < 0)
        rc = -errno;
    if (!rc && how == PREALLOCATE_FULL)
        rc = raw_write_zeroes(fd, 0, size_bytes);
    if (!rc && fsync(fd) < 0)
        rc = -errno;
    if (rc == -EOPNOTSUPP)
        return err_set(err, -rc, "this file system cannot reserve space: use --preallocate=full or off");
    return rc ? err_set(err, -rc, "%s", strerror(-rc)) : 0;
}

static int create(const struct create_arguments *a, const char *path, uint64_t size_bytes, struct err *err)
{
    bool existed = access(path, F_OK) == 0;
    int fd = open_new(path, a->force, err);
    if (fd < 0)
        return fd;
    int rc = fill(fd, size_bytes, (enum preallocate)a->preallocate, err);
    if (rc) {
        err_prefix(err, "cannot make '%s' of %" PRIu64 " bytes", path, size_bytes);
        if (!existed)
            unlink(path);
    }
    close(fd);
    return rc;
}

static int create_command(int argc, char **argv)
{
    struct create_arguments a = {0};
    struct img_location location = {0};
    struct err *err = &a.common.err;
    uint64_t size_bytes = 0;
    int rc = img_arguments_parse(&create_argp, argc, argv, &a.common);
    if (!rc && img_arguments_size(&a.common, "SIZE", a.common.places[1], &size_bytes))
        rc = -EINVAL;
    if (!rc && !(rc = img_location_parse(a.common.places[0], &location, err)) && !location.path)
        rc = err_set(err, EINVAL, "'%s' is no file name: only raw files are created", a.common.places[0]);
    int code = IMG_EXIT_USAGE;
    if (!rc) {
        code = IMG_EXIT_FAILED;
        rc = create(&a, location.path, size_bytes, err);
    }
    img_location_fini(&location);
    if (rc)
        return img_command_fail("create", err, code);
    if (a.json)
        img_command_print(json_pack("{s:s%, s:I}", "file", a.common.places[0], strlen(a.common.places[0]), "size_bytes",
                                    (json_int_t)size_bytes));
    else
        printf("'%s' created, %" PRIu64 " bytes\n", a.common.places[0], size_bytes);
    return IMG_EXIT_OK;
}

const struct img_command img_command_create = {
    .name = "create", .help = "makes a raw image file", .argp = &create_argp, .run = create_command};
