/* See luks1.h.
 *
 *     0 magic  6 version  8 cipher  40 mode  72 hash  104 payload  108 key bytes  112 digest  132 its salt
 *     164 its iterations  168 uuid  208 eight keyslots of 48: active, iterations, salt, offset, stripes
 *
 * Offsets are in sectors of 512 bytes. One hash serves PBKDF2, the splitter and the digest. */
#include "nbd/luks1.h"

#include <errno.h>
#include <string.h>

#include "node/base/cursor.h"
#include "node/base/emit.h"
#include "node/base/err.h"

enum {
    SECTOR_BYTES = 512,
    NAME_BYTES = 32,
    DIGEST_BYTES = 20,
    SALT_BYTES = 32,
    HEADER_END_BYTES = 1024, /* in whole sectors: keys lie behind */
};

static const uint32_t slot_active = 0x00ac71f3, slot_free = 0x0000dead;

static const uint8_t magic[6] = {'L', 'U', 'K', 'S', 0xba, 0xbe};

/* A field of text that need not end; text has room for one more. */
static void take_text(struct cursor *c, size_t field_bytes, char *text)
{
    const uint8_t *p = cursor_take(c, field_bytes);
    memset(text, 0, field_bytes + 1);
    if (p)
        memcpy(text, p, strnlen((const char *)p, field_bytes));
}

static void take_bytes(struct cursor *c, uint8_t *to, size_t len_bytes)
{
    const uint8_t *p = cursor_take(c, len_bytes);
    if (p)
        memcpy(to, p, len_bytes);
}

static int decode_slot(struct cursor *c, unsigned number, struct luks_header *h, struct err *err)
{
    struct luks_slot *s = &h->slots[number];
    uint32_t active = cursor_u32(c);
    s->kdf.type = LUKS_PBKDF2;
    s->kdf.iterations = cursor_u32(c);
    take_bytes(c, s->kdf.salt, SALT_BYTES);
    s->kdf.salt_bytes = SALT_BYTES;
    s->area.offset = (uint64_t)cursor_u32(c) * SECTOR_BYTES;
    uint32_t stripes = cursor_u32(c);
    if (active != slot_active && active != slot_free)
        return err_set(err, EINVAL, "keyslot %u is neither active nor free (0x%08x)", number, active);
    if (stripes != LUKS_AF_STRIPES)
        return err_set(err, EINVAL, "keyslot %u has %u stripes: there must be %d", number, stripes, LUKS_AF_STRIPES);
    s->used = s->bound = active == slot_active;
    s->priority = 1;
    s->key_bytes = s->area_key_bytes = h->key_bytes;
    s->area.size_bytes = luks_area_used_bytes(h->key_bytes);
    memcpy(s->kdf.hash, h->digest.hash, sizeof s->kdf.hash);
    memcpy(s->af_hash, h->digest.hash, sizeof s->af_hash);
    return 0;
}

static int check_names(const char *cipher, const char *mode, const char *hash, struct err *err)
{
    if (strcmp(cipher, "aes") != 0 || strcmp(mode, "xts-plain64") != 0)
        return err_set(err, EOPNOTSUPP, "the cipher %.32s-%.32s is not supported: only aes-xts-plain64 is", cipher,
                       mode);
    return luks_hash(hash, err) ? 0 : -EOPNOTSUPP;
}

int luks1_decode(const uint8_t bytes[LUKS1_HEADER_BYTES], uint64_t device_bytes, struct luks_header *header,
                 struct err *err)
{
    struct cursor c = cursor_of(bytes, LUKS1_HEADER_BYTES);
    struct luks_header h = {.version = 1, .sector_bytes = SECTOR_BYTES, .slot_count = LUKS1_SLOTS};
    char cipher[NAME_BYTES + 1], mode[NAME_BYTES + 1], hash[NAME_BYTES + 1];
    const uint8_t *m = cursor_take(&c, sizeof magic);
    uint16_t version = cursor_u16(&c);
    if (!m || memcmp(m, magic, sizeof magic) != 0 || version != 1)
        return err_set(err, EINVAL, "there is no LUKS1 header");
    take_text(&c, NAME_BYTES, cipher);
    take_text(&c, NAME_BYTES, mode);
    take_text(&c, NAME_BYTES, hash);
    h.payload_offset = (uint64_t)cursor_u32(&c) * SECTOR_BYTES;
    h.key_bytes = cursor_u32(&c);
    int rc = check_names(cipher, mode, hash, err);
    if (rc)
        return rc;
    if (!h.payload_offset)
        return err_set(err, EOPNOTSUPP, "this is a detached header: its data is on another device");
    if (h.key_bytes != 32 && h.key_bytes != 64)
        return err_set(err, EOPNOTSUPP, "a volume key of %u bytes: aes-xts has 32 or 64", h.key_bytes);
    take_bytes(&c, h.digest.value, DIGEST_BYTES);
    take_bytes(&c, h.digest.salt, SALT_BYTES);
    h.digest.value_bytes = DIGEST_BYTES;
    h.digest.salt_bytes = SALT_BYTES;
    h.digest.iterations = cursor_u32(&c);
    memcpy(h.digest.hash, hash, sizeof h.digest.hash - 1);
    take_text(&c, LUKS_UUID_BYTES, h.uuid);
    for (unsigned i = 0; i < LUKS1_SLOTS && !rc; i++)
        rc = decode_slot(&c, i, &h, err);
    h.key_areas = (struct luks_area){HEADER_END_BYTES,
                                     h.payload_offset > HEADER_END_BYTES ? h.payload_offset - HEADER_END_BYTES : 0};
    if (!rc)
        rc = luks_header_check(&h, device_bytes, err);
    if (!rc)
        *header = h;
    return rc;
}

static void emit_text(struct emit *e, const char *text, size_t field_bytes)
{
    uint8_t field[LUKS_UUID_BYTES] = {0};
    memcpy(field, text, strnlen(text, field_bytes));
    emit_bytes(e, field, field_bytes);
}

void luks1_encode(const struct luks_header *h, uint8_t bytes[LUKS1_HEADER_BYTES])
{
    struct emit e = emit_to(bytes, LUKS1_HEADER_BYTES);
    emit_bytes(&e, magic, sizeof magic);
    emit_u16(&e, 1);
    emit_text(&e, "aes", NAME_BYTES);
    emit_text(&e, "xts-plain64", NAME_BYTES);
    emit_text(&e, h->digest.hash, NAME_BYTES);
    emit_u32(&e, (uint32_t)(h->payload_offset / SECTOR_BYTES));
    emit_u32(&e, h->key_bytes);
    emit_bytes(&e, h->digest.value, DIGEST_BYTES);
    emit_bytes(&e, h->digest.salt, SALT_BYTES);
    emit_u32(&e, h->digest.iterations);
    emit_text(&e, h->uuid, LUKS_UUID_BYTES);
    for (unsigned i = 0; i < LUKS1_SLOTS; i++) {
        const struct luks_slot *s = &h->slots[i];
        emit_u32(&e, s->used ? slot_active : slot_free);
        emit_u32(&e, s->kdf.iterations);
        emit_bytes(&e, s->kdf.salt, SALT_BYTES);
        emit_u32(&e, (uint32_t)(s->area.offset / SECTOR_BYTES));
        emit_u32(&e, LUKS_AF_STRIPES);
    }
}
