/* Making a header: see luks_change.h.
 *
 * What was there before may be a header, too: its copies are overwritten first, so that no power cut leaves one of the
 * old ones beside new areas. */
#include <errno.h>
#include <inttypes.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "nbd/luks1.h"
#include "nbd/luks2_json.h"
#include "nbd/luks_change.h"
#include "node/base/uuid.h"

enum {
    DIGEST_MS = 125,
    AREA_ALIGN_BYTES = 4096,
};

static const uint64_t luks1_payload = 2 << 20, luks2_payload = 16 << 20, payload_align = 4096;

static int check(const struct luks_format *f, uint64_t device_bytes, struct err *err)
{
    if (f->version != 1 && f->version != 2)
        return err_set(err, EINVAL, "LUKS has the versions 1 and 2");
    if (f->key_bytes != 32 && f->key_bytes != 64)
        return err_set(err, EINVAL, "a volume key of %u bits: aes-xts has 256 or 512", f->key_bytes * 8);
    if (f->volume_key && f->volume_key->len_bytes != f->key_bytes)
        return err_set(err, EINVAL, "the volume key has %zu bytes, not %u", f->volume_key->len_bytes, f->key_bytes);
    if (f->version == 1 && f->sector_bytes != 512)
        return err_set(err, EINVAL, "LUKS1 has sectors of 512 bytes");
    if (f->version == 1 && f->label && *f->label)
        return err_set(err, EINVAL, "LUKS1 has no label");
    if (f->label && strlen(f->label) >= LUKS_LABEL_BYTES)
        return err_set(err, EINVAL, "a label has at most %d bytes", LUKS_LABEL_BYTES - 1);
    if (f->uuid && strlen(f->uuid) != UUID_TEXT_BYTES - 1)
        return err_set(err, EINVAL, "a UUID has %d letters", UUID_TEXT_BYTES - 1);
    if (f->payload_offset % payload_align)
        return err_set(err, EINVAL, "the data must begin at a multiple of %" PRIu64, payload_align);
    if (f->payload_offset > device_bytes)
        return err_set(err, ENOSPC, "the device has %" PRIu64 " bytes, and the data would begin at %" PRIu64,
                       device_bytes, f->payload_offset);
    return 0;
}

static int fill_digest(struct luks_header *h, const struct luks_format *f, const struct luks_key *key, struct err *err)
{
    struct luks_digest *d = &h->digest;
    struct luks_kdf kdf = {.type = LUKS_PBKDF2, .iterations = f->digest_iterations, .salt_bytes = 32};
    const char *hash = f->version == 1 ? f->cost.kdf.hash : "sha256";
    memcpy(kdf.hash, hash, strlen(hash) + 1);
    int rc = kdf.iterations ? 0 : luks_kdf_tune(&kdf, DIGEST_MS, err);
    if (rc)
        return rc;
    if (RAND_bytes(kdf.salt, 32) != 1)
        return err_set(err, EIO, "there are no random numbers");
    d->iterations = kdf.iterations;
    d->salt_bytes = 32;
    d->value_bytes = h->version == 1 ? 20 : 32;
    memcpy(d->hash, kdf.hash, sizeof d->hash);
    memcpy(d->salt, kdf.salt, 32);
    return luks_kdf_run(&kdf, key->bytes, key->len_bytes, d->value, d->value_bytes, err);
}

/* LUKS1's areas have their places from the start. */
static int lay_out(const struct luks_format *f, struct luks_header *h, struct err *err)
{
    uint64_t area = (luks_area_used_bytes(h->key_bytes) + AREA_ALIGN_BYTES - 1) / AREA_ALIGN_BYTES * AREA_ALIGN_BYTES;
    h->payload_offset = f->payload_offset ? f->payload_offset : f->version == 1 ? luks1_payload : luks2_payload;
    uint64_t start = f->version == 1 ? AREA_ALIGN_BYTES : 2 * LUKS2_COPY_MIN;
    uint64_t slots = f->version == 1 ? LUKS1_SLOTS : 1;
    if (h->payload_offset < start + slots * area)
        return err_set(err, EINVAL, "the data would begin at %" PRIu64 ", and the header needs %" PRIu64 " bytes",
                       h->payload_offset, start + slots * area);
    if (f->version == 1 && h->payload_offset / 512 > UINT32_MAX)
        return err_set(err, EINVAL, "LUKS1's data begins below 2 TiB");
    h->key_areas = (struct luks_area){start, h->payload_offset - start};
    if (f->version == 2 && h->key_areas.size_bytes > (128 << 20))
        h->key_areas.size_bytes = 128 << 20; /* more than 32 slots need */
    for (unsigned i = 0; i < LUKS1_SLOTS && f->version == 1; i++)
        h->slots[i].area = (struct luks_area){start + i * area, luks_area_used_bytes(h->key_bytes)};
    return 0;
}

/* Overwrites what could be taken for a header. */
static int clear_old(struct luks_io *io, uint64_t payload_offset, struct err *err)
{
    static const uint8_t zeroes[LUKS2_BINARY_BYTES];
    int rc = luks_io_write(io, "over an old header", 0, zeroes, sizeof zeroes, err);
    for (uint64_t at = LUKS2_COPY_MIN; at <= LUKS2_COPY_MAX && at + sizeof zeroes <= payload_offset && !rc; at *= 2)
        rc = luks_io_write(io, "over an old header", at, zeroes, sizeof zeroes, err);
    return rc ? rc : luks_io_flush(io, "the clearing of an old header", err);
}

static int first_header(struct luks_volume *v, struct err *err)
{
    if (v->header.version == 1)
        return 0; /* the first slot writes it */
    v->json = luks2_json_new(&v->header, LUKS2_COPY_MIN);
    if (!v->json)
        return err_set(err, ENOMEM, "no memory for a header");
    v->binary = (struct luks2_binary){.copy_bytes = LUKS2_COPY_MIN, .hash = "sha256"};
    memcpy(v->binary.uuid, v->header.uuid, sizeof v->binary.uuid);
    memcpy(v->binary.label, v->header.label, sizeof v->binary.label);
    return 0;
}

static int describe(const struct luks_format *f, struct luks_header *h, struct err *err)
{
    char uuid[UUID_TEXT_BYTES];
    h->version = f->version;
    h->key_bytes = f->key_bytes;
    h->sector_bytes = f->sector_bytes;
    h->slot_count = f->version == 1 ? LUKS1_SLOTS : LUKS2_SLOTS;
    uuid_make(uuid);
    snprintf(h->uuid, sizeof h->uuid, "%s", f->uuid ? f->uuid : uuid);
    snprintf(h->label, sizeof h->label, "%s", f->label ? f->label : "");
    return lay_out(f, h, err);
}

int luks_change_format(struct luks_io *io, const struct luks_format *f, const struct luks_key *passphrase,
                       struct luks_volume *volume, struct err *err)
{
    struct luks_volume v = {.io = io};
    struct luks_key key = {0};
    int slot, rc = check(f, io->size_bytes, err);
    if (!rc)
        rc = luks_key_new(f->key_bytes, &key, err);
    if (!rc && f->volume_key)
        memcpy(key.bytes, f->volume_key->bytes, f->key_bytes);
    else if (!rc && RAND_priv_bytes(key.bytes, (int)f->key_bytes) != 1)
        rc = err_set(err, EIO, "there are no random numbers");
    if (!rc)
        rc = describe(f, &v.header, err);
    if (!rc)
        rc = luks_header_check(&v.header, io->size_bytes, err);
    if (!rc)
        rc = fill_digest(&v.header, f, &key, err);
    if (!rc)
        rc = first_header(&v, err);
    if (!rc)
        rc = clear_old(io, v.header.payload_offset, err);
    if (!rc)
        rc = luks_change_add(&v, &key, passphrase, &f->cost, 0, &slot, err);
    luks_key_fini(&key);
    if (rc)
        luks_volume_fini(&v);
    else
        *volume = v;
    return rc;
}
