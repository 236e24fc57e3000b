/* See luks2_json.h. */
#include "nbd/luks2_json.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/base/err.h"

enum { OBJECTS_MAX = 32, AREA_ALIGN_BYTES = 4096, BASE64_MAX = 96, NUMBER_TEXT = 24 };

static const char cipher_name[] = "aes-xts-plain64";

/* ---- values ---- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static bool digits_only(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 20;
}

/* A 64-bit number, written as text. */
static bool read_u64(const json_t *object, const char *name, uint64_t *value)
{
    const char *text = text_of(object, name);
    if (!digits_only(text))
        return false;
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return errno == 0;
}

static bool read_u32(const json_t *object, const char *name, uint32_t *value)
{
    const json_t *v = json_object_get(object, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
        return false;
    *value = (uint32_t)json_integer_value(v);
    return true;
}

static bool read_name(const json_t *object, const char *name, char *to, size_t size)
{
    const char *text = text_of(object, name);
    if (!*text || strlen(text) >= size)
        return false;
    snprintf(to, size, "%s", text);
    return true;
}

static bool read_base64(const json_t *object, const char *name, uint8_t *to, size_t max_bytes, size_t *len_bytes)
{
    const char *text = text_of(object, name);
    size_t len = strlen(text);
    uint8_t decoded[BASE64_MAX];
    if (!len || len % 4 || len > BASE64_MAX)
        return false;
    size_t padding = (size_t)(text[len - 1] == '=') + (size_t)(text[len - 2] == '=');
    int n = EVP_DecodeBlock(decoded, (const unsigned char *)text, (int)len);
    if (n < (int)padding || (size_t)n - padding > max_bytes || (size_t)n == padding)
        return false;
    *len_bytes = (size_t)n - padding;
    memcpy(to, decoded, *len_bytes);
    return true;
}

/* The name of an object as its number, or -1. */
static int number_of(const char *name)
{
    if (!digits_only(name) || strlen(name) > 2 || (name[0] == '0' && name[1]))
        return -1;
    int n = name[0] - '0';
    n = name[1] ? 10 * n + name[1] - '0' : n;
    return n < OBJECTS_MAX ? n : -1;
}

static bool lists(const json_t *array, const char *name)
{
    size_t i;
    json_t *v;
    json_array_foreach (array, i, v)
        if (json_is_string(v) && strcmp(json_string_value(v), name) == 0)
            return true;
    return false;
}

json_t *luks2_json_parse(const char *text, size_t len_bytes, struct err *err)
{
    json_error_t where = {0};
    size_t len = strnlen(text, len_bytes);
    json_t *json = len < len_bytes ? json_loadb(text, len, JSON_REJECT_DUPLICATES, &where) : NULL;
    if (!json)
        err_set(err, EINVAL, "the header's JSON: %s",
                len < len_bytes ? "it is malformed" : "it has no end"); /* not what is in it: it may be noise */
    return json;
}

/* ---- reading: keyslots ---- */

static bool read_kdf(const json_t *kdf, struct luks_kdf *k)
{
    const char *type = text_of(kdf, "type");
    if (!read_base64(kdf, "salt", k->salt, sizeof k->salt, &k->salt_bytes))
        return false;
    if (strcmp(type, "pbkdf2") == 0) {
        k->type = LUKS_PBKDF2;
        return read_name(kdf, "hash", k->hash, sizeof k->hash) && read_u32(kdf, "iterations", &k->iterations);
    }
    k->type = strcmp(type, "argon2i") == 0 ? LUKS_ARGON2I : LUKS_ARGON2ID;
    return (k->type == LUKS_ARGON2I || strcmp(type, "argon2id") == 0) && read_u32(kdf, "time", &k->iterations) &&
           read_u32(kdf, "memory", &k->memory_kib) && read_u32(kdf, "cpus", &k->lanes);
}

/* Sound, but can we open it? */
static void find_refusal(const json_t *slot, const struct luks_slot *s, char *refusal, size_t size)
{
    const json_t *area = json_object_get(slot, "area"), *af = json_object_get(slot, "af");
    uint32_t stripes = 0;
    struct err err = {0};
    if (strcmp(text_of(slot, "type"), "luks2") != 0)
        snprintf(refusal, size, "its type is '%.40s', not 'luks2'", text_of(slot, "type"));
    else if (strcmp(text_of(area, "type"), "raw") != 0 || strcmp(text_of(area, "encryption"), cipher_name) != 0)
        snprintf(refusal, size, "its area's cipher is '%.40s', not '%s'", text_of(area, "encryption"), cipher_name);
    else if (strcmp(text_of(af, "type"), "luks1") != 0 || !read_u32(af, "stripes", &stripes) ||
             stripes != LUKS_AF_STRIPES)
        snprintf(refusal, size, "its splitter is not 'luks1' with %d stripes", LUKS_AF_STRIPES);
    else if (s->key_bytes < 1 || s->key_bytes > LUKS_AF_KEY_MAX)
        snprintf(refusal, size, "its key has %u bytes", s->key_bytes);
    else if (s->area_key_bytes != 32 && s->area_key_bytes != 64)
        snprintf(refusal, size, "its area's key has %u bytes, not 32 or 64", s->area_key_bytes);
    else if (s->area.size_bytes < luks_area_used_bytes(s->key_bytes))
        snprintf(refusal, size, "its area is too small for its key");
    else if (!luks_hash(s->af_hash, &err) || luks_kdf_check(&s->kdf, &err))
        snprintf(refusal, size, "%.150s", err.text);
}

static int read_slot(const char *name, const json_t *slot, struct luks_header *h, struct err *err)
{
    int number = number_of(name);
    const json_t *area = json_object_get(slot, "area"), *af = json_object_get(slot, "af");
    uint32_t priority = 1;
    if (number < 0)
        return err_set(err, EINVAL, "'%.40s' is no number of a keyslot (0 to %d)", name, LUKS2_SLOTS - 1);
    struct luks_slot *s = &h->slots[number];
    s->used = true;
    if (!read_u64(area, "offset", &s->area.offset) || !read_u64(area, "size", &s->area.size_bytes) ||
        !s->area.size_bytes || s->area.offset % AREA_ALIGN_BYTES || s->area.offset > INT64_MAX ||
        s->area.size_bytes > INT64_MAX)
        return err_set(err, EINVAL, "keyslot %d: its area has no offset and size, or they are wrong", number);
    if (json_object_get(slot, "priority") && (!read_u32(slot, "priority", &priority) || priority > 2))
        return err_set(err, EINVAL, "keyslot %d: its priority is not 0, 1 or 2", number);
    s->priority = priority;
    if (strcmp(text_of(slot, "type"), "reencrypt") == 0)
        return err_set(err, EOPNOTSUPP, "a reencryption is under way (keyslot %d): let cryptsetup finish it", number);
    if (!read_u32(slot, "key_size", &s->key_bytes) || !read_name(af, "hash", s->af_hash, sizeof s->af_hash) ||
        !read_u32(area, "key_size", &s->area_key_bytes) || !read_kdf(json_object_get(slot, "kdf"), &s->kdf)) {
        if (strcmp(text_of(slot, "type"), "luks2") == 0)
            return err_set(err, EINVAL, "keyslot %d: its numbers or names are missing or wrong", number);
        snprintf(s->refusal, sizeof s->refusal, "its type is '%.40s', not 'luks2'", text_of(slot, "type"));
        return 0;
    }
    find_refusal(slot, s, s->refusal, sizeof s->refusal);
    return 0;
}

/* ---- reading: the rest ---- */

static int read_segment(const json_t *segments, struct luks_header *h, struct err *err)
{
    const json_t *s = json_object_get(segments, "0");
    if (!s || json_object_size(segments) != 1)
        return err_set(err, EOPNOTSUPP, "%zu segments: only volumes of one, number 0, are supported",
                       json_object_size(segments));
    if (strcmp(text_of(s, "type"), "crypt") != 0)
        return err_set(err, EOPNOTSUPP, "a segment of type '%.40s': only 'crypt' is supported", text_of(s, "type"));
    if (json_object_get(s, "integrity"))
        return err_set(err, EOPNOTSUPP, "a segment with integrity ('%.40s') is not supported",
                       text_of(json_object_get(s, "integrity"), "type"));
    if (strcmp(text_of(s, "encryption"), cipher_name) != 0)
        return err_set(err, EOPNOTSUPP, "the cipher '%.60s' is not supported: only %s is", text_of(s, "encryption"),
                       cipher_name);
    h->payload_fixed = strcmp(text_of(s, "size"), "dynamic") != 0;
    if (!read_u64(s, "offset", &h->payload_offset) || !read_u64(s, "iv_tweak", &h->iv_tweak) ||
        !read_u32(s, "sector_size", &h->sector_bytes) || (h->payload_fixed && !read_u64(s, "size", &h->payload_bytes)))
        return err_set(err, EINVAL, "the segment's offset, size, iv_tweak or sector_size is missing or wrong");
    return 0;
}

static int read_digest(const char *name, const json_t *json, struct luks_header *h, struct err *err)
{
    struct luks_digest *d = &h->digest;
    const json_t *slots = json_object_get(json, "keyslots");
    char number[NUMBER_TEXT];
    d->number = number_of(name);
    if (d->number < 0)
        return err_set(err, EINVAL, "'%.40s' is no number of a digest", name);
    if (strcmp(text_of(json, "type"), "pbkdf2") != 0)
        return err_set(err, EOPNOTSUPP, "a digest of type '%.40s': only 'pbkdf2' is supported", text_of(json, "type"));
    if (!read_name(json, "hash", d->hash, sizeof d->hash) || !read_u32(json, "iterations", &d->iterations) ||
        !read_base64(json, "salt", d->salt, sizeof d->salt, &d->salt_bytes) ||
        !read_base64(json, "digest", d->value, sizeof d->value, &d->value_bytes) || d->value_bytes < 16)
        return err_set(err, EINVAL, "digest %d: its hash, iterations, salt or value is missing or wrong", d->number);
    for (unsigned i = 0; i < h->slot_count; i++) {
        snprintf(number, sizeof number, "%u", i);
        h->slots[i].bound = h->slots[i].used && lists(slots, number);
        if (h->slots[i].bound && !h->key_bytes)
            h->key_bytes = h->slots[i].key_bytes;
        if (h->slots[i].bound && h->slots[i].key_bytes != h->key_bytes)
            return err_set(err, EINVAL, "keyslots of one volume key say that it has %u and %u bytes", h->key_bytes,
                           h->slots[i].key_bytes);
    }
    return 0;
}

static int read_digests(const json_t *digests, struct luks_header *h, struct err *err)
{
    const char *name;
    json_t *d;
    /* jansson gives no iterator over what is const */
    json_object_foreach ((json_t *)(uintptr_t)digests, name, d)
        if (lists(json_object_get(d, "segments"), "0"))
            return read_digest(name, d, h, err);
    return err_set(err, EINVAL, "no digest speaks of the data");
}

static int read_config(const json_t *config, uint64_t copy_bytes, struct luks_header *h, struct err *err)
{
    uint64_t json_bytes, keys_bytes;
    const json_t *mandatory = json_object_get(json_object_get(config, "requirements"), "mandatory");
    if (json_array_size(mandatory))
        return err_set(err, EOPNOTSUPP, "it requires '%.60s', which is not supported",
                       json_string_value(json_array_get(mandatory, 0)) ? json_string_value(json_array_get(mandatory, 0))
                                                                       : "?");
    if (!read_u64(config, "json_size", &json_bytes) || json_bytes != copy_bytes - AREA_ALIGN_BYTES)
        return err_set(err, EINVAL, "config: json_size contradicts the size of the header");
    if (!read_u64(config, "keyslots_size", &keys_bytes) || keys_bytes % AREA_ALIGN_BYTES || keys_bytes > INT64_MAX / 2)
        return err_set(err, EINVAL, "config: keyslots_size is missing or wrong");
    h->key_areas = (struct luks_area){2 * copy_bytes, keys_bytes};
    return 0;
}

int luks2_json_read(const json_t *json, uint64_t copy_bytes, struct luks_header *h, struct err *err)
{
    const char *name;
    json_t *slot, *slots = json_object_get(json, "keyslots");
    const json_t *segments = json_object_get(json, "segments"), *digests = json_object_get(json, "digests");
    int rc = 0;
    h->version = 2;
    h->slot_count = LUKS2_SLOTS;
    if (!json_is_object(slots) || !json_is_object(segments) || !json_is_object(digests) ||
        json_object_size(slots) > OBJECTS_MAX || json_object_size(segments) > OBJECTS_MAX ||
        json_object_size(digests) > OBJECTS_MAX || json_object_size(json_object_get(json, "tokens")) > OBJECTS_MAX)
        return err_set(err, EINVAL, "keyslots, segments, digests or tokens are missing or more than %d", OBJECTS_MAX);
    rc = read_config(json_object_get(json, "config"), copy_bytes, h, err);
    json_object_foreach (slots, name, slot)
        if (!rc)
            rc = read_slot(name, slot, h, err);
    if (!rc)
        rc = read_segment(segments, h, err);
    if (!rc)
        rc = read_digests(digests, h, err);
    if (!rc && !h->key_bytes)
        h->key_bytes = 64; /* erased: no keyslot tells; the digest would not fit a shorter key */
    return rc;
}

/* ---- writing ---- */

static json_t *u64_text(uint64_t value)
{
    char text[NUMBER_TEXT];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return json_string(text);
}

static json_t *base64(const uint8_t *bytes, size_t len_bytes)
{
    unsigned char text[BASE64_MAX + 4];
    EVP_EncodeBlock(text, bytes, (int)len_bytes);
    return json_string((const char *)text);
}

static json_t *kdf_new(const struct luks_kdf *k)
{
    json_t *salt = base64(k->salt, k->salt_bytes);
    if (k->type == LUKS_PBKDF2)
        return json_pack("{s:s, s:s, s:I, s:o}", "type", "pbkdf2", "hash", k->hash, "iterations",
                         (json_int_t)k->iterations, "salt", salt);
    return json_pack("{s:s, s:I, s:I, s:I, s:o}", "type", luks_kdf_name(k->type), "time", (json_int_t)k->iterations,
                     "memory", (json_int_t)k->memory_kib, "cpus", (json_int_t)k->lanes, "salt", salt);
}

static json_t *slot_new(const struct luks_slot *s)
{
    json_t *json =
        json_pack("{s:s, s:I, s:{s:s, s:i, s:s}, s:{s:s, s:o, s:o, s:s, s:I}, s:o}", "type", "luks2", "key_size",
                  (json_int_t)s->key_bytes, "af", "type", "luks1", "stripes", LUKS_AF_STRIPES, "hash", s->af_hash,
                  "area", "type", "raw", "offset", u64_text(s->area.offset), "size", u64_text(s->area.size_bytes),
                  "encryption", cipher_name, "key_size", (json_int_t)s->area_key_bytes, "kdf", kdf_new(&s->kdf));
    if (json && s->priority != 1)
        json_object_set_new(json, "priority", json_integer((json_int_t)s->priority));
    return json;
}

int luks2_json_set_slot(json_t *json, const struct luks_header *h, unsigned number)
{
    char name[NUMBER_TEXT], digest[NUMBER_TEXT];
    snprintf(name, sizeof name, "%u", number);
    snprintf(digest, sizeof digest, "%d", h->digest.number);
    json_t *bound = json_object_get(json_object_get(json_object_get(json, "digests"), digest), "keyslots");
    if (json_object_set_new(json_object_get(json, "keyslots"), name, slot_new(&h->slots[number])) < 0)
        return -ENOMEM;
    return lists(bound, name) || json_array_append_new(bound, json_string(name)) == 0 ? 0 : -ENOMEM;
}

static void drop_from(json_t *objects, const char *slot)
{
    const char *name;
    json_t *object;
    json_object_foreach (objects, name, object) {
        json_t *slots = json_object_get(object, "keyslots");
        for (size_t i = json_array_size(slots); i-- > 0;) {
            const char *text = json_string_value(json_array_get(slots, i));
            if (text && strcmp(text, slot) == 0)
                json_array_remove(slots, i);
        }
    }
}

void luks2_json_drop_slot(json_t *json, unsigned number)
{
    char name[NUMBER_TEXT];
    snprintf(name, sizeof name, "%u", number);
    json_object_del(json_object_get(json, "keyslots"), name);
    drop_from(json_object_get(json, "digests"), name);
    drop_from(json_object_get(json, "tokens"), name);
}

json_t *luks2_json_new(const struct luks_header *h, uint64_t copy_bytes)
{
    const struct luks_digest *d = &h->digest;
    json_t *json = json_pack(
        "{s:{}, s:{}, s:{s:{s:s, s:o, s:o, s:o, s:s, s:I}}, s:{s:{s:s, s:[], s:[s], s:s, s:I, s:o, s:o}}, s:{s:o, "
        "s:o}}",
        "keyslots", "tokens", "segments", "0", "type", "crypt", "offset", u64_text(h->payload_offset), "size",
        h->payload_fixed ? u64_text(h->payload_bytes) : json_string("dynamic"), "iv_tweak", u64_text(h->iv_tweak),
        "encryption", cipher_name, "sector_size", (json_int_t)h->sector_bytes, "digests", "0", "type", "pbkdf2",
        "keyslots", "segments", "0", "hash", d->hash, "iterations", (json_int_t)d->iterations, "salt",
        base64(d->salt, d->salt_bytes), "digest", base64(d->value, d->value_bytes), "config", "json_size",
        u64_text(copy_bytes - AREA_ALIGN_BYTES), "keyslots_size", u64_text(h->key_areas.size_bytes));
    for (unsigned i = 0; i < h->slot_count && json; i++) {
        if (h->slots[i].used && luks2_json_set_slot(json, h, i)) {
            json_decref(json);
            return NULL;
        }
    }
    return json;
}
