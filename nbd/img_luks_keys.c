/* add-key, change-key, remove-key, erase. All may be used on an image that is in use: see luks_claim.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nbd/img_luks.h"

#define EXIT_CODES "Exit codes: 0 done; 1 failed; 2 a bad command line."

#define KEY_OPTIONS                                                                                                    \
    {"key-file", IMG_LUKS_KEY_FILE, "FILE", 0, "A passphrase that opens the volume: all of that file", 0},             \
    {                                                                                                                  \
        "key-fd", IMG_LUKS_KEY_FD, "N", 0, "The same: all that can be read from descriptor N", 0                       \
    }

#define NEW_KEY_OPTIONS                                                                                                \
    {"new-key-file", IMG_LUKS_NEW_KEY_FILE, "FILE", 0, "The new passphrase: all of that file", 0},                     \
        {"new-key-fd", IMG_LUKS_NEW_KEY_FD, "N", 0, "The same: all that can be read from descriptor N", 0},            \
        {"kdf", IMG_LUKS_KDF, "NAME", 0, "argon2id (default), argon2i or pbkdf2 (all that LUKS1 has)", 0},             \
        {"hash", IMG_LUKS_HASH, "NAME", 0, "Of pbkdf2 (LUKS2): sha256 (default), sha512, ...", 0},                     \
        {"time", IMG_LUKS_TIME, "MS", 0, "How long a try of the passphrase shall take here (default 2000)", 0},        \
        {"iterations", IMG_LUKS_ITERATIONS, "N", 0, "Instead of --time: so many iterations or passes", 0},             \
        {"memory", IMG_LUKS_MEMORY, "SIZE", 0, "Memory of argon2, at most (default 1G)", 0},                           \
        {"lanes", IMG_LUKS_LANES, "N", 0, "Lanes of argon2 (default 4)", 0},                                           \
    {                                                                                                                  \
        "json", IMG_LUKS_JSON, NULL, 0, "Print the header as JSON afterwards", 0                                       \
    }

/* The volume key, by whatever the command line gives. *slot: which keyslot opened, or -1. */
static int volume_key(struct img_luks *luks, const struct img_luks_arguments *a, struct luks_key *key, int *slot,
                      struct err *err)
{
    struct luks_key passphrase = {0};
    *slot = -1;
    if (img_luks_has_key(&a->volume_key)) {
        int rc = img_luks_read_key(&a->volume_key, "", false, key, err);
        return rc ? rc : luks_volume_verify(&luks->volume, key, err);
    }
    int rc = img_luks_read_key(&a->key, "Passphrase: ", false, &passphrase, err);
    if (!rc)
        rc = luks_volume_unlock(&luks->volume, &passphrase, -1, slot, key, err);
    luks_key_fini(&passphrase);
    return rc;
}

static int report(const struct img_luks_arguments *a, const struct img_luks *luks, const char *before, int slot,
                  const char *after)
{
    if (a->json)
        img_command_print(img_luks_describe(&luks->volume));
    else
        printf("%s %d%s\n", before, slot, after);
    return 0;
}

static unsigned usable_slots(const struct luks_header *h)
{
    unsigned n = 0;
    for (unsigned i = 0; i < h->slot_count; i++)
        n += h->slots[i].used && h->slots[i].bound && !*h->slots[i].refusal;
    return n;
}

/* ---- the four changes ---- */

static int add_key(struct img_luks *luks, struct img_luks_arguments *a, struct err *err)
{
    struct luks_key key = {0}, fresh = {0};
    struct luks_cost cost = img_luks_cost(a, luks->volume.header.version);
    int slot, rc = volume_key(luks, a, &key, &slot, err);
    if (!rc)
        rc = img_luks_read_key(&a->fresh_key, "New passphrase: ", true, &fresh, err);
    if (!rc)
        rc = luks_change_add(&luks->volume, &key, &fresh, &cost, a->slot, &slot, err);
    luks_key_fini(&key);
    luks_key_fini(&fresh);
    return rc ? rc : report(a, luks, "the key is in keyslot", slot, "");
}

static int change_key(struct img_luks *luks, struct img_luks_arguments *a, struct err *err)
{
    struct luks_key key = {0}, fresh = {0};
    struct luks_cost cost = img_luks_cost(a, luks->volume.header.version);
    int old, slot, rc = volume_key(luks, a, &key, &old, err);
    if (!rc)
        rc = img_luks_read_key(&a->fresh_key, "New passphrase: ", true, &fresh, err);
    if (!rc)
        rc = luks_change_replace(&luks->volume, (unsigned)old, &key, &fresh, &cost, &slot, err);
    luks_key_fini(&key);
    luks_key_fini(&fresh);
    return rc ? rc : report(a, luks, "the key is in keyslot", slot, " now");
}

static int remove_key(struct img_luks *luks, struct img_luks_arguments *a, struct err *err)
{
    struct luks_key key = {0};
    int slot = a->slot, rc = 0;
    if (slot < 0)
        rc = volume_key(luks, a, &key, &slot, err);
    luks_key_fini(&key);
    const struct luks_header *h = &luks->volume.header;
    bool opens = !rc && slot < (int)h->slot_count && h->slots[slot].used && h->slots[slot].bound;
    if (opens && usable_slots(h) <= 1 && !*h->slots[slot].refusal)
        return err_set(err, EINVAL, "keyslot %d is the last one: without it the data is lost (erase does that)", slot);
    if (!rc)
        rc = luks_change_remove(&luks->volume, (unsigned)slot, err);
    return rc ? rc : report(a, luks, "keyslot", slot, " is gone");
}

static int erase(struct img_luks *luks, struct img_luks_arguments *a, struct err *err)
{
    if (!a->yes)
        return err_set(err, EINVAL, "this overwrites every keyslot, and with them the data is lost: --yes does it");
    int rc = luks_change_erase(&luks->volume, err);
    return rc ? rc : report(a, luks, "keyslots left:", 0, "");
}

/* ---- command lines ---- */

static int run(int argc, char **argv, const char *name, const struct argp *argp,
               int (*change)(struct img_luks *, struct img_luks_arguments *, struct err *))
{
    struct img_luks_arguments a;
    struct img_luks luks;
    img_luks_arguments_init(&a);
    struct err *err = &a.common.err;
    if (img_arguments_parse(argp, argc, argv, &a.common))
        return img_command_fail(name, err, IMG_EXIT_USAGE);
    int rc = img_luks_open(&luks, a.common.places[0], IMG_LUKS_CHANGE, err);
    if (!rc) {
        rc = change(&luks, &a, err);
        img_luks_close(&luks);
    }
    return rc ? img_command_fail(name, err, IMG_EXIT_FAILED) : IMG_EXIT_OK;
}

static const struct argp_option add_options[] = {
    KEY_OPTIONS,
    {"volume-key-file", IMG_LUKS_VOLUME_KEY_FILE, "FILE", 0, "Instead: the volume key itself", 0},
    {"volume-key-fd", IMG_LUKS_VOLUME_KEY_FD, "N", 0, "The same from descriptor N", 0},
    {"slot", IMG_LUKS_SLOT, "N", 0, "Put it into this keyslot (default: the first free one)", 0},
    NEW_KEY_OPTIONS,
    {0},
};

static const struct argp add_argp = {
    .options = add_options,
    .parser = img_luks_parse,
    .args_doc = "IMAGE",
    .doc = "Adds a passphrase. What is not given is asked for.\v" EXIT_CODES,
};

static int add_command(int argc, char **argv)
{
    return run(argc, argv, "luks add-key", &add_argp, add_key);
}

static const struct argp_option change_options[] = {KEY_OPTIONS, NEW_KEY_OPTIONS, {0}};

static const struct argp change_argp = {
    .options = change_options,
    .parser = img_luks_parse,
    .args_doc = "IMAGE",
    .doc = "Puts a new passphrase in the place of an old one.\v"
           "Whenever the power fails, the volume opens with the old or with the new one. " EXIT_CODES,
};

static int change_command(int argc, char **argv)
{
    return run(argc, argv, "luks change-key", &change_argp, change_key);
}

static const struct argp_option remove_options[] = {
    KEY_OPTIONS,
    {"slot", IMG_LUKS_SLOT, "N", 0, "Instead of a passphrase: the keyslot's number", 0},
    {"json", IMG_LUKS_JSON, NULL, 0, "Print the header as JSON afterwards", 0},
    {0},
};

static const struct argp remove_argp = {
    .options = remove_options,
    .parser = img_luks_parse,
    .args_doc = "IMAGE",
    .doc = "Removes a passphrase and overwrites its keyslot, unless it is the last one.\v" EXIT_CODES,
};

static int remove_command(int argc, char **argv)
{
    return run(argc, argv, "luks remove-key", &remove_argp, remove_key);
}

static const struct argp_option erase_options[] = {
    {"yes", IMG_LUKS_YES, NULL, 0, "Yes, the data shall be lost", 0},
    {"json", IMG_LUKS_JSON, NULL, 0, "Print the header as JSON afterwards", 0},
    {0},
};

static const struct argp erase_argp = {
    .options = erase_options,
    .parser = img_luks_parse,
    .args_doc = "IMAGE",
    .doc = "Overwrites all keyslots: the data is lost for whoever has no copy of the header or of the volume key.\v"
           "A program that has the volume open goes on until it closes it. " EXIT_CODES,
};

static int erase_command(int argc, char **argv)
{
    return run(argc, argv, "luks erase", &erase_argp, erase);
}

const struct img_command img_luks_add_key = {
    .name = "add-key", .help = "adds a passphrase", .argp = &add_argp, .run = add_command};
const struct img_command img_luks_change_key = {
    .name = "change-key", .help = "replaces a passphrase", .argp = &change_argp, .run = change_command};
const struct img_command img_luks_remove_key = {
    .name = "remove-key", .help = "removes a passphrase", .argp = &remove_argp, .run = remove_command};
const struct img_command img_luks_erase = {
    .name = "erase", .help = "overwrites all keyslots", .argp = &erase_argp, .run = erase_command};
