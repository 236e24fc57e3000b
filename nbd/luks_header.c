/* See luks_header.h. */
#include "nbd/luks_header.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <string.h>

#include "node/base/err.h"

enum { SECTOR_BYTES = 512 };

uint64_t luks_area_used_bytes(uint32_t key_bytes)
{
    uint64_t bytes = (uint64_t)key_bytes * LUKS_AF_STRIPES;
    return (bytes + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
}

static bool inside(const struct luks_area *area, const struct luks_area *outer)
{
    return area->offset >= outer->offset && area->size_bytes <= outer->size_bytes &&
           area->offset - outer->offset <= outer->size_bytes - area->size_bytes;
}

static int check_areas(const struct luks_header *h, struct err *err)
{
    for (unsigned i = 0; i < h->slot_count; i++) {
        const struct luks_area *a = &h->slots[i].area;
        if (!a->size_bytes)
            continue;
        if (!inside(a, &h->key_areas))
            return err_set(err, EINVAL,
                           "keyslot %u: its area, %" PRIu64 " bytes at %" PRIu64 ", is not where keys may lie", i,
                           a->size_bytes, a->offset);
        for (unsigned j = 0; j < i; j++) {
            const struct luks_area *b = &h->slots[j].area;
            if (b->size_bytes && a->offset < b->offset + b->size_bytes && b->offset < a->offset + a->size_bytes)
                return err_set(err, EINVAL, "the areas of keyslots %u and %u overlap", j, i);
        }
    }
    return 0;
}

static int check_payload(struct luks_header *h, uint64_t device_bytes, struct err *err)
{
    uint64_t end_of_keys = h->key_areas.offset + h->key_areas.size_bytes;
    if (end_of_keys > device_bytes)
        return err_set(err, EINVAL, "the device has %" PRIu64 " bytes, and the keyslots end at %" PRIu64, device_bytes,
                       end_of_keys);
    if (h->payload_offset < end_of_keys)
        return err_set(err, EINVAL, "the data begins at %" PRIu64 ", inside the header, which ends at %" PRIu64,
                       h->payload_offset, end_of_keys);
    if (h->payload_offset > device_bytes || h->payload_offset % SECTOR_BYTES)
        return err_set(err, EINVAL, "the data begins at %" PRIu64 ", but the device has %" PRIu64 " bytes",
                       h->payload_offset, device_bytes);
    if (!h->payload_fixed)
        h->payload_bytes = (device_bytes - h->payload_offset) / h->sector_bytes * h->sector_bytes;
    if (h->payload_bytes % h->sector_bytes || h->payload_bytes > device_bytes - h->payload_offset)
        return err_set(err, EINVAL, "%" PRIu64 " bytes of data at %" PRIu64 " do not fit a device of %" PRIu64 " bytes",
                       h->payload_bytes, h->payload_offset, device_bytes);
    return 0;
}

int luks_header_check(struct luks_header *h, uint64_t device_bytes, struct err *err)
{
    if (h->sector_bytes < LUKS_SECTOR_MIN || h->sector_bytes > LUKS_SECTOR_MAX ||
        h->sector_bytes & (h->sector_bytes - 1))
        return err_set(err, EINVAL, "sectors of %u bytes: 512, 1024, 2048 and 4096 are possible", h->sector_bytes);
    if (h->key_bytes != 32 && h->key_bytes != 64)
        return err_set(err, EOPNOTSUPP, "a volume key of %u bits: aes-xts has 256 or 512", h->key_bytes * 8);
    int rc = check_payload(h, device_bytes, err);
    return rc ? rc : check_areas(h, err);
}

int luks_header_verify(const struct luks_header *h, const uint8_t *key, size_t key_bytes, struct err *err)
{
    const struct luks_digest *d = &h->digest;
    uint8_t value[LUKS_HASH_BYTES_MAX];
    struct luks_kdf kdf = {.type = LUKS_PBKDF2, .iterations = d->iterations, .salt_bytes = d->salt_bytes};
    if (key_bytes != h->key_bytes)
        return err_set(err, EACCES, "the volume key must have %u bytes, this one has %zu", h->key_bytes, key_bytes);
    memcpy(kdf.hash, d->hash, sizeof kdf.hash);
    memcpy(kdf.salt, d->salt, sizeof kdf.salt);
    int rc = luks_kdf_run(&kdf, key, key_bytes, value, d->value_bytes, err);
    if (rc)
        return err_prefix(err, "the key's digest");
    rc = CRYPTO_memcmp(value, d->value, d->value_bytes) == 0 ? 0 : -EACCES;
    OPENSSL_cleanse(value, sizeof value);
    return rc ? err_set(err, EACCES, "this is not the volume key") : 0;
}
