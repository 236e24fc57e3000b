/* See img_luks.h. */
#include "nbd/img_luks.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd/luks_claim.h"

/* ---- arguments ---- */

enum { KIB = 1024, DEVICE_KEEP_BYTES = 4 << 20 };

void img_luks_arguments_init(struct img_luks_arguments *a)
{
    *a = (struct img_luks_arguments){
        .key.name = "--key", .fresh_key.name = "--new-key", .volume_key.name = "--volume-key", .slot = -1};
    a->format = (struct luks_format){.version = 2, .key_bytes = 64, .sector_bytes = 512};
    a->cost = luks_cost_default(2);
}

static error_t parse_number(struct img_luks_arguments *a, const char *option, const char *value, uint64_t min,
                            uint64_t max, uint32_t *to)
{
    uint64_t number = 0;
    error_t rc = img_arguments_number(&a->common, option, value, min, max, &number);
    if (!rc)
        *to = (uint32_t)number;
    return rc;
}

static error_t parse_fd(struct img_luks_arguments *a, const char *option, const char *value, int *fd)
{
    uint32_t number = 0;
    error_t rc = parse_number(a, option, value, 0, 65535, &number);
    if (!rc && !number) /* 0 stands for none; a copy is as good */
        number = (uint32_t)fcntl(0, F_DUPFD_CLOEXEC, 3);
    *fd = (int)number;
    return rc;
}

static error_t parse_chosen(struct img_luks_arguments *a, int key, const char *value)
{
    static const char *const kdfs[] = {"pbkdf2", "argon2i", "argon2id", NULL}, *const types[] = {"luks1", "luks2",
                                                                                                 NULL};
    static const char *const bits[] = {"256", "512", NULL}, *const sectors[] = {"512", "1024", "2048", "4096", NULL};
    static const char *const hashes[] = {"sha1", "sha224", "sha256", "sha384", "sha512", NULL};
    int choice = 0;
    error_t rc = 0;
    switch (key) {
    case IMG_LUKS_KDF:
        rc = img_arguments_choice(&a->common, "--kdf", value, kdfs, &choice);
        a->cost.kdf.type = (enum luks_kdf_type)choice;
        a->kdf_given = true;
        return rc;
    case IMG_LUKS_HASH:
        rc = img_arguments_choice(&a->common, "--hash", value, hashes, &choice);
        strcpy(a->cost.kdf.hash, hashes[choice]);
        return rc;
    case IMG_LUKS_TYPE:
        rc = img_arguments_choice(&a->common, "--type", value, types, &choice);
        a->format.version = (unsigned)choice + 1;
        return rc;
    case IMG_LUKS_KEY_BITS:
        rc = img_arguments_choice(&a->common, "--key-bits", value, bits, &choice);
        a->format.key_bytes = choice ? 64 : 32;
        return rc;
    case IMG_LUKS_SECTOR_SIZE:
        rc = img_arguments_choice(&a->common, "--sector-size", value, sectors, &choice);
        a->format.sector_bytes = 512u << choice;
        return rc;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_measured(struct img_luks_arguments *a, int key, const char *value)
{
    uint64_t bytes = 0;
    uint32_t slot = 0;
    error_t rc = 0;
    switch (key) {
    case IMG_LUKS_SLOT:
        rc = parse_number(a, "--slot", value, 0, LUKS_SLOTS_MAX - 1, &slot);
        a->slot = (int)slot;
        return rc;
    case IMG_LUKS_TIME:
        return parse_number(a, "--time", value, 1, 60000, &a->cost.target_ms);
    case IMG_LUKS_ITERATIONS:
        return parse_number(a, "--iterations", value, 1, LUKS_ITERATIONS_MAX, &a->cost.kdf.iterations);
    case IMG_LUKS_MEMORY:
        rc = img_arguments_size(&a->common, "--memory", value, &bytes);
        a->cost.kdf.memory_kib = bytes / KIB > UINT32_MAX ? UINT32_MAX : (uint32_t)(bytes / KIB);
        return rc;
    case IMG_LUKS_LANES:
        return parse_number(a, "--lanes", value, 1, LUKS_ARGON2_LANES_MAX, &a->cost.kdf.lanes);
    case IMG_LUKS_OFFSET:
        return img_arguments_size(&a->common, "--offset", value, &a->format.payload_offset);
    case IMG_LUKS_SIZE:
        return img_arguments_size(&a->common, "--size", value, &a->size_bytes);
    default:
        return parse_chosen(a, key, value);
    }
}

error_t img_luks_parse(int key, char *value, struct argp_state *state)
{
    struct img_luks_arguments *a = state->input;
    switch (key) {
    case IMG_LUKS_KEY_FILE:
        a->key.file = value;
        return 0;
    case IMG_LUKS_NEW_KEY_FILE:
        a->fresh_key.file = value;
        return 0;
    case IMG_LUKS_VOLUME_KEY_FILE:
        a->volume_key.file = value;
        return 0;
    case IMG_LUKS_KEY_FD:
        return parse_fd(a, "--key-fd", value, &a->key.fd);
    case IMG_LUKS_NEW_KEY_FD:
        return parse_fd(a, "--new-key-fd", value, &a->fresh_key.fd);
    case IMG_LUKS_VOLUME_KEY_FD:
        return parse_fd(a, "--volume-key-fd", value, &a->volume_key.fd);
    case IMG_LUKS_LABEL:
        a->format.label = value;
        return 0;
    case IMG_LUKS_UUID:
        a->format.uuid = value;
        return 0;
    case IMG_LUKS_FORCE:
        a->force = true;
        return 0;
    case IMG_LUKS_REPAIR:
        a->repair = true;
        return 0;
    case IMG_LUKS_YES:
        a->yes = true;
        return 0;
    case IMG_LUKS_JSON:
        a->json = true;
        return 0;
    default:
        return parse_measured(a, key, value);
    }
}

bool img_luks_has_key(const struct img_luks_key *key)
{
    return key->file || key->fd;
}

int img_luks_read_key(const struct img_luks_key *given, const char *prompt, bool twice, struct luks_key *key,
                      struct err *err)
{
    struct luks_key again = {0};
    if (given->file && given->fd)
        return err_set(err, EINVAL, "%s-file and %s-fd: choose one", given->name, given->name);
    if (given->file)
        return luks_key_read_file(given->file, key, err);
    if (given->fd)
        return luks_key_read_descriptor(given->fd, key, err);
    int rc = luks_key_ask(prompt, key, err);
    if (rc == -ENXIO)
        return err_set(err, ENXIO, "there is no terminal to ask for the passphrase: give %s-file or %s-fd", given->name,
                       given->name);
    if (rc || !twice)
        return rc;
    rc = luks_key_ask("Once more: ", &again, err);
    if (!rc && (again.len_bytes != key->len_bytes || CRYPTO_memcmp(again.bytes, key->bytes, key->len_bytes) != 0))
        rc = err_set(err, EINVAL, "the two passphrases differ");
    luks_key_fini(&again);
    if (rc)
        luks_key_fini(key);
    return rc;
}

struct luks_cost img_luks_cost(const struct img_luks_arguments *a, unsigned version)
{
    struct luks_cost cost = a->cost;
    if (!a->kdf_given)
        cost.kdf.type = luks_cost_default(version).kdf.type;
    return cost;
}

/* ---- the image ---- */

/* A stack that is the file, open, without the claim on its data. */
static int open_claimed(struct img_luks *luks, const char *path, bool change, struct err *err)
{
    luks->fd = open(path, (change ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (luks->fd < 0)
        return err_set(err, errno, "'%s': %s", path, strerror(errno));
    int rc = luks_claim(luks->fd, change, path, err);
    if (rc)
        return rc;
    json_t *json =
        json_pack("{s:s, s:s%, s:i, s:b}", "driver", "raw", "file", path, strlen(path), "fd", luks->fd, "no-lock", 1);
    char *stack = json ? json_dumps(json, 0) : NULL;
    rc = stack ? blk_open(&luks->session.env, stack, change ? 0 : BLK_OPEN_READ_ONLY, &luks->blk, err)
               : err_set(err, EINVAL, "'%s' is not UTF-8", path);
    free(stack);
    json_decref(json);
    return rc;
}

static int open_image(struct img_luks *luks, const char *text, unsigned how, struct err *err)
{
    struct img_location location = {0};
    int rc = img_location_parse(text, &location, err);
    if (!rc && location.path && !(how & IMG_LUKS_EXCLUSIVE))
        rc = open_claimed(luks, location.path, how & IMG_LUKS_CHANGE, err);
    else if (!rc)
        rc = blk_open(&luks->session.env, location.stack, how & IMG_LUKS_CHANGE ? 0 : BLK_OPEN_READ_ONLY, &luks->blk,
                      err);
    img_location_fini(&location);
    return rc;
}

int img_luks_open(struct img_luks *luks, const char *text, unsigned how, struct err *err)
{
    *luks = (struct img_luks){.fd = -1};
    int rc = img_session_init(&luks->session, DEVICE_KEEP_BYTES, err);
    if (rc)
        return rc;
    rc = open_image(luks, text, how, err);
    if (!rc) {
        luks_io_blk(luks->blk, &luks->io);
        if (!(how & IMG_LUKS_NO_HEADER) && (rc = luks_volume_load(&luks->io.io, &luks->volume, err)))
            err_prefix(err, "'%s'", text);
    }
    if (rc)
        img_luks_close(luks);
    return rc;
}

void img_luks_close(struct img_luks *luks)
{
    luks_volume_fini(&luks->volume);
    img_session_close(&luks->session, luks->blk);
    img_session_fini(&luks->session);
    if (luks->fd >= 0)
        close(luks->fd);
}

/* ---- the header in JSON ---- */

static json_t *describe_slot(unsigned number, const struct luks_slot *s)
{
    const struct luks_kdf *k = &s->kdf;
    json_t *json = json_pack("{s:i, s:s, s:I, s:I}", "number", (int)number, "kdf", luks_kdf_name(k->type),
                             "area_offset", (json_int_t)s->area.offset, "area_bytes", (json_int_t)s->area.size_bytes);
    if (k->type == LUKS_PBKDF2)
        json_object_set_new(json, "hash", json_string(k->hash));
    json_object_set_new(json, "iterations", json_integer(k->iterations));
    if (k->type != LUKS_PBKDF2) {
        json_object_set_new(json, "memory_kib", json_integer(k->memory_kib));
        json_object_set_new(json, "lanes", json_integer(k->lanes));
    }
    json_object_set_new(json, "priority", json_integer(s->priority));
    json_object_set_new(json, "opens_data", json_boolean(s->bound && !*s->refusal));
    if (*s->refusal)
        json_object_set_new(json, "refusal", json_string(s->refusal));
    return json;
}

static json_t *describe_copy(const struct luks_copy *copy)
{
    static const char *const states[] = {"good", "old", "damaged"};
    json_t *json = json_pack("{s:s, s:I}", "state", states[copy->state], "sequence", (json_int_t)copy->binary.sequence);
    if (copy->state == LUKS_COPY_DAMAGED)
        json_object_set_new(json, "why", json_string(copy->why.text));
    return json;
}

json_t *img_luks_describe(const struct luks_volume *v)
{
    const struct luks_header *h = &v->header;
    json_t *slots = json_array();
    for (unsigned i = 0; i < h->slot_count; i++)
        if (h->slots[i].used)
            json_array_append_new(slots, describe_slot(i, &h->slots[i]));
    json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "version", (int)h->version, "uuid", h->uuid,
                             "label", h->label, "cipher", "aes-xts-plain64", "key_bits", (json_int_t)h->key_bytes * 8,
                             "sector_bytes", (json_int_t)h->sector_bytes, "data_offset", (json_int_t)h->payload_offset,
                             "data_bytes", (json_int_t)h->payload_bytes);
    if (!json) /* a foreign text that is not UTF-8 */
        json = json_pack("{s:i, s:s}", "version", (int)h->version, "uuid", "?");
    if (h->version == 2)
        json_object_set_new(json, "headers",
                            json_pack("[o, o]", describe_copy(&v->copies[0]), describe_copy(&v->copies[1])));
    json_object_set_new(json, "keyslots", slots);
    return json;
}
