#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nbd/img_luks.h"
#include "nbd/raw_lock.h"

static const struct argp_option create_options[] = {
    {"size", IMG_LUKS_SIZE, "SIZE", 0,
     "Make a file whose data has so many bytes; with --force, one that is there gets that size", 0},
    {"force", IMG_LUKS_FORCE, NULL, 0, "Write the header over what is in an image that exists", 0},
    {"type", IMG_LUKS_TYPE, "TYPE", 0, "luks2 (default) or luks1", 0},
    {"key-file", IMG_LUKS_KEY_FILE, "FILE", 0, "The passphrase: all of that file, newlines and all", 0},
    {"key-fd", IMG_LUKS_KEY_FD, "N", 0, "The passphrase: all that can be read from descriptor N", 0},
    {"volume-key-file", IMG_LUKS_VOLUME_KEY_FILE, "FILE", 0, "The key of the data, 32 or 64 bytes (default: random)",
     0},
    {"volume-key-fd", IMG_LUKS_VOLUME_KEY_FD, "N", 0, "The same from descriptor N", 0},
    {"key-bits", IMG_LUKS_KEY_BITS, "BITS", 0, "512 (default: AES-256) or 256 (AES-128)", 0},
    {"sector-size", IMG_LUKS_SECTOR_SIZE, "BYTES", 0,
     "512 (default), 1024, 2048, 4096: larger ones are faster, and requests must be aligned to them", 0},
    {"offset", IMG_LUKS_OFFSET, "SIZE", 0, "Where the data begins (default: 16M; LUKS1 2M)", 0},
    {"label", IMG_LUKS_LABEL, "TEXT", 0, "A name in the header", 0},
    {"uuid", IMG_LUKS_UUID, "UUID", 0, "Its UUID (default: random)", 0},
    {"kdf", IMG_LUKS_KDF, "NAME", 0, "argon2id (default), argon2i or pbkdf2 (all that LUKS1 has)", 0},
    {"hash", IMG_LUKS_HASH, "NAME", 0, "Of pbkdf2: sha256 (default), sha512, ...", 0},
    {"time", IMG_LUKS_TIME, "MS", 0, "How long a try of a passphrase shall take here (default 2000)", 0},
    {"iterations", IMG_LUKS_ITERATIONS, "N", 0, "Instead of --time: so many iterations or passes", 0},
    {"memory", IMG_LUKS_MEMORY, "SIZE", 0, "Memory of argon2, at most (default 1G)", 0},
    {"lanes", IMG_LUKS_LANES, "N", 0, "Lanes of argon2 (default 4)", 0},
    {"json", IMG_LUKS_JSON, NULL, 0, "Print the result as JSON", 0},
    {0},
};

static const struct argp create_argp = {
    .options = create_options,
    .parser = img_luks_parse,
    .args_doc = "IMAGE",
    .doc = "Makes a LUKS header, with a passphrase in keyslot 0.\v"
           "The data is left as it is, and reads as noise until it is written. Without --key-file or --key-fd the "
           "passphrase is asked for.\n\n"
           "Exit codes: 0 made; 1 failed, and a new file is removed again; 2 a bad command line.",
};

/* A file of that size; with force, one that is there gets it, unless it is in use. *made: it is a new one. */
static int make_file(const char *text, uint64_t size_bytes, bool force, bool *made, struct err *err)
{
    struct img_location location = {0};
    struct stat st = {0};
    int rc = img_location_parse(text, &location, err);
    if (!rc && !location.path)
        rc = err_set(err, EINVAL, "'%s' is no file name: --size makes raw files", text);
    *made = !rc && access(location.path, F_OK) != 0;
    int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (force ? 0 : O_EXCL);
    int fd = rc ? -1 : open(location.path, flags, 0666);
    if (!rc && fd < 0)
        rc = err_set(err, errno, "cannot create '%s': %s", text, strerror(errno));
    if (!rc && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)))
        rc = err_set(err, EINVAL, "'%s' is not a regular file: leave out --size", text);
    if (!rc)
        rc = raw_lock(fd, true, text, err);
    if (!rc && ftruncate(fd, (off_t)size_bytes) < 0) {
        rc = err_set(err, errno, "'%s' of %" PRIu64 " bytes: %s", text, size_bytes, strerror(errno));
        if (*made)
            unlink(location.path);
    }
    if (fd >= 0)
        close(fd);
    img_location_fini(&location);
    return rc;
}

static void remove_file(const char *text)
{
    struct img_location location = {0};
    if (img_location_parse(text, &location, NULL) == 0 && location.path)
        unlink(location.path);
    img_location_fini(&location);
}

static int format(struct img_luks_arguments *a, const struct luks_key *passphrase, const struct luks_key *volume_key,
                  json_t **json, struct err *err)
{
    struct img_luks luks;
    a->format.cost = img_luks_cost(a, a->format.version);
    a->format.volume_key = volume_key->bytes ? volume_key : NULL;
    int rc = img_luks_open(&luks, a->common.places[0], IMG_LUKS_CHANGE | IMG_LUKS_EXCLUSIVE | IMG_LUKS_NO_HEADER, err);
    if (rc)
        return rc;
    rc = luks_change_format(&luks.io.io, &a->format, passphrase, &luks.volume, err);
    if (!rc)
        *json = img_luks_describe(&luks.volume);
    img_luks_close(&luks);
    return rc;
}

static int check(const struct img_luks_arguments *a, struct err *err)
{
    uint64_t sum;
    if (!a->size_bytes && !a->force)
        return err_set(err, EINVAL, "give --size for a new file, or --force to overwrite what is in an image");
    if (a->size_bytes % a->format.sector_bytes)
        return err_set(err, EINVAL, "--size must be a multiple of %u", a->format.sector_bytes);
    if (__builtin_add_overflow(a->size_bytes, a->format.payload_offset + (64 << 20), &sum) || sum > INT64_MAX)
        return err_set(err, EINVAL, "--size and --offset are over 2^63-1 bytes");
    return 0;
}

static int create(struct img_luks_arguments *a, json_t **json, struct err *err)
{
    struct luks_key passphrase = {0}, volume_key = {0};
    bool made = false;
    uint64_t offset = a->format.payload_offset;
    offset = offset ? offset : a->format.version == 1 ? 2 << 20 : 16 << 20;
    a->format.payload_offset = offset;
    int rc = img_luks_has_key(&a->volume_key) ? img_luks_read_key(&a->volume_key, "", false, &volume_key, err) : 0;
    if (!rc)
        rc = img_luks_read_key(&a->key, "Passphrase of the new volume: ", true, &passphrase, err);
    if (!rc && a->size_bytes)
        rc = make_file(a->common.places[0], offset + a->size_bytes, a->force, &made, err);
    if (!rc) {
        rc = format(a, &passphrase, &volume_key, json, err);
        if (rc && made)
            remove_file(a->common.places[0]);
    }
    luks_key_fini(&passphrase);
    luks_key_fini(&volume_key);
    return rc;
}

static int create_command(int argc, char **argv)
{
    struct img_luks_arguments a;
    json_t *json = NULL;
    img_luks_arguments_init(&a);
    struct err *err = &a.common.err;
    if (img_arguments_parse(&create_argp, argc, argv, &a.common) || check(&a, err))
        return img_command_fail("luks create", err, IMG_EXIT_USAGE);
    if (create(&a, &json, err))
        return img_command_fail("luks create", err, IMG_EXIT_FAILED);
    if (a.json) {
        img_command_print(json);
        return IMG_EXIT_OK;
    }
    printf("'%s' is a LUKS%u volume of %lld bytes\n", a.common.places[0], a.format.version,
           json_integer_value(json_object_get(json, "data_bytes")));
    json_decref(json);
    return IMG_EXIT_OK;
}

const struct img_command img_luks_create = {
    .name = "create", .help = "makes a LUKS header, with a passphrase", .argp = &create_argp, .run = create_command};
