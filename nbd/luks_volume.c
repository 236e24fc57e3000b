/* See luks_volume.h. */
#include "nbd/luks_volume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd/luks1.h"
#include "nbd/luks2_json.h"

/* ---- LUKS2 ---- */

/* Reads the copy that begins at offset; *text is its JSON, the caller's to free. */
static int read_copy(struct luks_io *io, bool second, uint64_t offset, struct luks_copy *copy, char **text)
{
    uint8_t start[LUKS2_BINARY_BYTES], *whole = NULL;
    const char *what = second ? "the second header" : "the first header";
    int rc = luks_io_read(io, what, offset, start, sizeof start, &copy->why);
    if (!rc)
        rc = luks2_binary_decode(start, second, offset, &copy->binary, &copy->why);
    if (!rc && !(whole = malloc(copy->binary.copy_bytes)))
        rc = err_set(&copy->why, ENOMEM, "no memory for a header");
    if (!rc)
        rc = luks_io_read(io, what, offset, whole, copy->binary.copy_bytes, &copy->why);
    /* the device may be somebody's who changes it meanwhile: judge what will be used */
    if (!rc && memcmp(whole, start, sizeof start) != 0)
        rc = err_set(&copy->why, EAGAIN, "it changed while it was read");
    if (!rc)
        rc = luks2_copy_check(whole, &copy->binary, &copy->why);
    copy->state = rc ? LUKS_COPY_DAMAGED : LUKS_COPY_GOOD;
    if (!rc) {
        size_t text_bytes = copy->binary.copy_bytes - LUKS2_BINARY_BYTES;
        memmove(whole, whole + LUKS2_BINARY_BYTES, text_bytes);
        *text = (char *)whole;
        return 0;
    }
    free(whole);
    return rc;
}

/* The second copy is where the first one's size says; if that one is lost, at one of nine places. */
static void read_copies(struct luks_io *io, struct luks_copy *copies, char **texts)
{
    bool size_known = read_copy(io, false, 0, &copies[0], &texts[0]) == 0 || copies[0].binary.copy_bytes;
    uint64_t from = size_known ? copies[0].binary.copy_bytes : LUKS2_COPY_MIN;
    uint64_t to = size_known ? from : LUKS2_COPY_MAX;
    for (uint64_t at = from; at <= to; at *= 2) {
        struct luks_copy copy = {0};
        int rc = read_copy(io, true, at, &copy, &texts[1]);
        copies[1] = at == from || !rc ? copy : copies[1];
        if (!rc)
            return;
    }
}

static int take_newest(struct luks_volume *v, char **texts, struct err *err)
{
    struct luks_copy *c = v->copies;
    bool good[2] = {c[0].state == LUKS_COPY_GOOD, c[1].state == LUKS_COPY_GOOD};
    if (!good[0] && !good[1])
        return err_set(err, EINVAL, "both headers are damaged: the first: %.150s; the second: %.150s", c[0].why.text,
                       c[1].why.text);
    int newest = !good[0] || (good[1] && c[1].binary.sequence > c[0].binary.sequence);
    if (good[0] && good[1] && c[0].binary.sequence != c[1].binary.sequence)
        c[!newest].state = LUKS_COPY_OLD;
    else if (good[0] && good[1] && strcmp(texts[0], texts[1]) != 0)
        c[1].state = LUKS_COPY_OLD;
    v->binary = c[newest].binary;
    v->json = luks2_json_parse(texts[newest], v->binary.copy_bytes - LUKS2_BINARY_BYTES, err);
    if (!v->json)
        return -EINVAL;
    int rc = luks2_json_read(v->json, v->binary.copy_bytes, &v->header, err);
    if (rc)
        return rc;
    memcpy(v->header.uuid, v->binary.uuid, sizeof v->header.uuid);
    memcpy(v->header.label, v->binary.label, sizeof v->header.label);
    return luks_header_check(&v->header, v->io->size_bytes, err);
}

static int load2(struct luks_volume *v, struct err *err)
{
    char *texts[2] = {NULL, NULL};
    read_copies(v->io, v->copies, texts);
    /* somebody may be writing them, one after the other: the first is whole again when the second one is not */
    if (!texts[0] && !texts[1])
        read_copies(v->io, v->copies, texts);
    /* a text need not end: a strcmp() of two of them must */
    for (int i = 0; i < 2; i++)
        if (texts[i] && !memchr(texts[i], 0, v->copies[i].binary.copy_bytes - LUKS2_BINARY_BYTES))
            texts[i][v->copies[i].binary.copy_bytes - LUKS2_BINARY_BYTES - 1] = 0;
    int rc = take_newest(v, texts, err);
    free(texts[0]);
    free(texts[1]);
    return rc;
}

/* ---- either version ---- */

/* What comes from a header goes to terminals and logs. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

static void make_all_printable(struct luks_volume *v, struct err *err)
{
    make_printable(v->header.uuid);
    make_printable(v->header.label);
    for (unsigned i = 0; i < LUKS_SLOTS_MAX; i++)
        make_printable(v->header.slots[i].refusal);
    for (int i = 0; i < 2; i++)
        make_printable(v->copies[i].why.text);
    if (err)
        make_printable(err->text);
}

int luks_volume_load(struct luks_io *io, struct luks_volume *volume, struct err *err)
{
    static const uint8_t luks1_magic[] = {'L', 'U', 'K', 'S', 0xba, 0xbe, 0, 1};
    uint8_t start[LUKS1_HEADER_BYTES];
    struct luks_volume v = {.io = io};
    int rc = luks_io_read(io, "the header", 0, start, sizeof start, err);
    if (rc)
        return rc;
    if (memcmp(start, luks1_magic, sizeof luks1_magic) == 0)
        rc = luks1_decode(start, io->size_bytes, &v.header, err);
    else
        rc = load2(&v, err);
    make_all_printable(&v, rc ? err : NULL);
    if (rc)
        luks_volume_fini(&v);
    else
        *volume = v;
    return rc;
}

void luks_volume_fini(struct luks_volume *v)
{
    json_decref(v->json);
    v->json = NULL;
}

/* ---- unlocking ---- */

/* All that is computed for one slot. */
struct attempt {
    const struct luks_header *header;
    const struct luks_slot *slot;
    const struct luks_key *passphrase;
    struct luks_key area_key, area, key;
    struct err *err;
    int result;
};

static int decrypt_area(struct attempt *a)
{
    struct luks_cipher *cipher = NULL;
    int rc = luks_cipher_new(a->area_key.bytes, a->area_key.len_bytes, LUKS_SECTOR_MIN, &cipher, a->err);
    if (rc)
        return rc;
    struct iovec iov = {a->area.bytes, a->area.len_bytes};
    rc = luks_cipher_decrypt(cipher, 0, &iov, 1, 0, iov.iov_len);
    luks_cipher_free(cipher);
    return rc ? err_set(a->err, -rc, "decrypting a keyslot: %s", strerror(-rc)) : 0;
}

static int merge(struct attempt *a)
{
    const EVP_MD *hash = luks_hash(a->slot->af_hash, a->err);
    if (!hash)
        return -EOPNOTSUPP;
    if (luks_af_merge(hash, a->area.bytes, a->slot->key_bytes, LUKS_AF_STRIPES, a->key.bytes))
        return err_set(a->err, EIO, "merging a key failed");
    return 0;
}

static void compute(void *argument)
{
    struct attempt *a = argument;
    const struct luks_key *p = a->passphrase;
    int rc = luks_kdf_run(&a->slot->kdf, p->bytes, p->len_bytes, a->area_key.bytes, a->area_key.len_bytes, a->err);
    if (!rc)
        rc = decrypt_area(a);
    if (!rc)
        rc = merge(a);
    if (!rc)
        rc = luks_header_verify(a->header, a->key.bytes, a->key.len_bytes, a->err);
    a->result = rc;
}

static void run_aside(const struct luks_volume *v, void (*call)(void *argument), void *argument)
{
    if (v->aside)
        v->aside(v->aside_context, call, argument);
    else
        call(argument);
}

int luks_volume_open_slot(struct luks_volume *v, unsigned slot, const struct luks_key *passphrase, struct luks_key *key,
                          struct err *err)
{
    const struct luks_slot *s = &v->header.slots[slot];
    struct attempt a = {.header = &v->header, .slot = s, .passphrase = passphrase, .err = err};
    if (slot >= v->header.slot_count || !s->used)
        return err_set(err, ENOENT, "there is no keyslot %u", slot);
    if (*s->refusal)
        return err_set(err, EOPNOTSUPP, "keyslot %u cannot be opened: %s", slot, s->refusal);
    if (!s->bound)
        return err_set(err, EINVAL, "keyslot %u holds a key that is not the volume's", slot);
    int rc = luks_kdf_check(&s->kdf, err);
    if (!rc)
        rc = luks_key_new(s->area_key_bytes, &a.area_key, err);
    if (!rc)
        rc = luks_key_new(luks_area_used_bytes(s->key_bytes), &a.area, err);
    if (!rc)
        rc = luks_key_new(s->key_bytes, &a.key, err);
    if (!rc)
        rc = luks_io_read(v->io, "a keyslot", s->area.offset, a.area.bytes, a.area.len_bytes, err);
    if (!rc) {
        run_aside(v, compute, &a);
        rc = a.result == -EACCES ? err_set(err, EACCES, "keyslot %u does not open with this key", slot) : a.result;
    }
    luks_key_fini(&a.area_key);
    luks_key_fini(&a.area);
    if (rc)
        luks_key_fini(&a.key);
    else
        *key = a.key;
    return rc;
}

static void verify(void *argument)
{
    struct attempt *a = argument;
    a->result = luks_header_verify(a->header, a->passphrase->bytes, a->passphrase->len_bytes, a->err);
}

int luks_volume_verify(struct luks_volume *v, const struct luks_key *key, struct err *err)
{
    struct attempt a = {.header = &v->header, .passphrase = key, .err = err};
    run_aside(v, verify, &a);
    return a.result;
}

static int try_all(struct luks_volume *v, unsigned priority, const struct luks_key *passphrase, int *slot,
                   struct luks_key *key, struct err *why)
{
    int rc = -EACCES;
    for (unsigned i = 0; i < v->header.slot_count && rc; i++) {
        const struct luks_slot *s = &v->header.slots[i];
        struct err err = {0};
        if (!s->used || !s->bound || s->priority != priority)
            continue;
        rc = luks_volume_open_slot(v, i, passphrase, key, &err);
        if (!rc)
            *slot = (int)i;
        else if (rc != -EACCES && !why->code)
            *why = err;
    }
    return rc;
}

int luks_volume_unlock(struct luks_volume *v, const struct luks_key *passphrase, int wanted, int *slot,
                       struct luks_key *key, struct err *err)
{
    struct err why = {0};
    if (wanted >= 0) {
        *slot = wanted;
        return luks_volume_open_slot(v, (unsigned)wanted, passphrase, key, err);
    }
    int rc = try_all(v, 2, passphrase, slot, key, &why);
    if (rc)
        rc = try_all(v, 1, passphrase, slot, key, &why);
    if (rc && why.code)
        return err_set(err, why.code, "no keyslot opened with this key; %s", why.text);
    return rc ? err_set(err, EACCES, "no keyslot opens with this key") : 0;
}
