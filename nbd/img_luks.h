/* What the commands of `drover-img luks` share: keys from the command line, the options of a new keyslot's cost, and
 * the image with its header.
 *
 * A raw file or device is opened with a claim of its header only (luks_claim.h), so that keys can be changed while it
 * is in use; anything else is opened like any image. Thread: main. */
#ifndef NBD_IMG_LUKS_H
#define NBD_IMG_LUKS_H

#include "nbd/img_command.h"
#include "nbd/luks_change.h"

struct img_luks_key {
    const char *file;
    int fd;           /* 0: none */
    const char *name; /* of the option, without "-file" and "-fd": "--key" */
};

struct img_luks_arguments {
    struct img_arguments common;
    struct img_luks_key key, fresh_key, volume_key;
    bool json, repair, yes, force;
    int slot; /* -1: none was named */
    /* a new slot's cost, and a new header */
    struct luks_cost cost;
    bool kdf_given;
    struct luks_format format;
    uint64_t size_bytes;
};

/* Options for tables, and what parses them. */
enum img_luks_option {
    IMG_LUKS_KEY_FILE = 256,
    IMG_LUKS_KEY_FD,
    IMG_LUKS_NEW_KEY_FILE,
    IMG_LUKS_NEW_KEY_FD,
    IMG_LUKS_VOLUME_KEY_FILE,
    IMG_LUKS_VOLUME_KEY_FD,
    IMG_LUKS_SLOT,
    IMG_LUKS_KDF,
    IMG_LUKS_HASH,
    IMG_LUKS_TIME,
    IMG_LUKS_ITERATIONS,
    IMG_LUKS_MEMORY,
    IMG_LUKS_LANES,
    IMG_LUKS_TYPE,
    IMG_LUKS_KEY_BITS,
    IMG_LUKS_SECTOR_SIZE,
    IMG_LUKS_OFFSET,
    IMG_LUKS_LABEL,
    IMG_LUKS_UUID,
    IMG_LUKS_SIZE,
    IMG_LUKS_FORCE,
    IMG_LUKS_REPAIR,
    IMG_LUKS_YES,
    IMG_LUKS_JSON,
};

void img_luks_arguments_init(struct img_luks_arguments *a);
error_t img_luks_parse(int key, char *value, struct argp_state *state);
/* Is a key given on the command line? */
bool img_luks_has_key(const struct img_luks_key *key);
/* The key as given, or asked for at the terminal with that prompt (twice, if it is a new one). */
int img_luks_read_key(const struct img_luks_key *given, const char *prompt, bool twice, struct luks_key *key,
                      struct err *err);
/* The cost that the options say, for a header of that version. */
struct luks_cost img_luks_cost(const struct img_luks_arguments *a, unsigned version);

struct img_luks {
    struct img_session session;
    struct blk *blk;
    int fd; /* holds the claim; -1: none */
    struct luks_io_blk io;
    struct luks_volume volume;
};

/* Opens the image and, unless it is for a new header, reads the header. exclusive: with the image's own claim, too.
 * Errors leave nothing open. */
enum img_luks_open { IMG_LUKS_READ = 0, IMG_LUKS_CHANGE = 1, IMG_LUKS_EXCLUSIVE = 2, IMG_LUKS_NO_HEADER = 4 };
int img_luks_open(struct img_luks *luks, const char *text, unsigned how, struct err *err);
void img_luks_close(struct img_luks *luks);

/* {"uuid", "keyslots": [...], ...}: the header in JSON, without a byte of a key. */
json_t *img_luks_describe(const struct luks_volume *volume);

extern const struct img_command img_luks_create, img_luks_info, img_luks_check, img_luks_add_key, img_luks_change_key,
    img_luks_remove_key, img_luks_erase;

#endif
